"""Rules that every committed notebook keeps; a failure names the cell that breaks one."""

import re
import statistics

import jupytext
import nbformat
import pytest

from course_utils.paths import CHECKOUT

PATHS = [pytest.param(path, id=path.stem) for path in sorted((CHECKOUT / "notebooks").glob("*.ipynb"))]
# a path that names a person's or a machine's folder, as warnings and tracebacks carry it
MACHINE_PATH = re.compile(r"(?<![\w.:/])/(?:home|root|work|tmp|Users|usr|opt|mnt|private|var)/\S+|[A-Za-z]:\\\\?Users")
PICTURES = ("image/png", "image/gif", "image/jpeg", "image/svg+xml", "image/webp")


def read(path):
    return nbformat.read(path, as_version=4)


def code_cells(notebook):
    return [(i, c) for i, c in enumerate(notebook.cells) if c.cell_type == "code" and c.source.strip()]


@pytest.mark.parametrize("path", PATHS)
def test_notebook_and_percent_script_are_in_step(path):
    script = path.parent / "py" / f"{path.stem}.py"
    assert script.exists(), f"{script.name} is missing: run `make sync`"
    ours = [(c.cell_type, c.source, dict(c.metadata)) for c in read(path).cells]
    theirs = [(c.cell_type, c.source, dict(c.metadata)) for c in jupytext.read(script).cells]
    for i, (a, b) in enumerate(zip(ours, theirs, strict=False)):
        assert a == b, f"cell {i} of {path.name} and of py/{script.name} differ: run `make sync`"
    assert len(ours) == len(theirs), (
        f"{path.name} has {len(ours)} cells, py/{script.name} {len(theirs)}: run `make sync`"
    )


@pytest.mark.parametrize("path", PATHS)
def test_ran_top_to_bottom_in_one_go_without_error(path):
    for expected, (i, cell) in enumerate(code_cells(read(path)), start=1):
        where = f"{path.name}, cell {i}"
        assert cell.execution_count == expected, f"{where}: execution count {cell.execution_count}, expected {expected}"
        for output in cell.outputs:
            assert output.output_type != "error", f"{where} holds the error {output.ename}: {output.evalue}"
            assert output.get("name") != "stderr", f"{where} holds a warning: {output.text[:200]}"


@pytest.mark.parametrize("path", PATHS)
def test_no_path_of_the_authors_machine(path):
    for i, cell in enumerate(read(path).cells):
        texts = [cell.source] + [str(output) for output in cell.get("outputs", [])]
        for text in texts:
            # base64 pictures contain slashes; drop them before looking
            found = MACHINE_PATH.search(re.sub(r"[A-Za-z0-9+/=\n\\]{200,}", "", text))
            assert not found, f"{path.name}, cell {i} holds the path {found.group()}"


@pytest.mark.parametrize("path", PATHS)
def test_every_picture_has_alt_text(path):
    for i, cell in enumerate(read(path).cells):
        if cell.cell_type == "markdown":
            assert not re.search(r"!\[\s*\]\(", cell.source), f"{path.name}, cell {i}: a picture without alt text"
            for tag in re.findall(r"<img\b[^>]*>", cell.source):
                assert re.search(r'alt="[^"]+"', tag), f"{path.name}, cell {i}: {tag} has no alt text"
        for output in cell.get("outputs", []):
            for kind in set(PICTURES) & set(output.get("data", {})):
                alt = output.get("metadata", {}).get(kind, {}).get("alt", "")
                assert alt.strip(), f"{path.name}, cell {i}: the {kind} has no alt text, use viz.show(figure, alt=...)"


@pytest.mark.parametrize("path", PATHS)
def test_size_and_shape(path):
    size = path.stat().st_size / 1e6
    assert size < 2, f"{path.name} weighs {size:.1f} MB (limit 2 MB)"
    lines = {i: len([line for line in c.source.splitlines() if line.strip()]) for i, c in code_cells(read(path))}
    for i, n in lines.items():
        assert n <= 25, f"{path.name}, cell {i} has {n} lines of code (limit 25)"
    assert statistics.median(lines.values()) <= 10, f"{path.name}: code cells have {sorted(lines.values())} lines"


def test_the_rules_can_fail(tmp_path):
    """Each rule above is shown a notebook that breaks it."""
    cells = [nbformat.v4.new_code_cell("1 + 1", execution_count=3)]
    picture = nbformat.v4.new_output("display_data", data={"image/png": "aGk="})
    text = nbformat.v4.new_output("stream", name="stderr", text="/" + "home/someone/x.py:1: UserWarning")
    for outputs, rule, message in (
        ([], test_ran_top_to_bottom_in_one_go_without_error, "execution count 3"),
        ([text], test_no_path_of_the_authors_machine, "home/someone"),
        ([picture], test_every_picture_has_alt_text, "no alt text"),
        ([], test_notebook_and_percent_script_are_in_step, "is missing"),
    ):
        path = tmp_path / "bad.ipynb"
        cells[0].outputs = outputs
        nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
        with pytest.raises(AssertionError, match=message):
            rule(path)
