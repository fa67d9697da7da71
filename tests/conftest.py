"""Shared by all tests, and by the notebooks that nbval runs beside them."""

from collections import defaultdict

import pytest
import torch


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


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
