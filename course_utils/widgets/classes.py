"""Explorers of networks with classes: one class at a scale of guidance, and a morph from one class to another."""

import html
import math
import time
from collections.abc import Sequence

import ipywidgets as ui
import torch
from torch import Tensor

from course_utils import sample, viz
from course_utils.checkpoints import Checkpoint
from course_utils.widgets import images
from course_utils.widgets.images import INCHES, STEPS, WIDE, set_pixels, tiles, told
from course_utils.widgets.picture import Picture

NO_CLASS, IN_TURNS = "no class", "all in turns"
SCALES = (-1, -0.5, 0, 0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8)  # of guidance, on offer
_READOUTS = {0: "0 (no class)", 1: "1 (plain)"}  # what a slider has room for; the line of numbers says more
_ONE_STEP = "a GAN draws in one step, without guidance"
_MEANINGS = {0: " (unconditional)", 1: " (plain conditional)"}


def _evaluations(checkpoint: Checkpoint, y: Tensor | None, steps: int, scale: float) -> int:
    """How often `sample.chain` evaluates the network for one picture."""
    if checkpoint.schedule is None:
        return 1
    return steps * (2 if y is not None and scale not in (0, 1) else 1)


def captions(a: str, b: str, columns: int) -> list[str]:
    """Name the columns of a morph: "100% cat", then both shares on a line each, and at last "100% frog"."""
    percent = [round(100 * k / (columns - 1)) for k in range(1, columns - 1)]
    return [f"100% {a}", *(f"{100 - p}% {a}\n{p}% {b}" for p in percent), f"100% {b}"]


def _slider(options: Sequence, value: float, description: str, width: int) -> ui.SelectionSlider:
    return ui.SelectionSlider(
        options=options,
        value=value,
        description=description,
        continuous_update=False,  # a picture takes a second or two: draw where the slider is let go
        style=WIDE,
        layout=ui.Layout(width=f"{width}px"),
    )


class _Explorer(images.Drawer):
    """What both have: scale, steps, seed, a button, numbers, and a picture that shows how the sampler gets on.

    choices: the widgets that choose classes. content: what the picture holds, for its alt text. lines: of captions.
    """

    def __init__(
        self, checkpoint: Checkpoint, choices: list, n: int, columns: int, steps: int, content: str, lines: int
    ):
        self._checkpoint, self._n, self._columns, self._content = checkpoint, n, columns, content
        self.samples: Tensor | None = None
        labels = [_READOUTS.get(scale, f"{scale:g}".replace("-", "−")) for scale in SCALES]
        self.scale = _slider(list(zip(labels, SCALES, strict=True)), 1, "guidance scale", 480)
        self.steps = _slider(STEPS, steps, "steps", 300)
        narrow, wrap = ui.Layout(width="140px"), ui.Layout(flex_flow="row wrap", grid_gap="4px 20px")
        self.seed = ui.BoundedIntText(0, min=0, max=2**31, description="seed", style=WIDE, layout=narrow)
        self.button = ui.Button(description="Draw", button_style="primary", tooltip="Draw pictures", icon="paint-brush")
        gan = checkpoint.schedule is None
        self.numbers = ui.HTML().add_class("dtc-numbers")
        self._say("Press Draw, or change something.", _ONE_STEP if gan else "&nbsp;")
        self.picture = self._figure(0.05 + 0.25 * lines)
        first = ui.HBox([*choices, self.seed, self.button], layout=wrap)
        second = ui.HBox([self.scale, self.steps], layout=wrap)
        super().__init__([first, second, self.numbers, self.picture])
        self.add_class("dtc-explorer")
        for control in (self.scale, self.steps) if gan else ():
            control.disabled, control.tooltip = True, _ONE_STEP
        for control in (self.scale, self.steps, self.seed):
            control.observe(self._draw, "value")
        self.button.on_click(self._draw)

    def _figure(self, band: float) -> Picture:
        rows, columns, size = math.ceil(self._n / self._columns), self._columns, self._checkpoint.model.config.size
        height = INCHES * min(0.75, rows / columns)  # no higher: it must fit on a projector
        figure, axes = viz.axes(1, 1, (INCHES, height + band))
        figure.set_layout_engine("none")  # it would give away the band, whose captions come later
        ax = viz.image(axes[0, 0], tiles(torch.full((self._n, 3, size, size), 0.8), columns))
        ax.set_position((0, 0, 1, height / (height + band)))
        self._shown, self._tile = ax.images[0], min(INCHES / columns, height / rows)
        middles = [2 + (size + 2) * k + (size - 1) / 2 for k in range(columns)]
        self._captions = [ax.text(x, 0, "", ha="center", va="bottom", linespacing=1.05) for x in middles]
        picture = Picture(figure, [self._shown, *self._captions])
        picture.refresh(f"{self._n} empty squares: nothing has been drawn yet.")
        return picture

    def _asked(self) -> tuple[Tensor, Tensor | None, str, list[str]]:
        """Return what the controls ask for: noise, y, the classes in words, and a caption for each column."""
        raise NotImplementedError

    def _run(self) -> None:
        began = shown = time.perf_counter()
        (noise, y, classes, above), steps, scale = self._asked(), self.steps.value, self.scale.value
        how = self._how(classes)
        for k, step in enumerate(sample.chain(self._checkpoint, noise, y, steps, scale)):
            if 0 < k < steps and time.perf_counter() - shown > images.PREVIEW_S:  # what the network expects so far
                guesses = sample.decoded(self._checkpoint.model, step.x0_hat)
                self._show(guesses, above, f"Half-way, step {k} of {steps}, guesses of what will come: {how}.")
                self._say(how, f"step {k} of {steps}")
                shown = time.perf_counter()
        self.samples = sample.decoded(self._checkpoint.model, step.x)
        seconds, evaluations = time.perf_counter() - began, _evaluations(self._checkpoint, y, steps, scale)
        self._show(self.samples, above, f"{self._content}, drawn by {self._checkpoint.name}: {how}.")
        work = f"{evaluations} evaluation{'s' if evaluations > 1 else ''} of the network per picture"
        self._say(how, work, f"{seconds:.1f} s for {self._n}")

    def _say(self, first: str, *second: str) -> None:
        rest = "".join(f"<span>{text}</span>" for text in second)
        # two lines whatever they hold, or the picture below would jump
        self.numbers.value = f"<span><b>{html.escape(first)}</b></span><br>{rest}"

    def _how(self, classes: str) -> str:
        scale, steps = self.scale.value, self.steps.value
        guidance = f", guidance scale {scale:g}".replace("-", "−") + _MEANINGS.get(scale, "")
        work = f", {steps} step{'s' if steps > 1 else ''}"
        parts = (classes, "" if self.scale.disabled else guidance, "" if self.steps.disabled else work)
        return f"{''.join(parts)}, seed {self.seed.value}"

    def _show(self, pictures: Tensor, above: list[str], alt: str) -> None:
        set_pixels(self._shown, tiles(pictures, self._columns))
        longest = max(len(line) for text in above for line in text.split("\n")) or 1
        for artist, text in zip(self._captions, above, strict=True):
            artist.set(text=text, fontsize=min(15, 72 * self._tile / (0.64 * longest)))  # a letter: 0.6 of its size
        self.picture.refresh(alt)


class ClassExplorer(_Explorer):
    """See `class_explorer`; attributes: class_, scale, steps, seed, button, picture, numbers, samples."""

    def __init__(self, checkpoint: Checkpoint, n: int = 16):
        self._known = sample.classes(checkpoint)
        options = [*self._known, IN_TURNS, *([] if checkpoint.schedule is None else [NO_CLASS])]
        self.class_ = ui.ToggleButtons(options=options, style={"button_width": "116px"})
        columns = min(n, math.ceil((2 * n) ** 0.5))  # wider than high
        # guided, a step takes two evaluations: eight stay below two seconds on two cores
        super().__init__(checkpoint, [self.class_], n, columns, 8, f"{n} pictures", 1)
        self.class_.observe(self._change_class, "value")

    @told
    def _change_class(self, _=None) -> None:
        if self._checkpoint.schedule is not None:
            self.scale.disabled = self.class_.value == NO_CLASS
            self.scale.tooltip = "without a class there is nothing to guide to" if self.scale.disabled else None
        self._draw()

    def _asked(self) -> tuple[Tensor, Tensor | None, str, list[str]]:
        noise, chosen, above = sample.noise(self._checkpoint, self._n, self.seed.value), self.class_.value, [""]
        if chosen == NO_CLASS:
            y = None
        elif chosen == IN_TURNS:
            y, chosen = torch.arange(self._n) % len(self._known), f"{', '.join(self._known)} in turns"
            above = self._known if self._columns % len(self._known) == 0 else above  # then a column has one class
        else:
            y = torch.full((self._n,), self._known.index(chosen))
        return noise, y, chosen, above * (self._columns // len(above))


def class_explorer(checkpoint: Checkpoint, n: int = 16) -> ClassExplorer:
    """Draw n pictures of a class, at a scale of guidance, as soon as a control changes.

    The seed fixes the starting noise: with it only what the class and the scale do changes. The sampler is DPM-Solver++
    with levels even in lambda; a GAN draws in one step, so it has neither scale nor steps, nor "no class".
    Raises ValueError for n < 1 and for a checkpoint without classes.
    """
    if n < 1:
        raise ValueError(f"n counts pictures: at least 1, got {n}")
    return ClassExplorer(checkpoint, n)


class MorphExplorer(_Explorer):
    """See `morph_explorer`; attributes: a, b, scale, steps, seed, button, picture, numbers, samples."""

    def __init__(self, checkpoint: Checkpoint, rows: int = 4, columns: int = 8):
        known, self._rows = sample.classes(checkpoint), rows
        sample.check_grid(rows, columns)
        if len(known) < 2:
            raise ValueError(f"a morph takes two classes, and {checkpoint.name} knows {known[0]!r} alone")
        self.a, self.b = (
            ui.Dropdown(options=known, index=i, description=name, style=WIDE, layout=ui.Layout(width="200px"))
            for i, name in enumerate(("from", "to"))
        )
        content = f"{rows} rows of {columns} pictures, each row from one starting noise"
        super().__init__(checkpoint, [self.a, self.b], rows * columns, columns, 10, content, 2)
        for control in (self.a, self.b):
            control.observe(self._change_class, "value")

    @told
    def _change_class(self, change) -> None:
        if self.a.value == self.b.value:  # they change places, which draws
            (self.b if change["owner"] is self.a else self.a).value = change["old"]
        else:
            self._draw()

    def _asked(self) -> tuple[Tensor, Tensor | None, str, list[str]]:
        a, b = self.a.value, self.b.value
        noise, y = sample.mixtures(self._checkpoint, a, b, self._rows, self._columns, self.seed.value)
        return noise, y, f"from {a} to {b}", captions(a, b, self._columns)

    def _run(self) -> None:
        super()._run()
        self.samples = self.samples.unflatten(0, (self._rows, self._columns))


def morph_explorer(checkpoint: Checkpoint, rows: int = 4, columns: int = 8) -> MorphExplorer:
    """Draw the grid of `sample.morph` as soon as a control changes: a row for each noise, shares above the columns.

    Errors as for `sample.morph`, and ValueError for a checkpoint that knows one class alone.
    """
    return MorphExplorer(checkpoint, rows, columns)
