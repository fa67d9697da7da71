"""Shared by all tests, and by the notebooks that nbval runs beside them."""

import statistics
import time
from collections import defaultdict

import pytest
import torch


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def median_ms():
    """Milliseconds that a widget's control takes to be set to each of some values, the median."""

    def measure(control, values) -> float:
        spent = []
        for value in values:
            began = time.perf_counter()
            control.value = value
            spent.append(1000 * (time.perf_counter() - began))
        return statistics.median(spent)

    return measure


@pytest.fixture
def processor_ms():
    """Milliseconds of one processor core that update(value) takes, the median over some values."""

    def measure(update, values) -> float:
        taken, threads = [], torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for value in values:
                began = time.process_time()  # not the clock on the wall: other programs may be running
                update(value)
                taken.append(1000 * (time.process_time() - began))
        finally:
            torch.set_num_threads(threads)
        return statistics.median(taken)

    return measure


def pytest_terminal_summary(terminalreporter):
    seconds = defaultdict(float)
    for reports in terminalreporter.stats.values():
        for report in reports:
            name = getattr(report, "nodeid", "").split("::")[0]
            if name.endswith(".ipynb"):
                seconds[name] += report.duration
    if seconds:
        terminalreporter.section("seconds per notebook")
        for name in sorted(seconds):
            terminalreporter.write_line(f"{seconds[name]:7.1f} s  {name}")
