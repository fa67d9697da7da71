"""Results that took hours, in one file: computed job by job, resumed after an interruption, refused when stale."""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from course_utils import checkpoints
from course_utils.data.levels import from_avif, to_avif
from course_utils.paths import CHECKOUT, shipped
from course_utils.recipes import BaseRecipe

_COMPRESSED = "avif"  # the fact that gives the shapes of what is stored as AVIF
Found = tuple[dict[str, Tensor], dict[str, Any]]  # tensors and facts of a job, facts ready for JSON


class Job(NamedTuple):
    """A result to compute. spec: all that defines it, recipes or values ready for JSON; work computes it."""

    spec: dict[str, Any]
    work: Callable[[], Found]


def clock(device: torch.device | str) -> Callable[[], float]:
    """Return a clock in seconds: of this process on the CPU, whatever else it does meanwhile, else that on the wall."""
    return time.process_time if torch.device(device).type == "cpu" else time.perf_counter


def complete(path: Path, jobs: dict[str, Job], only: Sequence[str] = ("",), stale: bool = False) -> list[str]:
    """Compute the jobs, and replace the file when the results of all are there; return the names of those that lack.

    only: compute jobs whose name contains one of these. stale: compute what `path` does not hold as its spec now is;
    otherwise everything anew. Finished jobs wait in a file beside it, so that an interrupted call goes on and the old
    results stay in use until then. Pictures, uint8 (..., 3, S, S), are stored by `levels.to_avif`.
    """
    unfinished, chosen = path.with_suffix(".partial"), {name for name in jobs if any(text in name for text in only)}
    tensors, facts = _kept(path, {name: job for name, job in jobs.items() if stale or name not in chosen})
    for into, done in zip((tensors, facts), _kept(unfinished, jobs), strict=True):
        into |= done
    for name, job in jobs.items():
        if name in facts or name not in chosen:
            continue
        began = time.perf_counter()
        made, about = job.work()
        shapes = {part: list(value.shape) for part, value in made.items() if _pictures(value)}
        tensors |= {f"{name}/{part}": to_avif(x) if part in shapes else x for part, x in made.items()}
        spec = {key: value.as_dict() if isinstance(value, BaseRecipe) else value for key, value in job.spec.items()}
        facts[name] = {"spec": spec, **about, **({_COMPRESSED: shapes} if shapes else {})}
        checkpoints.write(unfinished, tensors, facts)
        print(f"{name:44} {time.perf_counter() - began:6.0f} s", flush=True)
    if missing := [name for name in jobs if name not in facts]:
        return missing
    checkpoints.write(path, tensors, {name: facts[name] for name in jobs})
    unfinished.unlink(missing_ok=True)
    return []


def command(
    file: str,
    jobs: Callable[[str], dict[str, Job]],
    about: str,
    folder: str = "data/shipped",
    then: Callable[[Path], None] = lambda path: None,
) -> None:
    """Command line of a study: `jobs(device)` gives what there is to compute, `file` in `folder` holds its results.

    then: called with the path of the results once they are complete.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--out", type=Path, default=(CHECKOUT or Path.cwd()) / folder / file)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", nargs="+", default=[""], metavar="TEXT", help="jobs whose name contains one of these")
    parser.add_argument("--stale", action="store_true", help="keep stored results whose definition has not changed")
    given = parser.parse_args()
    if missing := complete(given.out, jobs(given.device), given.only, given.stale):
        print(f"{given.out.name} stays as it is: {len(missing)} results lack, such as {missing[0]!r}")
    else:
        then(given.out)


def _kept(path: Path, jobs: dict[str, Job]) -> Found:
    tensors, facts = checkpoints.read(path) if path.is_file() else ({}, {})
    facts = {name: about for name, about in facts.items() if name in jobs and _same(jobs[name].spec, about)}
    return {key: value for key, value in tensors.items() if key.rpartition("/")[0] in facts}, facts


def load(file: Path | str, specs: dict[str, dict[str, Any]], redo: str) -> dict[str, Found]:
    """Return the stored tensors and facts of each job; file: a path, or the name of a shipped file.

    Raises FileNotFoundError or DamagedCheckpointError for the file, RuntimeError when a job is missing or its spec has
    changed, naming the command `redo`.
    """
    tensors, facts = checkpoints.read(file if isinstance(file, Path) else shipped(file))
    found: dict[str, Found] = {}
    for name, spec in specs.items():
        if name not in facts or not _same(spec, facts[name]):
            raise RuntimeError(f"{Path(file).name} holds no {name!r} as it is now: regenerate it with `{redo}`")
        own = {key.removeprefix(f"{name}/"): x for key, x in tensors.items() if key.rpartition("/")[0] == name}
        shapes = facts[name].pop(_COMPRESSED, {})
        found[name] = own | {part: from_avif(own[part], shape) for part, shape in shapes.items()}, facts[name]
    return found


def _pictures(x: Tensor) -> bool:
    return x.dtype == torch.uint8 and x.ndim > 3


def _same(spec: dict[str, Any], about: dict[str, Any]) -> bool:
    stored = about.get("spec", {})
    if set(spec) != set(stored):
        return False
    return all(
        not value.differences(stored[key]) if isinstance(value, BaseRecipe) else value == stored[key]
        for key, value in spec.items()
    )
