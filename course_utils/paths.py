"""Where files lie: what ships with the course, the reader's own data folder, and what can be computed again."""

import os
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
CHECKOUT = PACKAGE.parent if (PACKAGE.parent / "pyproject.toml").is_file() else None


def data_dir() -> Path:
    """Return the folder of downloaded and hand-placed image sets: COURSE_DATA, else data/ of the checkout or of here.

    The folder need not exist yet.
    """
    if named := os.environ.get("COURSE_DATA"):
        return Path(named).expanduser()
    return (CHECKOUT or Path.cwd()) / "data"


def cache_dir() -> Path:
    """Return the folder of what can be computed again: COURSE_CACHE, else dots-to-cats/ in the user's cache folder.

    That is $XDG_CACHE_HOME or ~/.cache; ~/Library/Caches on macOS; %LOCALAPPDATA% on Windows. The folder need not exist
    yet. Raises RuntimeError for a user without a home folder.
    """
    if named := os.environ.get("COURSE_CACHE"):
        return Path(named).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        named = os.environ.get("XDG_CACHE_HOME", "")
        base = named if os.path.isabs(named) else Path.home() / ".cache"  # its standard: a relative path is no path
    return Path(base) / "dots-to-cats"


def shipped(name: str) -> Path:
    """Return the path of a file that ships with the course; raises FileNotFoundError when it is not there."""
    # a wheel carries data/shipped inside the package, a checkout has it beside the package
    folder = CHECKOUT / "data" / "shipped" if CHECKOUT else PACKAGE / "shipped"
    path = folder / name
    if not path.is_file():
        raise FileNotFoundError(f"{name} should ship with the course in {folder} but is missing: install it again")
    return path
