"""Draw-your-own: paint points, press Train, and watch a diffusion model learn them."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from weakref import WeakSet

import anywidget
import numpy as np
import torch
import traitlets
from ipywidgets.widgets.trait_types import CByteMemoryView
from torch import Tensor

from course_utils.data import toy
from course_utils.training import NonFiniteLossError
from course_utils.widgets import sketch as core

_everyone: WeakSet = WeakSet()  # so that a re-run cell, or a second widget, ends the training of the first


class DrawYourOwn(anywidget.AnyWidget):
    """A canvas to paint on, and beside it the cloud that a diffusion model generates while it learns the painting.

    `drawing` is the painting as a tensor (N, 2), x and y in [-1, 1], y upwards: read it in the next cell, or set it.
    `state` is one of idle, training, sampling, done, stopped, error, and `status` says the same in words. What goes
    wrong is shown in the widget and not raised. One widget trains at a time.
    """

    _esm = Path(__file__).with_name("draw.js")
    _css = Path(__file__).with_name("draw.css")
    points = CByteMemoryView(b"").tag(sync=True, echo_update=False)  # float32 pairs: binary, not JSON
    cloud = CByteMemoryView(b"").tag(sync=True)
    outlines = traitlets.List(list(toy.OUTLINES)).tag(sync=True)
    state = traitlets.Unicode("idle").tag(sync=True)
    status = traitlets.Unicode("Paint a shape, or start from an outline. Then press Train.").tag(sync=True)
    fraction = traitlets.Float(0.0).tag(sync=True)

    def __init__(self, outline: str | None = None):
        super().__init__()
        self.sketch: core.Sketch | None = None
        self._task: asyncio.Task | None = None
        self.on_msg(self._on_message)
        self._stop_others()
        _everyone.add(self)
        if outline is not None:
            self.load(outline)

    @property
    def drawing(self) -> Tensor:
        """The painted points, shape (N, 2). Raises ValueError for bytes that are no list of pairs."""
        if len(self.points) % 8:
            raise ValueError("The painting arrived damaged: clear the canvas and paint again.")
        return torch.from_numpy(np.frombuffer(self.points, np.float32).reshape(-1, 2).copy())

    @drawing.setter
    def drawing(self, points: Tensor) -> None:
        self.points = _bytes(points)

    def load(self, outline: str) -> None:
        """Put an outline of `toy.OUTLINES` on the canvas; raises ValueError for an unknown name."""
        points = toy.outline(outline)
        self.drawing = points * (0.85 / points.abs().max())

    def train(self) -> None:
        """Start training on the painting in the kernel's event loop; stops what trained before, here or elsewhere."""
        self._stop_others()
        self._cancel()
        try:
            self.sketch = core.Sketch(self.drawing)
        except ValueError as error:
            return self._report("error", str(error), 0.0)
        self._report("training", self.sketch.progress, 0.0)
        self._start(core.learn(self.sketch, self._show), "trained")

    def sample(self) -> None:
        """Generate a new cloud: while training, from the next update on; otherwise as a short replay."""
        if self.sketch is None:
            return self._report("error", "There is no model yet: press Train first.")
        if self.state == "training" and self.busy:
            return self.sketch.new_noise()
        self._stop_others()
        self._cancel()
        self._report("sampling", "from noise to drawing …")
        self._start(core.replay(self.sketch, self._show), "new cloud")

    def stop(self, why: str = "stopped") -> None:
        """Stop training or sampling; does nothing when nothing runs."""
        if self.busy:
            self._cancel()
            self._report("stopped", f"{why} · {self.sketch.progress}")

    @property
    def busy(self) -> bool:
        """Whether training or sampling runs now."""
        return self._task is not None and not self._task.done() and not self._task.get_loop().is_closed()

    def close(self) -> None:
        """Stop and remove the widget."""
        self._cancel()
        super().close()

    def _stop_others(self) -> None:
        for other in list(_everyone):
            if other is not self:
                other.stop("stopped, since another drawing widget started")

    def _cancel(self) -> None:
        task, self._task = self._task, None  # from here on what the task still has to say is not shown
        if task is not None and not task.done():
            try:  # JupyterLab may run this cell and the widget's messages in different threads, each with its loop
                task.get_loop().call_soon_threadsafe(task.cancel)
            except RuntimeError:
                pass  # the loop is closed, and the task with it

    def _start(self, work: Coroutine, done: str) -> None:
        try:
            self._task = asyncio.get_running_loop().create_task(self._run(work, done))
        except RuntimeError:
            work.close()
            self._report("error", "Training needs a running Jupyter kernel.")

    async def _run(self, work: Coroutine, done: str) -> None:
        try:
            await work
            state, status = "done", f"{done} · {self.sketch.progress}"
        except NonFiniteLossError as error:
            state, status = "error", f"Training stopped: {error}"
        except Exception as error:
            state, status = "error", f"Training broke off: {type(error).__name__}: {error}"
        if asyncio.current_task() is self._task:
            self._report(state, status)

    def _show(self, cloud: Tensor | None) -> None:
        if asyncio.current_task() is not self._task:
            return
        with self.hold_sync():
            if cloud is not None:
                self.cloud = _bytes(cloud)
            if self.state == "training" and self.sketch.last is not None:
                self._report("training", self.sketch.progress, self.sketch.last.step / self.sketch.size.steps)

    def _report(self, state: str, status: str, fraction: float | None = None) -> None:
        with self.hold_sync():
            self.state, self.status = state, status
            if fraction is not None:
                self.fraction = fraction

    def _on_message(self, _, message: dict, buffers: list[memoryview]) -> None:
        actions = {"train": self.train, "stop": self.stop, "sample": self.sample}
        try:
            if message.get("do") == "load":
                self.load(message.get("outline"))
                return
            if buffers:  # the painting as it is now: the synchronised trait may still be under way
                self.points = buffers[0]
            actions[message.get("do")]()
        except Exception as error:
            self._report("error", f"Something went wrong: {type(error).__name__}: {error}")


def _bytes(points: Tensor) -> bytes:
    return points.detach().cpu().to(torch.float32).contiguous().numpy().tobytes()
