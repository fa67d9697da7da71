"""Homework: student copies are what they should be, and marking survives whatever is handed in."""

import copy
import csv
import json
import zipfile
from contextlib import suppress
from pathlib import Path

import nbformat
import psutil
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from course_utils.authoring import grade, homework, submissions

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
REAL = [path for path in sorted(NOTEBOOKS.glob("*.ipynb")) if homework.has_solutions(path)]
NAME = "77_tiny"
SOLUTIONS = {
    "double": "def double(x):\n    return x + x  # the secret",
    "shout": "def shout(word):\n    if word:\n        return word.upper()  # the secret\n    return ''",
}


def exercise_cell(name: str, source: str, **changes):
    marks = {"grade": False, "grade_id": name, "locked": False, "schema_version": 3, "solution": True, "task": False}
    return new_code_cell(source, id=name, metadata={"nbgrader": {**marks, **changes}})


def check_cell(name: str, source: str, points: int, **changes):
    marks = {"grade": True, "locked": True, "solution": False, "points": points, **changes}
    return exercise_cell(f"{name}_check", source, **marks)


def tiny_master():
    """Two exercises worth 2 and 3 points; the second has its solution inside an indented block."""
    double = "def double(x):\n    ### BEGIN SOLUTION\n    return x + x  # the secret\n    ### END SOLUTION"
    shout = (
        "def shout(word):\n    if word:\n        ### BEGIN SOLUTION\n"
        "        return word.upper()  # the secret\n        ### END SOLUTION\n    return ''"
    )
    cells = [
        new_markdown_cell("# Tiny", id="title"),
        new_code_cell("import os\nstart = 1", id="start"),
        exercise_cell("double", double),
        new_markdown_cell("Now check it.", id="prose"),
        check_cell("double", "assert double(4) == 8", 2),
        exercise_cell("shout", shout),
        check_cell("shout", "assert shout('hi') == 'HI' and shout('') == ''", 3),
        new_code_cell("start + 1", id="end"),
    ]
    cells[1].update(outputs=[new_output("stream", text="the secret")], execution_count=7)
    spec = {"name": "python3", "language": "python", "display_name": "Python 3"}
    return new_notebook(cells=cells, metadata={"kernelspec": spec, "widgets": {}, "jupytext": {"formats": "ipynb,py"}})


def cell_of(nb, name: str):
    return next(cell for cell in nb.cells if homework.mark(cell, "grade_id") == name)


def answered(nb, **answers: str):
    """Return a copy of a notebook with the given sources in its exercise cells."""
    nb = copy.deepcopy(nb)
    for name, source in answers.items():
        cell_of(nb, name).source = source
    return nb


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The homework of the tiny master."""
    folder = tmp_path_factory.mktemp("homework")
    nbformat.write(tiny_master(), folder / f"{NAME}.ipynb")
    homework.generate([folder / f"{NAME}.ipynb"], folder / "out")
    return folder / "out"


@pytest.fixture(scope="module")
def student(made):
    return nbformat.read(made / "handout" / f"{NAME}.ipynb", as_version=4)


def test_the_student_copy_has_named_stubs_and_no_solution(made, student):
    text = (made / "handout" / f"{NAME}.ipynb").read_text()
    assert "secret" not in text and "SOLUTION" not in text
    nbformat.validate(student)
    assert cell_of(student, "double").source == f"def double(x):\n    {homework.stub('double')}"
    shout = f"def shout(word):\n    if word:\n        {homework.stub('shout')}\n    return ''"
    assert cell_of(student, "shout").source == shout
    assert "Exercise shout" in homework.stub("shout")
    assert [cell.id for cell in student.cells] == [cell.id for cell in tiny_master().cells]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in student.cells)
    check = cell_of(student, "double_check")
    assert check.metadata.nbgrader.points == 2 and check.metadata.nbgrader.locked and not check.metadata.editable
    assert set(student.metadata) == {"kernelspec"}


def test_the_zip_holds_the_handout_and_is_the_same_each_time(made, tmp_path):
    with zipfile.ZipFile(made / "homework.zip") as archive:
        assert archive.namelist() == [f"homework/{NAME}.ipynb", "homework/README.txt"]
        assert NAME in archive.read("homework/README.txt").decode()
    nbformat.write(tiny_master(), tmp_path / f"{NAME}.ipynb")
    again = homework.generate([tmp_path / f"{NAME}.ipynb"], tmp_path / "out")
    assert again.read_bytes() == (made / "homework.zip").read_bytes()


def spoil(change):
    nb = tiny_master()
    change(nb.cells)
    return nb


def edit(index: int, old: str, new: str):
    def change(cells):
        assert old in cells[index].source
        cells[index].source = cells[index].source.replace(old, new)

    return change


@pytest.mark.parametrize(
    ("said", "change"),
    [
        ("expected one", edit(2, "### BEGIN SOLUTION", "")),
        ("expected one", edit(2, "### END SOLUTION", "")),
        ("expected one", edit(2, "### END SOLUTION", "### BEGIN SOLUTION")),
        ("expected one", edit(2, "### BEGIN SOLUTION", "# BEGIN SOLUTION")),
        ("region is empty", edit(2, "return x + x  # the secret", "")),
        ("outside a solution cell", edit(1, "start = 1", "### BEGIN SOLUTION\n1\n### END SOLUTION")),
        ("outside a solution cell", edit(0, "# Tiny", "### BEGIN SOLUTION")),
        ("grade_id used more than once: double", lambda cells: cells[5].metadata.nbgrader.update(grade_id="double")),
        ("cell id used more than once: start", lambda cells: cells[2].update(id="start")),
        ("double has no check cell", lambda cells: cells.pop(4)),
        ("shout has no check cell", lambda cells: cells.pop(6)),
        ("double has no check cell", lambda cells: cells.insert(4, new_code_cell("1"))),
        ("does not call the exercise", edit(4, "double(4) == 8", "True")),
        ("must be locked", lambda cells: cells[4].metadata.nbgrader.update(locked=False)),
        ("only code cells", lambda cells: cells[2].metadata.nbgrader.update(grade=True, points=1)),
    ],
)
def test_a_bad_master_is_refused_with_the_cell_s_name(said, change):
    with pytest.raises(homework.HomeworkError, match=said) as caught:
        homework.exercises(spoil(change), NAME)
    assert NAME in str(caught.value)


def test_a_bad_master_leaves_the_last_homework_alone(tmp_path, capsys):
    nbformat.write(spoil(lambda cells: cells.pop(6)), tmp_path / f"{NAME}.ipynb")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "homework.zip").write_text("the last one")
    assert homework.main([str(tmp_path / f"{NAME}.ipynb"), "--out", str(tmp_path / "out")]) == 1
    assert "shout has no check cell" in capsys.readouterr().err
    assert (tmp_path / "out" / "homework.zip").read_text() == "the last one"
    with pytest.raises(homework.HomeworkError, match="nothing to make homework of"):
        homework.generate([], tmp_path / "out")


def test_what_is_left_of_a_solution_is_found(student):
    master = tiny_master()
    homework.verify(student, master, NAME)
    leaks = answered(student, shout=cell_of(student, "shout").source + "\n# return word.upper()")
    with pytest.raises(homework.HomeworkError, match="cell shout is not what it should be"):
        homework.verify(leaks, master, NAME)


IGNORES_INTERRUPTS = """
import signal
def double(x):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        pass
"""
FREEZES_ITS_PARENT = "import signal\ndef double(x):\n    os.kill(os.getppid(), signal.SIGSTOP)\n    return 2 * x"
LEAVES_A_PROCESS = "import subprocess\nsubprocess.Popen(['sleep', '600'], start_new_session=True)\n"
MARK = "COURSE_TEST_OF_GRADING"
TIMEOUT = 32  # a cell gets a quarter


@pytest.fixture(scope="module")
def marks(made, student, tmp_path_factory):
    """The table of marks of a class in which everything goes wrong, as {student: row}."""
    folder = tmp_path_factory.mktemp("submissions")

    def hand_in(where: str, content) -> None:
        (folder / where).parent.mkdir(parents=True, exist_ok=True)
        (folder / where).write_text(content if isinstance(content, str) else nbformat.writes(content))

    solved = answered(student, **SOLUTIONS)
    hand_in(f"Zoë Groß/{NAME}.ipynb", solved)
    hand_in(f"Zoë Groß/.ipynb_checkpoints/{NAME}-checkpoint.ipynb", "{")
    hand_in(f"half way_123_assignsubmission_file_/deeper/{NAME} (1).ipynb", answered(student, shout=SOLUTIONS["shout"]))
    hand_in(f"untouched_{NAME}.ipynb", student)
    hand_in(f"endless__{NAME}.ipynb", answered(solved, double=IGNORES_INTERRUPTS))
    hand_in(f"freezing/{NAME}.ipynb", answered(solved, double=FREEZES_ITS_PARENT))
    hand_in(f"slow/{NAME}.ipynb", answered(solved, double="while True:\n    pass"))
    hand_in(f"crashing/{NAME}.ipynb", answered(solved, shout="def shout(word):\n    os._exit(1)"))
    hand_in(f"hungry/{NAME}.ipynb", answered(solved, shout="def shout(word):\n    return bytearray(5 * 2**30)"))
    hand_in(f"leaving/{NAME}.ipynb", answered(solved, double=LEAVES_A_PROCESS + SOLUTIONS["double"]))
    hand_in(f"broken/{NAME}.ipynb", '{"cells": [')
    hand_in(f"listed/{NAME}.ipynb", "[1, 2]")
    hand_in(f"empty/{NAME}.ipynb", "")
    deleted = answered(solved)
    deleted.cells = [c for c in deleted.cells if homework.mark(c, "grade_id") not in ("double", "shout_check")]
    hand_in(f"deleting/{NAME}.ipynb", deleted)
    other = answered(solved)
    other.cells = [c for c in other.cells if not homework.mark(c, "grade_id")]
    hand_in(f"mistaken/{NAME}.ipynb", other)
    cheat = answered(student, double_check="pass", shout_check="pass")
    cell_of(cheat, "double_check").metadata.nbgrader.update(points=100)
    cell_of(cheat, "shout_check").metadata.nbgrader.update(grade=False)
    hand_in(f"cheating/{NAME}.ipynb", cheat)
    hand_in("absent/essay.pdf", "words")
    out = folder.parent / f"{folder.name}.csv"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(MARK, str(folder))  # every process of this run inherits it
        grade.grade(folder, out, made, grade.Limits(TIMEOUT, memory=4), jobs=2)
    with out.open(encoding="utf-8", newline="") as file:
        return {row["student"]: row for row in csv.DictReader(file)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("who", "status", "double", "shout", "reason"),
    [
        ("Zoë Groß", "graded", "2", "3", ""),
        ("half way_123_assignsubmission_file_", "graded", "0", "3", "double_check: not solved"),
        ("untouched", "graded", "0", "0", "double_check: not solved; shout_check: not solved"),
        ("endless", "timeout", "", "", "cell 5 (double_check) ran too long and could not be stopped"),
        ("freezing", "timeout", "", "", f"no end after {TIMEOUT} s, stopped in cell 5 (double_check)"),
        ("slow", "timeout", "0", "3", "double ran too long and was stopped; double_check: NameError"),
        ("crashing", "crashed", "", "", "the kernel died in cell 7 (shout_check)"),
        ("hungry", "graded", "2", "0", "shout_check: MemoryError"),
        ("leaving", "graded", "2", "3", ""),
        ("broken", "broken", "", "", "invalid JSON"),
        ("listed", "broken", "", "", "not a notebook"),
        ("empty", "broken", "", "", "invalid JSON"),
        ("deleting", "graded", "0", "3", "cell of exercise double was deleted; check cell shout_check was deleted"),
        ("mistaken", "broken", "", "", "none of its exercise cells"),
        ("cheating", "graded", "0", "0", "not solved"),
        ("absent", "missing", "", "", "not handed in; found essay.pdf"),
    ],
)
def test_each_submission_gets_its_own_row(marks, who, status, double, shout, reason):
    row = marks[who]
    assert (row["status"], row["double"], row["shout"]) == (status, double, shout), row
    assert reason in row["reason"] if reason else row["reason"] == ""
    assert float(row["score"]) == sum(float(points or 0) for points in (double, shout))
    assert row["max_score"] == "5" and row["notebook"] == NAME
    assert float(row["seconds"]) < TIMEOUT + 10
    assert list(row) == "student notebook status score max_score double shout reason seconds".split()


@pytest.mark.slow
def test_no_process_is_left_behind(marks):
    assert len(marks) == 16
    left = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if MARK in process.environ():
                left.append(process.cmdline())
    assert left == []


def test_marking_without_homework_or_submissions_says_what_to_do(made, tmp_path, capsys):
    assert grade.main([str(tmp_path), "--homework", str(tmp_path)]) == 1
    assert "run `make homework` first" in capsys.readouterr().err
    assert grade.main([str(tmp_path), "--homework", str(made)]) == 1
    assert f"no submission of {NAME}" in capsys.readouterr().err


def test_of_several_files_the_right_one_is_marked(tmp_path):
    for name in ("a/01_x.ipynb", "a/01_x (1).ipynb", "b_LATE_99_01_x-2.ipynb", "b_LATE_99_02_y.ipynb", "c/notes.ipynb"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    rows = {(row.student, row.notebook): row for row in submissions.collect(tmp_path, ["01_x", "02_y", "03_z"])}
    assert set(rows) == {(s, n) for s in ("a", "b_LATE_99", "c") for n in ("01_x", "02_y")}
    assert rows["a", "01_x"].path.name == "01_x.ipynb" and "2 files" in rows["a", "01_x"].reasons[0]
    assert rows["b_LATE_99", "01_x"].path and rows["b_LATE_99", "02_y"].path
    assert rows["c", "01_x"].path is None and "found notes.ipynb" in rows["c", "01_x"].reasons[0]


def test_old_notebook_formats_and_copied_cells_are_mended(student, tmp_path):
    nb = json.loads(nbformat.writes(answered(student, **SOLUTIONS)))
    nb["nbformat_minor"] = 2  # as written by older editors: no cell ids
    nb["cells"].insert(2, copy.deepcopy(nb["cells"][2]))  # a copied cell keeps its hidden name
    for cell in nb["cells"]:
        cell.pop("id")
    (tmp_path / "old.ipynb").write_text(json.dumps(nb))
    mended, remarks = submissions.repair(tmp_path / "old.ipynb", student)
    nbformat.validate(mended)
    names = [homework.mark(cell, "grade_id") for cell in mended.cells]
    assert names == [None, None, None, "double", None, "double_check", "shout", "shout_check", None] and not remarks


def run_notebook(nb, folder: Path):
    NotebookClient(nb, timeout=300, allow_errors=True, resources={"metadata": {"path": str(folder)}}).execute()
    return {
        homework.mark(cell, "grade_id") or f"cell {number}: {output.evalue}"
        for number, cell in enumerate(nb.cells, 1)
        for output in cell.get("outputs", [])
        if output.output_type == "error"
    }


nothing = pytest.param(None, marks=pytest.mark.skip(reason="no notebook has exercises"))


@pytest.mark.slow
@pytest.mark.parametrize("path", REAL or [nothing], ids=lambda path: getattr(path, "stem", "none"))
def test_the_real_homework_can_be_done(path, tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_PRESET", "ci")
    homework.generate([path], tmp_path / "out")
    master = nbformat.read(path, as_version=4)
    untouched = nbformat.read(tmp_path / "out" / "handout" / path.name, as_version=4)
    parts = homework.exercises(master, path.stem)
    solved = answered(untouched, **{part.name: cell_of(master, part.name).source for part in parts})
    assert run_notebook(untouched, tmp_path) == {check for part in parts for check in part.points}
    assert run_notebook(solved, tmp_path) == set()
