"""The one switch for sizes: COURSE_PRESET = ci, lecture or full."""

import os
from typing import TypeVar

PRESETS = ("ci", "lecture", "full")
Size = TypeVar("Size")


def preset() -> str:
    """Return the preset named by COURSE_PRESET (default "lecture"); raises ValueError for an unknown one."""
    name = os.environ.get("COURSE_PRESET") or "lecture"
    if name not in PRESETS:
        raise ValueError(f"COURSE_PRESET is {name!r}: choose one of {', '.join(PRESETS)}, or leave it unset")
    return name


def choose(*, ci: Size, lecture: Size, full: Size) -> Size:
    """Pick a size for the preset in force. It may change how much is computed, never what."""
    return {"ci": ci, "lecture": lecture, "full": full}[preset()]
