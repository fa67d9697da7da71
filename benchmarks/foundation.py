"""Measure the figures of the foundation: drawn images per second, widget latency, training of the dino.

Run with `make benchmarks`. Every timing is a median or a best of several; compare by ratio, since machines wander.
"""

import statistics
import time

import torch

from course_utils import ablations, metrics
from course_utils.data import drawn, toy
from course_utils.widgets import schedule_explorer


def drawn_rate(size: int) -> str:
    """Images per second of each class, best of three."""
    rates = {}
    for kind in drawn.CLASSES:
        drawn.draw(64, kind, size=size)
        spent = []
        for seed in range(3):
            began = time.perf_counter()
            drawn.draw(2000, kind, size=size, seed=seed)
            spent.append(time.perf_counter() - began)
        rates[kind] = 2000 / min(spent)
    return f"drawn at {size} px, images/s: " + ", ".join(f"{kind} {rate:,.0f}" for kind, rate in rates.items())


def widget_latency() -> str:
    """Milliseconds from a moved slider to the new picture, median of 30."""
    widget, spent = schedule_explorer(toy.outline("dino")), []
    slider = widget.t
    for k in range(30):
        began = time.perf_counter()
        slider.value = (k + 1) / 31
        spent.append(time.perf_counter() - began)
    return f"schedule explorer: median {1000 * statistics.median(spent):.0f} ms per move"


def dino() -> str:
    """Seconds to train the baseline of notebook 01 on one thread, and its distance in units of the floor."""
    torch.set_num_threads(1)
    *_, last = ablations.train(ablations.BASE)
    floor = metrics.floor(ablations.N, ablations.BASE.draw)
    ratio = metrics.distance_to(last.cloud, ablations.BASE.draw) / floor
    return f"dino: {last.epoch} epochs in {last.seconds:.1f} s, distance {ratio:.2f} times the floor of {floor:.4f}"


if __name__ == "__main__":
    for line in (drawn_rate(32), drawn_rate(64), widget_latency(), dino()):
        print(line, flush=True)
