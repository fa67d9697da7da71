"""The one switch for sizes: COURSE_PRESET = ci, lecture or full; and how many cores a notebook takes."""

import os
from typing import TypeVar

import torch

PRESETS = ("ci", "lecture", "full")
Size = TypeVar("Size")
THREADS = torch.get_num_threads()  # as torch chose, before `halve_threads`


def preset() -> str:
    """Return the preset named by COURSE_PRESET (default "lecture"); raises ValueError for an unknown one."""
    name = os.environ.get("COURSE_PRESET") or "lecture"
    if name not in PRESETS:
        raise ValueError(f"COURSE_PRESET is {name!r}: choose one of {', '.join(PRESETS)}, or leave it unset")
    return name


def choose(*, ci: Size, lecture: Size, full: Size) -> Size:
    """Pick a size for the preset in force. It may change how much is computed, never what."""
    return {"ci": ci, "lecture": lecture, "full": full}[preset()]


def halve_threads() -> None:
    """Let torch use half of its threads; a second call changes nothing.

    Threads that wait for each other are slower than half as many, as soon as anything else wants the cores.
    """
    torch.set_num_threads(max(1, THREADS // 2))
