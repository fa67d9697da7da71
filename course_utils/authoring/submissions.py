"""What students hand in: find the files, and bring each into the order that nbgrader expects."""

import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from course_utils.authoring.homework import mark


class Broken(ValueError):
    """The submitted file cannot be marked; the message is the reason."""


@dataclass
class Submission:
    """One row of the marks: what was handed in, and how it went."""

    student: str
    notebook: str
    path: Path | None = None
    status: str = "missing"
    scores: dict[str, float] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    seconds: float = 0.0


def collect(folder: Path, names: list[str]) -> list[Submission]:
    """Find each student's file for each notebook of `names` that anybody handed in.

    Raises FileNotFoundError when nobody handed in any of them.
    """

    def hidden(path: Path) -> bool:  # .ipynb_checkpoints and what macOS puts into zip files
        return any(part.startswith((".", "__MACOSX")) for part in path.relative_to(folder).parts)

    students: dict[str, list[Path]] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and not hidden(p)):
        parts = path.relative_to(folder).parts
        owner = parts[0] if len(parts) > 1 else path.stem
        if len(parts) == 1 and (name := _which(path, names)):
            owner = path.stem.split(name)[0].strip(" _-.") or path.stem
        students.setdefault(unicodedata.normalize("NFC", owner), []).append(path)
    for path in folder.iterdir():
        if path.is_dir() and not hidden(path):
            students.setdefault(unicodedata.normalize("NFC", path.name), [])

    handed_in = sorted({name for files in students.values() for f in files if (name := _which(f, names))})
    if not handed_in:
        raise FileNotFoundError(f"no submission of {', '.join(names)} in {folder}")
    found = []
    for student, files in sorted(students.items()):
        for name in handed_in:
            own = [f for f in files if _which(f, names) == name]
            own.sort(key=lambda f: (f.stem != name, -f.stat().st_mtime))
            row = Submission(student, name, own[0] if own else None)
            if not own:
                row.reasons = ["not handed in" + (f"; found {', '.join(f.name for f in files[:3])}" if files else "")]
            elif len(own) > 1:
                row.reasons = [f"{len(own)} files, marked {own[0].relative_to(folder)}"]
            found.append(row)
    return found


def _which(path: Path, names: list[str]) -> str | None:
    if path.suffix != ".ipynb":
        return None
    inside = [name for name in names if name in path.stem]
    return max(inside, key=len) if inside else (names[0] if len(names) == 1 else None)  # a renamed file


def repair(path: Path, release: NotebookNode) -> tuple[NotebookNode, list[str]]:
    """Read a submission and bring its exercise cells in order: the released checks, all of them, each once.

    Returns the notebook and remarks on what was mended. Raises Broken.
    """
    try:
        nb = nbformat.read(path, as_version=4)
        for cell in nb.cells:
            if not isinstance(cell.source, str) or cell.cell_type not in ("code", "markdown", "raw"):
                raise Broken("not a notebook: a cell is damaged")
    except (OSError, UnicodeDecodeError) as error:
        raise Broken(f"cannot be read: {error}") from error
    except Broken:
        raise
    except Exception as error:  # whatever nbformat makes of other people's files
        kind = "invalid JSON" if isinstance(error, nbformat.reader.NotJSONError) else str(error)
        raise Broken(f"not a notebook: {kind}") from error
    released = {mark(c, "grade_id"): c for c in release.cells if mark(c, "grade_id")}
    kept: dict[str, NotebookNode] = {}
    for cell in reversed(nb.cells):  # of copies the last one counts, as in nbgrader
        name = mark(cell, "grade_id")
        if name in released and name not in kept:
            kept[name] = cell
            cell.metadata = released[name].metadata
            if cell.cell_type != released[name].cell_type:
                cell.update(cell_type="code", outputs=[], execution_count=None)
            if mark(cell, "grade"):
                cell.source = released[name].source
        else:
            cell.metadata.pop("nbgrader", None)
    if not kept:
        raise Broken("not this notebook: none of its exercise cells is in the file")
    remarks, before = [], None
    for name, cell in released.items():
        if name in kept:
            before = kept[name]
        elif mark(cell, "grade"):
            at = next((i for i, c in enumerate(nb.cells, 1) if c is before), len(nb.cells))
            nb.cells.insert(at, cell.copy())
            before = nb.cells[at]
            remarks.append(f"check cell {name} was deleted and put back")
        else:
            before = None  # its check goes to the end, where the function may have been moved to
            remarks.append(f"cell of exercise {name} was deleted")
    for number, cell in enumerate(nb.cells):
        cell["id"] = f"cell-{number}"
    nb.nbformat_minor = 5
    return nb, remarks
