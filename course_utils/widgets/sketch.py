"""A diffusion model that learns one drawing in seconds, cut into slices so that a user interface stays alive."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from course_utils import diffusion, presets, samplers, schedules, training
from course_utils.data import toy
from course_utils.models.mlp import MLP, MLPConfig

MIN_POINTS = 20
SLICE_S = 0.07  # a slice of training, so that Stop is heard within a tenth of a second
REST_S = 0.005  # the event loop's turn between two slices: enough for ZeroMQ to hand over a waiting message
CLOUD_EVERY_S = 0.4
SAMPLER_STEPS = 20


class Sizes(NamedTuple):
    """How much to compute: updates, examples per update, points in the generated cloud, width of the network."""

    steps: int
    batch: int
    cloud: int
    hidden: int


def sizes() -> Sizes:
    """Return the sizes of the preset in force."""
    return presets.choose(
        ci=Sizes(150, 128, 200, 64), lecture=Sizes(2500, 512, 500, 96), full=Sizes(10_000, 2048, 1500, 256)
    )


@contextmanager
def _one_thread():
    # so small a network gains nothing from a second thread; on busy cores threads waiting for each other cost up to 30x
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Sketch:
    """A network, its average and the noise that is turned into the cloud; knows nothing of widgets or event loops.

    drawing: (N, 2) points in any units, as painted; any number of training points is drawn from them with jitter.
    Raises ValueError for fewer than MIN_POINTS points, points that are not finite, or all in one spot.
    """

    def __init__(self, drawing: Tensor, size: Sizes | None = None, seed: int = 0):
        if drawing.ndim != 2 or drawing.shape[1] != 2 or not bool(drawing.isfinite().all()):
            raise ValueError(f"The drawing must be finite points of shape (N, 2), got {tuple(drawing.shape)}.")
        if len(drawing) < MIN_POINTS:
            raise ValueError(f"Too few points to learn from, {len(drawing)}: paint at least {MIN_POINTS}.")
        self.size = size or sizes()
        self.centre, self.scale = drawing.mean(0), float(drawing.var(0, unbiased=False).mean().sqrt())
        if self.scale < 1e-3:
            raise ValueError("All the points lie in one spot: spread them out.")
        self._points = toy.standardise(drawing)
        self._generator = torch.Generator().manual_seed(seed)
        self.schedule = schedules.cosine(1000)
        with torch.random.fork_rng(devices=[]):  # the network's first weights come from the global generator
            torch.manual_seed(seed)
            # velocity: usable at once at every noise level, where eps takes minutes to become so near pure noise
            model = MLP(MLPConfig(T=1000, hidden=self.size.hidden, predicts="v"))
        self.ema = training.EMA(model, decay=0.99)
        self.last: training.TrainStep | None = None
        loss = lambda m, batch: diffusion.l_simple(m, batch, self.schedule, generator=self._generator)  # noqa: E731
        self._fit = training.fit(
            model, loss, self._batches(), self.size.steps, lr=5e-3, warmup=20, decay=True, ema=self.ema
        )
        self.new_noise()

    def _batches(self) -> Iterator[Tensor]:
        while True:
            yield toy.resample(self._points, self.size.batch, toy.JITTER, self._generator)

    def new_noise(self) -> None:
        """Draw the noise, shape (cloud, 2), that the next clouds start from."""
        self._x_T = torch.randn(self.size.cloud, 2, generator=self._generator)

    def train(self, seconds: float = SLICE_S) -> bool:
        """Train for about `seconds`; returns whether there is more to do. Raises NonFiniteLossError like `fit`."""
        end = time.perf_counter() + seconds
        with _one_thread():
            for step in self._fit:
                self.last = step
                if time.perf_counter() > end:
                    break
        return self.last.step < self.size.steps

    def denoise(self) -> Iterator[Tensor]:
        """Yield the cloud at each sampler step, from noise to sample, shape (cloud, 2), in the drawing's units."""
        steps = samplers.ddim(self.ema.model, self.schedule, self._x_T, steps=SAMPLER_STEPS)
        while True:
            with _one_thread():
                step = next(steps, None)
            if step is None:
                return
            yield step.x * self.scale + self.centre

    @property
    def progress(self) -> str:
        """Steps, loss and seconds so far, for people."""
        if self.last is None:
            return f"step 0 of {self.size.steps:,}"
        step, loss, seconds = self.last.step, self.last.loss, self.last.seconds
        return f"step {step:,} of {self.size.steps:,} · loss {loss:.3f} · {seconds:.1f} s"


async def learn(sketch: Sketch, show: Callable[[Tensor | None], None]) -> None:
    """Train to the end in slices, handing the event loop its turn between them; cancel the task to stop.

    show(cloud) is called after every slice, with a fresh cloud (n, 2) every CLOUD_EVERY_S and at the end, else None.
    """
    due, more = 0.0, True
    while more:
        more, cloud = sketch.train(), None
        await asyncio.sleep(REST_S)
        if time.perf_counter() > due or not more:
            for cloud in sketch.denoise():  # noqa: B007 (the last one is wanted)
                await asyncio.sleep(0)
            due = time.perf_counter() + CLOUD_EVERY_S
        show(cloud)


async def replay(sketch: Sketch, show: Callable[[Tensor], None], frame_s: float = 0.07) -> None:
    """Turn fresh noise into a cloud before the reader's eyes: show(cloud) for every sampler step."""
    sketch.new_noise()
    for cloud in sketch.denoise():
        show(cloud)
        await asyncio.sleep(frame_s)
