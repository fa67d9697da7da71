"""Make the student copies of the notebooks: `python -m course_utils.authoring.homework [NOTEBOOK ...] [--out DIR]`.

Every notebook with nbgrader solution cells becomes an nbgrader assignment of its own, so that a broken submission of
one notebook leaves the marks of the others alone. DIR then holds

handout/        what students get: notebooks with stubs, README.txt, the wheel if one was given
homework.zip    the same, byte for byte equal for equal input
nbgrader/       source/, release/ and gradebook.db, which the grader needs
"""

import argparse
import logging
import os
import re
import shutil
import sys
import sysconfig
import warnings
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbgrader.apps import NbGraderAPI
from nbgrader.preprocessors import (
    CheckCellMetadata,
    ClearOutput,
    ClearSolutions,
    ComputeChecksums,
    LockCells,
    SaveCells,
)
from traitlets.config import Config

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
COURSE_ID = "dots-to-cats"
DEFAULT_OUT = Path("build/homework")

README = """\
Dots to Cats: homework

What you need: Python 3.11 or newer. No GPU, and no internet after the installation.

1. Install, once, in this folder (on Windows: .venv\\Scripts\\pip and .venv\\Scripts\\jupyter):
       python3 -m venv .venv
       .venv/bin/pip install {package}
2. Start:
       .venv/bin/jupyter lab
   and open one of
{notebooks}
3. Each exercise is a cell that ends in "raise NotImplementedError". Replace that line with your code and run the cell,
   then the check below it: it says "correct", or what is wrong. Run it as often as you like.
4. Before you hand in: Kernel > Restart Kernel and Run All Cells. Every exercise that you solved must still say
   "correct". A check that stays red costs the points of its own exercise only.
5. Hand in the .ipynb file itself, not a PDF and not a link. Keep the file's name, do not delete the check cells and do
   not copy or merge exercise cells: marking finds them by names hidden in the file.
"""


class HomeworkError(ValueError):
    """A master notebook cannot become homework; the message names the notebook and the cell."""


@dataclass(frozen=True)
class ExerciseCells:
    """One exercise of a notebook: its name, and the points of its check cells by grade_id."""

    name: str
    points: dict[str, float]


class NamedStubs(ClearSolutions):
    """nbgrader's ClearSolutions with a stub that names its own exercise in place of one stub for all."""

    def preprocess_cell(self, cell: NotebookNode, resources, cell_index: int):
        self.code_stub = {"python": stub(cell.metadata.get("nbgrader", {}).get("grade_id", ""))}
        return super().preprocess_cell(cell, resources, cell_index)


def stub(name: str) -> str:
    """Return the line that stands in for the solution of the exercise `name`."""
    return f'raise NotImplementedError("Exercise {name}: not solved yet. Replace this line with your code.")'


def mark(cell: NotebookNode, key: str):
    """Return an entry of the cell's nbgrader metadata, or None."""
    return cell.metadata.get("nbgrader", {}).get(key)


def exercises(nb: NotebookNode, where: str) -> list[ExerciseCells]:
    """Read the exercises of a master and check that homework can be made of it.

    Raises HomeworkError for a duplicated grade_id or cell id, a solution cell without exactly one closed solution
    region, a region outside a solution cell, an exercise without a check cell that calls it, an unlocked check cell.
    """
    for what, ids in {
        "grade_id": [mark(c, "grade_id") for c in nb.cells if mark(c, "grade_id") is not None],
        "cell id": [c.get("id", "(none)") for c in nb.cells],
    }.items():
        if twice := [str(i) for i, n in Counter(ids).items() if n > 1]:
            raise HomeworkError(f"{where}: {what} used more than once: {', '.join(twice)}")
    found: list[ExerciseCells] = []
    unchecked = None  # a solution cell must be followed by its check before any other code
    for number, cell in enumerate(nb.cells, 1):
        name, at = mark(cell, "grade_id"), f"{where}, cell {number} ({mark(cell, 'grade_id') or 'no grade_id'})"
        if mark(cell, "solution"):
            if unchecked:
                break
            if cell.cell_type != "code" or mark(cell, "grade"):
                raise HomeworkError(f"{at}: only code cells with a separate check cell are supported")
            _check_region(cell.source, at)
            found.append(ExerciseCells(name, {}))
            unchecked = name
        elif "BEGIN SOLUTION" in cell.source or "END SOLUTION" in cell.source:
            raise HomeworkError(f"{at}: solution marker outside a solution cell")
        elif mark(cell, "grade"):
            if not found or found[-1].name not in cell.source:
                raise HomeworkError(f"{at}: this check cell does not call the exercise before it")
            if not mark(cell, "locked"):
                raise HomeworkError(f"{at}: a check cell must be locked, else students can change it")
            found[-1].points[name] = float(mark(cell, "points") or 0)
            unchecked = None
        elif cell.cell_type == "code" and unchecked:
            break
    if unchecked:
        raise HomeworkError(f"{where}: exercise {unchecked} has no check cell after it")
    return found


def _check_region(source: str, at: str) -> None:
    marks = [line.strip() for line in source.splitlines() if "BEGIN SOLUTION" in line or "END SOLUTION" in line]
    if marks != [BEGIN, END]:
        raise HomeworkError(f"{at}: expected one {BEGIN!r} and then one {END!r}, found {marks or 'neither'}")
    inside = source.split(BEGIN)[1].split(END)[0]
    if not inside.strip():
        raise HomeworkError(f"{at}: the solution region is empty")


def has_solutions(path: Path) -> bool:
    """Return whether any cell of a notebook is an nbgrader solution cell or bears a solution marker."""
    cells = nbformat.read(path, as_version=4).cells
    return any(mark(c, "solution") or BEGIN in c.source for c in cells)


def nbgrader_api(root: Path, config: Config | None = None) -> NbGraderAPI:
    """Return nbgrader's interface to the course in `root`, set up for generating named stubs, and quiet."""
    scripts = sysconfig.get_path("scripts")  # nbgrader calls `alembic` by name: it must be found outside the venv too
    if scripts not in os.environ.get("PATH", "").split(os.pathsep):
        os.environ["PATH"] = os.pathsep.join([scripts, os.environ.get("PATH", "")])
    warnings.filterwarnings("ignore", module="nbgrader")  # SQLAlchemy 2 warns about nbgrader's sessions
    logging.getLogger("traitlets").propagate = False
    config = config or Config()
    config.CourseDirectory.root = str(root.resolve())
    config.CourseDirectory.course_id = COURSE_ID
    config.CourseDirectory.db_url = f"sqlite:///{(root / 'gradebook.db').resolve()}"
    config.GenerateAssignment.preprocessors = [
        LockCells, NamedStubs, ClearOutput, CheckCellMetadata, ComputeChecksums, SaveCells, CheckCellMetadata,
    ]  # fmt: skip
    return NbGraderAPI(config=config)


def generate(masters: list[Path], out: Path = DEFAULT_OUT, wheel: Path | None = None) -> Path:
    """Write handout/, homework.zip and nbgrader/ into `out` and return the path of the zip.

    What an earlier run left there is replaced. Raises HomeworkError, before anything is replaced, for a bad master.
    """
    if not masters:
        raise HomeworkError("no notebook holds exercises: there is nothing to make homework of")
    read = {path.stem: nbformat.read(path, as_version=4) for path in masters}
    folders = {path.stem: path.parent for path in masters}
    for name, nb in read.items():
        if not exercises(nb, name):
            raise HomeworkError(f"{name}: no exercise found")
    out.mkdir(parents=True, exist_ok=True)
    root, handout = out / "nbgrader", out / "handout"
    for folder in (root, handout):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    api = nbgrader_api(root)
    for name, nb in read.items():
        for key in ("widgets", "jupytext"):  # state of cleared outputs; a pairing that students do not have
            nb.metadata.pop(key, None)
        source = root / "source" / name / f"{name}.ipynb"
        source.parent.mkdir(parents=True)
        nbformat.write(nb, source)
        result = api.generate_assignment(name)
        if not result["success"]:
            raise HomeworkError(f"{name}: nbgrader failed\n{result.get('log', '')}{result['error']}")
        student = nbformat.read(root / "release" / name / f"{name}.ipynb", as_version=4)
        verify(student, nb, name)
        for cell in student.cells:
            if mark(cell, "grade"):  # "Run All" then goes on after a check that fails
                cell.metadata["tags"] = ["raises-exception"]
        bring_pictures(student, folders[name], handout)
        nbformat.write(student, handout / f"{name}.ipynb")
    package = "course_utils-VERSION-py3-none-any.whl    (the file that your teacher gave you)"
    if wheel:
        shutil.copyfile(wheel, handout / wheel.name)
        package = f"./{wheel.name}"
    listing = "\n".join(f"       {name}.ipynb" for name in sorted(read))
    (handout / "README.txt").write_text(README.format(package=package, notebooks=listing), encoding="utf-8")
    return pack(handout, out / "homework.zip")


def verify(student: NotebookNode, master: NotebookNode, where: str) -> None:
    """Check a student copy against its master: each solution is its own stub, everything else is as it was.

    Raises HomeworkError naming the first cell that differs, and for any marker or output that is left.
    """
    nbformat.validate(student)
    if [c.id for c in student.cells] != [c.id for c in master.cells]:
        raise HomeworkError(f"{where}: the student copy has other cells than the master")
    for ours, theirs in zip(master.cells, student.cells, strict=True):
        name, expected = mark(ours, "grade_id"), ours.source
        if mark(ours, "solution"):
            before, rest = ours.source.split(BEGIN)
            expected = before + stub(name) + rest.split(END)[1]
        if theirs.source != expected or mark(theirs, "grade_id") != name or theirs.get("outputs"):
            raise HomeworkError(f"{where}: the student copy of cell {name or ours.id} is not what it should be")
        if "BEGIN SOLUTION" in theirs.source:
            raise HomeworkError(f"{where}: a solution marker is left in cell {name or ours.id}")


def bring_pictures(student: NotebookNode, folder: Path, handout: Path) -> None:
    """Copy the pictures that markdown cells show from outside the notebook's folder, and mend the links to them."""
    for cell in student.cells:
        if cell.cell_type == "markdown":
            for link in re.findall(r"\]\((\.\./[^)\s]+)\)", cell.source):
                target = Path(*Path(link).parts[1:])
                if not (folder / link).is_file():
                    raise HomeworkError(f"the picture {link} of cell {cell.id} is missing: run `make notebooks`")
                (handout / target).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(folder / link, handout / target)
                cell.source = cell.source.replace(f"]({link})", f"]({target.as_posix()})")


def pack(folder: Path, target: Path) -> Path:
    """Zip the files of `folder` under its own name, with fixed times and modes: equal content gives equal bytes."""
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            info = zipfile.ZipInfo(f"homework/{path.relative_to(folder).as_posix()}", (1980, 1, 1, 0, 0, 0))
            info.external_attr, info.create_system = 0o644 << 16, 3
            archive.writestr(info, path.read_bytes(), zipfile.ZIP_DEFLATED, 9)
    return target


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Make the student copies of the notebooks.")
    parser.add_argument("notebooks", nargs="*", type=Path, help="masters (default: notebooks/*.ipynb with exercises)")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    parser.add_argument("--wheel", type=Path, help="the course_utils wheel, to be handed out with the notebooks")
    args = parser.parse_args(argv)
    masters = args.notebooks or [p for p in sorted(Path("notebooks").glob("*.ipynb")) if has_solutions(p)]
    try:
        archive = generate(masters, args.out, args.wheel)
    except (HomeworkError, OSError, nbformat.reader.NotJSONError) as error:
        print(f"homework: {error}", file=sys.stderr)
        return 1
    print(f"{len(masters)} notebook(s): {', '.join(p.stem for p in masters)}\n{args.out / 'handout'}\n{archive}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
