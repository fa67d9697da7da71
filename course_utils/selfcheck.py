"""What this machine has for the course: device, memory, data sets, checkpoints."""

import os
import platform

import psutil
import torch

from course_utils.paths import CHECKOUT, PACKAGE, data_dir
from course_utils.presets import preset

SETS = {
    "CIFAR-10": ("cifar10", "cifar-10-batches-py", "cifar-10-python.tar.gz"),
    "cat faces": ("cat_faces64", "oxford-iiit-pet"),
}


def device() -> str:
    """Return the fastest device at hand: "cuda", "mps" or "cpu"."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def report() -> dict[str, str]:
    """Return what the course finds on this machine, one line per topic, without any path of it."""
    free = psutil.virtual_memory().available / 2**30
    shipped = (CHECKOUT / "data" if CHECKOUT else PACKAGE) / "shipped"
    files = sorted(shipped.glob("*.safetensors"))
    lines = {
        "Python and PyTorch": f"{platform.python_version()}, {torch.__version__.split('+')[0]}",
        "device": device() if device() != "cpu" else f"cpu, {os.cpu_count()} cores: all that the lectures need",
        "memory": f"{free:.0f} GiB free" + ("" if free > 2 else ": close other programs, the course wants 2 GiB"),
        "preset": preset(),
        "shipped results": f"{len(files)} file(s), {sum(f.stat().st_size for f in files) / 1e6:.1f} MB",
    }
    for name, places in SETS.items():
        here = any((data_dir() / place).exists() for place in places)
        lines[name] = "here" if here else "not here: the drawn stand-in is used, and says so"
    return lines
