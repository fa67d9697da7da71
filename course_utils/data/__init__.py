"""Data of the course: `toy` (points in the plane), `drawn` (procedural pictures), `images` (sets of photographs),
`photographs` (single ones of the reader's).

The names of `images` are offered here too. They load on first use, because torchvision costs a second to import.
"""

from importlib import import_module

_IMAGES = ("ImageSet", "cat_faces", "cifar10", "folder")
__all__ = ["drawn", "images", "photographs", "toy", *_IMAGES]


def __getattr__(name: str):
    if name in _IMAGES:
        return getattr(import_module(f"{__name__}.images"), name)
    if name in __all__:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
