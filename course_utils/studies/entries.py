"""Which rows the league table has: every shipped checkpoint, by its samplers, steps and classes."""

from typing import Any, NamedTuple

from course_utils import checkpoints

RECONSTRUCTION = "reconstruction"  # in place of a sampler: training pictures, encoded and decoded

# sampler, steps, further options; the first is the protocol's, with which the cards of the checkpoints are measured
_ALL = (
    ("dpm_solver_pp", 25, {}),
    ("dpm_solver_pp", 10, {}),
    ("dpm_solver_pp", 5, {}),
    ("ddim", 25, {}),
    ("ddim", 10, {}),
)
_MORE = (("ddim", 50, {}), ("ddim", 50, {"eta": 1.0}), ("ddim", 25, {"eta": 1.0}))
_FLOW = (("euler_flow", 20, {}), ("euler_flow", 10, {}))
_FURTHER = {
    "cars32-ddpm": _FLOW,
    "cars32-edm": _FLOW,
    "cars32-flow": _FLOW,
    "cats32-cosine": _MORE,
    "faces64": _MORE,
    "ldm-faces64": (*_MORE, ("ddpm", 1000, {})),
    "catfrog32": (("dpm_solver_pp", 25, {"guidance": 2.0}),),
    "drawn-catfrog32": (("dpm_solver_pp", 25, {"guidance": 2.0}),),
}


class Entry(NamedTuple):
    """A row to measure: a checkpoint, the one class asked for ("": all in turns), and the options of sampling."""

    checkpoint: str
    part: str
    how: dict[str, Any]


def entries() -> dict[str, Entry]:
    """Return the rows of the table by name, in its order."""
    found = {}
    for name, card in checkpoints.names().items():
        ways = _ways(name, card)
        for part in ("", *card["scores"].get("per_class", ())):
            for sampler, steps, more in ways[:1] if part else ways:
                how = {"sampler": sampler, "steps": steps, **more} if sampler else {}
                told = [f"{key} {value:g}" for key, value in more.items()]
                parts = [name, part, f"{sampler} {steps}" if sampler else "", *told]
                found[", ".join(filter(None, parts))] = Entry(name, part, how)
    return found


def _ways(name: str, card: dict[str, Any]) -> tuple[tuple[str, int, dict[str, Any]], ...]:
    sampling = card["scores"]["sampling"]
    if isinstance(sampling, str):  # codes that are maps are there to be diffused in, not drawn
        return ((RECONSTRUCTION, 1, {}),)
    if "teacher" in card["settings"]:  # distilled for so many steps, and for their halves
        return tuple(("ddim", sampling["steps"] >> i, {}) for i in range(sampling["steps"].bit_length()))
    draws = "schedule" in card["settings"]  # a diffusion model: the others draw in one step
    return _ALL + _FURTHER.get(name, ()) if draws else (("", 1, {}),)
