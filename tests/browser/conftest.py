"""A real JupyterLab and a real Chromium for tests that click: `open_notebook` gives a page whose cells have run."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import nbformat
import pytest

START_S = 60
BROWSER_ARGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync"
).split()


class Lab(NamedTuple):
    """A running JupyterLab: its address, its token and the folder that it serves."""

    url: str
    token: str
    root: Path


def _chromium() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("COURSE_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium; the test is skipped where there is none."""
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed (the `test` extra)")
    found = _chromium()
    if found is None:
        pytest.skip("no Chromium found: install chromium or google-chrome, or name one in COURSE_CHROMIUM")
    return found


@pytest.fixture(scope="session")
def lab(chromium, tmp_path_factory) -> Iterator[Lab]:
    """Start JupyterLab on a free local port, with a token and with settings of its own; stop it after the last test."""
    home = tmp_path_factory.mktemp("lab")
    root = home / "root"
    root.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    lab = Lab(f"http://127.0.0.1:{port}", secrets.token_hex(16), root)
    folders = {f"JUPYTER_{kind}_DIR": str(home / kind) for kind in ("CONFIG", "DATA", "RUNTIME")}
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--ServerApp.ip=127.0.0.1", "--ServerApp.port_retries=0"),
        *(f"--ServerApp.port={port}", f"--IdentityProvider.token={lab.token}", f"--ServerApp.root_dir={root}"),
        "--LabApp.expose_app_in_browser=True",  # the tests run commands by name: menus change with the version
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        *(["--allow-root"] if getattr(os, "geteuid", lambda: 1)() == 0 else []),
    ]
    settings = home / "settings"
    quiet = settings / "@jupyterlab/apputils-extension/notification.jupyterlab-settings"
    quiet.parent.mkdir(parents=True)
    quiet.write_text('{"fetchNews": "false"}')  # or a question about news covers the page
    env = {
        **os.environ,
        **folders,
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTERLAB_SETTINGS_DIR": str(settings),
        "COURSE_PRESET": "ci",
    }
    with (home / "lab.log").open("wb") as log:
        server = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT, cwd=root)
    try:
        _wait_for(lab, server, home / "lab.log")
        yield lab
    finally:
        server.terminate()  # the server ends its kernels
        try:
            server.wait(15)
        except subprocess.TimeoutExpired:
            server.kill()


def _wait_for(lab: Lab, server: subprocess.Popen, log: Path) -> None:
    request = urllib.request.Request(f"{lab.url}/api/status", headers={"Authorization": f"token {lab.token}"})
    end = time.monotonic() + START_S
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                json.load(answer)
                return
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.3)
    pytest.fail(f"JupyterLab did not start within {START_S} s:\n{log.read_text(errors='replace')[-3000:]}")


@pytest.fixture(scope="module")  # not the session: while playwright runs, asyncio.run fails in every other test
def browser(chromium):
    """A headless Chromium that knows nobody outside this machine."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=BROWSER_ARGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def open_notebook(lab, browser) -> Iterator[Callable]:
    """open_notebook(cells, dark=False) writes code cells into a notebook, opens it, runs all and returns the page.

    It fails when a cell raises. The page's `problems` lists uncaught errors of the browser.
    """
    contexts = []

    def open_it(cells: list[str], dark: bool = False, seconds: float = 60):
        name = f"{secrets.token_hex(4)}.ipynb"
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
        nbformat.write(notebook, lab.root / name)
        context = browser.new_context(viewport={"width": 1100, "height": 1000})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.problems = []
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.goto(f"{lab.url}/doc/tree/{name}?token={lab.token}")
        page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=seconds * 1000)
        # a cell that runs before the kernel is there brings up a dialog
        ready = "window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
        page.wait_for_function(ready, timeout=seconds * 1000)
        if dark:
            _command(page, "apputils:change-theme", theme="JupyterLab Dark")
        _command(page, "notebook:run-all-cells")
        _wait_until_run(page, len(cells), seconds)
        return page

    yield open_it
    for context in contexts:
        context.close()


def _command(page, name: str, **arguments) -> None:
    # the braces matter: returning the promise would wait for it, and without limit
    page.evaluate("([name, arguments]) => { jupyterapp.commands.execute(name, arguments); }", [name, arguments])


def _wait_until_run(page, cells: int, seconds: float) -> None:
    finished = """n => [...document.querySelectorAll('.jp-CodeCell .jp-InputArea-prompt')]
        .filter(node => /\\[\\d+\\]/.test(node.textContent)).length >= n"""
    page.wait_for_function(finished, arg=cells, timeout=seconds * 1000)
    errors = page.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.stderr']").all_text_contents()
    assert not any("Traceback" in text for text in errors), errors
    assert page.locator(".jp-OutputArea-output", has_text="Traceback").count() == 0


@pytest.fixture(autouse=True)
def no_problems(page):
    """After each test the browser has met no uncaught error."""
    yield
    assert page.problems == []
