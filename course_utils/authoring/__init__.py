"""Tools for those who write and teach the course: execute notebooks, make and grade homework, regenerate results."""
