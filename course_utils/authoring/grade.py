"""Mark submissions: `python -m course_utils.authoring.grade SUBMISSIONS [--out marks.csv] [--timeout S] [--jobs N]`.

SUBMISSIONS holds a folder for each student (alice/01_toy_diffusion.ipynb, or deeper) or files that begin with the name
(alice_01_toy_diffusion.ipynb). nbgrader runs each submission in a process of its own with its own copy of the
gradebook, so that whatever a submission does, it does to itself. The status of a row:

graded    ran to its end
timeout   a cell ran too long and was stopped (the other exercises count), or the whole submission was (score 0)
crashed   the kernel died
broken    the file is not this notebook: invalid JSON, not a notebook, none of the exercise cells
missing   nothing was handed in
error     nbgrader failed in another way: look into the reason
"""

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import nbformat
import psutil
from nbformat import NotebookNode
from nbgrader.api import Gradebook
from nbgrader.preprocessors import CheckCellMetadata, Execute, LimitOutput, SaveAutoGrades
from traitlets.config import Config

from course_utils.authoring.homework import DEFAULT_OUT, ExerciseCells, exercises, mark, nbgrader_api
from course_utils.authoring.submissions import Broken, Submission, collect, repair

STUDENT = "student"  # nbgrader never sees a real name: it allows fewer characters than people have
TOKEN = "COURSE_GRADING_RUN"  # environment variable by which every process of one run is found again
CELL_SHARE = 0.25  # of the time limit, for a single cell


@dataclass(frozen=True)
class Limits:
    """Seconds for a whole submission, and GiB of memory for its kernel."""

    seconds: float = 300
    memory: float = 8


class NotedExecute(Execute):
    """nbgrader's Execute that notes which cell runs, so that a crash can be laid at its door."""

    note = Path("cell.txt")

    def on_cell_start(self, cell: NotebookNode, cell_index: int, **_) -> None:
        self.note.write_text(f"{cell_index + 1} ({mark(cell, 'grade_id') or 'no exercise'})")


def worker(root: Path, notebook: str, cell_seconds: int, memory: float) -> None:
    """Autograde the one submission in `root` (an nbgrader course); runs in its own process, writes root/result.json."""
    with suppress(ImportError, ValueError, OSError):  # not on Windows
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (int(memory * 2**30),) * 2)
    NotedExecute.note = root / "cell.txt"
    config = Config()
    config.Execute.timeout = cell_seconds
    config.Autograde.autograde_preprocessors = [NotedExecute, LimitOutput, SaveAutoGrades, CheckCellMetadata]
    api = nbgrader_api(root, config)
    result = api.autograde(notebook, STUDENT)
    scores = {}
    if result["success"]:
        with Gradebook(api.coursedir.db_url, api.coursedir.course_id) as gradebook:
            grades = gradebook.find_submission_notebook(notebook, notebook, STUDENT).grades
            scores = {grade.name: grade.auto_score or 0.0 for grade in grades}
    (root / "result.json").write_text(json.dumps({**result, "scores": scores}))


def run(
    row: Submission, course: Path, parts: list[ExerciseCells], limits: Limits, keep: Path, threads: int
) -> Submission:
    """Mark one submission and fill in its row; never raises for anything the submission does."""
    start = time.monotonic()
    if row.path is None:
        return row
    token = uuid.uuid4().hex
    with tempfile.TemporaryDirectory(prefix="grade-", ignore_cleanup_errors=True) as name:
        root = Path(name)
        try:
            release = nbformat.read(course / "release" / row.notebook / f"{row.notebook}.ipynb", as_version=4)
            nb, remarks = repair(row.path, release)
            row.reasons += remarks
            target = root / "submitted" / STUDENT / row.notebook / f"{row.notebook}.ipynb"
            target.parent.mkdir(parents=True)
            nbformat.write(nb, target)
            shutil.copyfile(course / "gradebook.db", root / "gradebook.db")
            command = [
                sys.executable,
                "-m",
                "course_utils.authoring.grade",
                "--worker",
                str(root),
                row.notebook,
            ]
            command += [str(max(1, round(limits.seconds * CELL_SHARE))), str(limits.memory)]
            with (root / "log.txt").open("w") as log:
                subprocess.run(
                    command, env=_environment(root, token, threads), stdout=log, stderr=log, timeout=limits.seconds,
                    stdin=subprocess.DEVNULL, start_new_session=True, check=False,
                )  # fmt: skip
            _read_result(row, root, parts, keep)
        except Broken as error:
            row.status, row.reasons = "broken", [str(error)]
        except subprocess.TimeoutExpired:
            row.status = "timeout"
            row.reasons.append(f"no end after {limits.seconds:g} s, stopped in cell {_note(root)}")
        except Exception as error:  # one row must not end the run of three hundred
            row.status = "error"
            row.reasons.append(f"{type(error).__name__}: {error}")
        finally:
            _kill(token)
    row.seconds = time.monotonic() - start
    return row


def _environment(root: Path, token: str, threads: int) -> dict[str, str]:
    own = {TOKEN: token, "COURSE_PRESET": "ci", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": str(threads)}
    for variable in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "TMPDIR"):  # nothing left behind, no teacher's start-up files
        (root / variable.lower()).mkdir()
        own[variable] = str(root / variable.lower())
    return {**os.environ, **own}


def _note(root: Path) -> str:
    note = root / "cell.txt"
    return note.read_text() if note.exists() else "none: the kernel did not start"


def _kill(token: str) -> None:
    """End every process of one run: kernels have sessions of their own, so a process group does not hold them."""
    alive = True
    while alive:
        alive = False
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(TOKEN) == token:
                    process.kill()
                    alive = True
        time.sleep(0.05 * alive)


def _read_result(row: Submission, root: Path, parts: list[ExerciseCells], keep: Path) -> None:
    """Fill in a row from what the worker left: scores, and the reason for each point that is missing."""
    file = root / "result.json"
    result = json.loads(file.read_text()) if file.exists() else {"success": False}
    if not result["success"]:
        log = result.get("log", "") + (root / "log.txt").read_text(errors="replace")
        if "CellTimeoutError" in log:  # the code would not be interrupted
            row.status = "timeout"
            row.reasons.append(f"cell {_note(root)} ran too long and could not be stopped")
        elif not file.exists() or "DeadKernelError" in log:
            row.status = "crashed"
            row.reasons.append(f"the kernel died in cell {_note(root)}: os._exit, out of memory or a crash")
        else:
            row.status = "error"
            last = next((line for line in reversed(log.splitlines()) if "Error" in line), "no message")
            row.reasons.append(last.strip())
        return
    row.status = "graded"
    row.scores = {part.name: sum(result["scores"].get(check, 0.0) for check in part.points) for part in parts}
    marked = root / "autograded" / STUDENT / row.notebook / f"{row.notebook}.ipynb"
    for number, cell in enumerate(nbformat.read(marked, as_version=4).cells, 1):
        errors = [o for o in cell.get("outputs", []) if o.output_type == "error"]
        if any(error.ename == "CellTimeoutError" for error in errors):
            row.status = "timeout"
            row.reasons.append(f"{mark(cell, 'grade_id') or f'cell {number}'} ran too long and was stopped")
        elif errors:
            row.reasons.append(_say(errors[0], cell, number))
    (keep / row.student).mkdir(parents=True, exist_ok=True)
    shutil.copyfile(marked, keep / row.student / f"{row.notebook}.ipynb")


def _say(error: NotebookNode, cell: NotebookNode, number: int) -> str:
    """Put the error of a cell into a few words; those of the checks name their exercise themselves."""
    if error.ename == "NotImplementedError" and mark(cell, "grade"):
        return f"{mark(cell, 'grade_id')}: not solved"
    where = "" if error.ename == "CheckFailed" else f"{mark(cell, 'grade_id') or f'cell {number}'}: {error.ename}: "
    return (where + (error.evalue.splitlines() or ["?"])[0])[:250]


def write_csv(rows: list[Submission], parts: dict[str, list[ExerciseCells]], out: Path) -> None:
    """Write the marks: a row for each student and notebook, a column for each exercise."""
    columns = list(dict.fromkeys(part.name for notebook in sorted(parts) for part in parts[notebook]))
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["student", "notebook", "status", "score", "max_score", *columns, "reason", "seconds"])
        for row in sorted(rows, key=lambda r: (r.student, r.notebook)):
            most = sum(points for part in parts[row.notebook] for points in part.points.values())
            marks = [f"{row.scores[c]:g}" if c in row.scores else "" for c in columns]
            reason = " ".join("; ".join(row.reasons).split())
            head = [row.student, row.notebook, row.status, f"{sum(row.scores.values()):g}", f"{most:g}"]
            table.writerow([*head, *marks, reason, f"{row.seconds:.1f}"])


def grade(
    folder: Path, out: Path, homework: Path = DEFAULT_OUT, limits: Limits | None = None, jobs: int = 1
) -> list[Submission]:
    """Mark all submissions in `folder`, write `out` (after each, so that a stop loses nothing) and return the rows.

    The marked notebooks, with outputs, go to a folder beside `out`. Raises FileNotFoundError when there is no generated
    homework or no submission.
    """
    course = homework / "nbgrader"
    sources = sorted((course / "source").glob("*/*.ipynb"))
    if not sources or not (course / "gradebook.db").exists():
        raise FileNotFoundError(f"no generated homework in {homework}: run `make homework` first")
    parts = {p.stem: exercises(nbformat.read(p, as_version=4), p.stem) for p in sources}
    rows = collect(folder, list(parts))
    parts = {name: parts[name] for name in {row.notebook for row in rows}}
    keep, threads, done = out.with_name(f"{out.stem}_notebooks"), max(1, (os.cpu_count() or 1) // jobs), []
    with ThreadPoolExecutor(jobs) as pool:
        todo = [pool.submit(run, r, course, parts[r.notebook], limits or Limits(), keep, threads) for r in rows]
        for finished in as_completed(todo):
            row = finished.result()
            done.append(row)
            write_csv(done, parts, out)
            reason = f": {row.reasons[0]}" if row.reasons else ""
            print(f"[{len(done)}/{len(rows)}] {row.student}, {row.notebook}: {row.status}, "
                  f"{sum(row.scores.values()):g} points, {row.seconds:.0f} s{reason}", flush=True)  # fmt: skip
    return done


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["--worker"]:
        worker(Path(argv[1]), argv[2], int(argv[3]), float(argv[4]))
        return 0
    parser = argparse.ArgumentParser(description="Mark submissions and write a table of marks.")
    parser.add_argument("submissions", type=Path)
    parser.add_argument("--out", type=Path, default=Path("build/marks.csv"))
    parser.add_argument("--homework", type=Path, default=DEFAULT_OUT, help="where the student copies were generated")
    parser.add_argument("--timeout", type=float, default=Limits.seconds, help="seconds for one submission")
    parser.add_argument("--memory", type=float, default=Limits.memory, help="GiB for one submission")
    parser.add_argument("--jobs", type=int, default=1, help="submissions at a time")
    args = parser.parse_args(argv)
    try:
        grade(args.submissions, args.out, args.homework, Limits(args.timeout, args.memory), args.jobs)
    except (FileNotFoundError, NotADirectoryError) as error:
        print(f"grade: {error}", file=sys.stderr)
        return 1
    print(args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
