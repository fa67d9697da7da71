"""Where files lie: what ships with the course, and the reader's own data folder."""

import os
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


def shipped(name: str) -> Path:
    """Return the path of a file that ships with the course; raises FileNotFoundError when it is not there."""
    # a wheel carries data/shipped inside the package, a checkout has it beside the package
    folder = CHECKOUT / "data" / "shipped" if CHECKOUT else PACKAGE / "shipped"
    path = folder / name
    if not path.is_file():
        raise FileNotFoundError(f"{name} should ship with the course in {folder} but is missing: install it again")
    return path
