"""Execute the course's notebooks: to HTML for reading, or in place to refresh the committed outputs."""

import argparse
import base64
import html
import sys
import time
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbconvert import HTMLExporter
from nbconvert.preprocessors.coalescestreams import CoalesceStreamsPreprocessor

from course_utils.paths import CHECKOUT
from course_utils.presets import preset


def execute(notebook: nbformat.NotebookNode, folder: Path, timeout: int) -> str:
    """Run all cells with `folder` as working directory; return "" or what failed, naming the cell."""
    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )
    try:
        client.execute(cleanup_kc=True)
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        done = sum(c.cell_type == "code" and c.get("execution_count") is not None for c in notebook.cells)
        last_line = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        return f"code cell {done}: {last_line}"
    return ""


def tidy(notebook: nbformat.NotebookNode) -> None:
    """Drop what an execution leaves behind that a reader without a kernel cannot use."""
    notebook.metadata.pop("widgets", None)
    notebook.metadata.kernelspec = {"display_name": "Python 3", "language": "python", "name": "python3"}
    CoalesceStreamsPreprocessor().preprocess(notebook, {})  # a progress bar keeps its last line only
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            # without its kernel a widget shows as an error: a line that says what to do reads better
            if output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None):
                output.data["text/plain"] = "(interactive: run this cell to use it)"


def describe_pictures(notebook: nbformat.NotebookNode) -> None:
    """Turn pictures into <img> tags with their alt texts, which nbconvert's lab template would drop."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if alt := output.get("metadata", {}).get("image/png", {}).get("alt"):
                source = f"data:image/png;base64,{output.data['image/png']}"
                output.data = {"text/html": f'<img alt="{html.escape(alt)}" src="{source}">'}


def keep_pictures(notebook: nbformat.NotebookNode, folder: Path) -> None:
    """Write every picture that `viz.show` or `viz.animation` was given a name for into `folder`."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            for kind, about in output.get("metadata", {}).items():
                if kind.startswith("image/") and about.get("name"):
                    path = folder / f"{about['name']}.{kind.removeprefix('image/')}"
                    path.write_bytes(base64.b64decode(output["data"][kind]))


def main(arguments: list[str] | None = None) -> int:
    """Run the notebooks named (default: all), print one line each, return the number that failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebooks", nargs="*", type=Path, help="paths of .ipynb files (default: notebooks/*.ipynb)")
    target = parser.add_mutually_exclusive_group()
    target.add_argument("--html", type=Path, help="write HTML pages into this folder")
    target.add_argument("--inplace", action="store_true", help="take the percent scripts, execute, save with outputs")
    parser.add_argument("--timeout", type=int, default=900, help="seconds per cell")
    options = parser.parse_args(arguments)
    if CHECKOUT is None and not options.notebooks:
        parser.error("outside a checkout of the course, name the notebooks")
    failed = 0
    for path in options.notebooks or sorted((CHECKOUT / "notebooks").glob("*.ipynb")):
        script = path.parent / "py" / f"{path.stem}.py"
        notebook = jupytext.read(script) if options.inplace and script.exists() else nbformat.read(path, as_version=4)
        began = time.perf_counter()
        reason = execute(notebook, path.parent, options.timeout)
        seconds = time.perf_counter() - began
        print(f"{path.name:32s} {preset():8s} {seconds:7.1f} s   {reason or 'ok'}", flush=True)
        failed += bool(reason)
        tidy(notebook)
        if options.html:
            options.html.mkdir(parents=True, exist_ok=True)
            describe_pictures(notebook)
            page, _ = HTMLExporter(template_name="lab").from_notebook_node(notebook)
            (options.html / f"{path.stem}.html").write_text(page, encoding="utf-8")
        elif options.inplace and not reason:  # a failed run must not replace good outputs
            nbformat.write(notebook, path)
            keep_pictures(notebook, path.parent.parent / "report_imgs")
    return failed


if __name__ == "__main__":
    sys.exit(main())
