"""The set-up files agree with each other, and the package costs little to import."""

import os
import subprocess
import sys
import tomllib
import zipfile
from functools import partial

import pytest
import torch
import yaml

from course_utils import presets, selfcheck
from course_utils.paths import CHECKOUT as ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_environment_yml_lists_the_same_packages_as_pyproject():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    (pip,) = [entry["pip"] for entry in environment if isinstance(entry, dict)]
    assert sorted(pip) == sorted(PYPROJECT["project"]["dependencies"])
    assert f"python{PYPROJECT['project']['requires-python']}" in environment


def test_no_module_grows_over_300_lines():
    long = {p.name: n for p in (ROOT / "course_utils").rglob("*.py") if (n := len(p.read_text().splitlines())) > 300}
    assert not long


@pytest.mark.slow
def test_importing_the_package_costs_at_most_a_tenth_over_torch():
    # both in one fresh interpreter, in its own processor time: two processes on a busy machine differ by more than that
    code = (
        "from time import process_time as now; a = now(); import torch; b = now();"
        "import course_utils, course_utils.schedules, course_utils.diffusion, course_utils.samplers;"
        "print((now() - b) / (b - a))"
    )
    run = partial(subprocess.run, [sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ratio = min(float(run().stdout) for _ in range(3))
    print(f"importing the core costs {ratio:.4f} of import torch")
    assert ratio <= 0.10


@pytest.mark.slow
def test_the_wheel_imports_and_finds_what_ships_outside_the_checkout(tmp_path):
    wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(wheel, check=True, capture_output=True, text=True)
    (built,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(built).extractall(tmp_path / "site")
    code = (
        "import course_utils.paths as p, course_utils.widgets, course_utils.checks;"
        "assert p.CHECKOUT is None, p.CHECKOUT; print(p.shipped('toy_ablations.safetensors'))"
    )
    # the extracted wheel goes first on the path, before the editable install of the checkout
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert str(tmp_path) in done.stdout


def test_threads_are_halved_once(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr(presets, "THREADS", 6)
    try:
        for _ in range(2):  # a student may run the first cell again
            presets.halve_threads()
            assert torch.get_num_threads() == 3
        monkeypatch.setattr(presets, "THREADS", 1)
        presets.halve_threads()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_presets_are_read_from_the_environment_and_typos_are_named(monkeypatch):
    monkeypatch.setenv("COURSE_PRESET", "ci")
    assert presets.choose(ci=1, lecture=2, full=3) == 1
    monkeypatch.delenv("COURSE_PRESET")
    assert presets.preset() == "lecture"
    monkeypatch.setenv("COURSE_PRESET", "lectures")
    with pytest.raises(ValueError, match=r"lectures.*ci, lecture, full"):
        presets.preset()


def test_selfcheck_sees_what_is_there_and_tells_no_path(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    monkeypatch.setenv("COURSE_PRESET", "ci")
    assert selfcheck.report()["CIFAR-10"].startswith("not here")
    (tmp_path / "cifar10").mkdir()
    report = selfcheck.report()
    assert report["CIFAR-10"] == "here" and report["cat faces"].startswith("not here") and report["preset"] == "ci"
    assert not any(str(tmp_path) in line or str(ROOT) in line for line in report.values())


def test_ci_script_and_make_targets_exist():
    run = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "make test" in run and os.access(ROOT / ".ci" / "run", os.X_OK)
    help_text = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("lab", "test", "run", "sync", "homework", "grade"):
        assert f"\n{target} " in f"\n{help_text}", f"make help does not tell of {target}"
