"""Explorers of a GAN: a walk through what its generator draws, and what its discriminator thinks of a picture."""

import ipywidgets as ui
import torch
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as transforms

from course_utils import latents, sample, viz
from course_utils.checkpoints import Checkpoint
from course_utils.models.dcgan import Discriminator, Generator
from course_utils.models.layers import check_images
from course_utils.widgets.images import INCHES, WIDE, WRAP, tiles, told
from course_utils.widgets.picture import WIDTH, Picture
from course_utils.widgets.pixels import Pixels, beside, titled

STOPS = 6  # random z on a walk, which ends where it began
STEPS = 20  # between two of them
REAL, GENERATED = "real", "generated"


class WalkExplorer(ui.VBox):
    """See `walk_explorer`; attributes: seed, how, length, label, slider, play, numbers, z (z_dim,), drawn (3, S, S)."""

    def __init__(self, checkpoint: Checkpoint):
        if not isinstance(checkpoint.model, Generator):
            kind = type(checkpoint.model).__name__
            raise ValueError(
                f"{checkpoint.name} is a {kind}, not a Generator: take a checkpoint that a GAN recipe made"
            )
        self._checkpoint = checkpoint
        narrow = ui.Layout(width="140px")
        self.seed = ui.BoundedIntText(0, min=0, max=2**31, description="seed", style=WIDE, layout=narrow)
        self.how = ui.ToggleButtons(options=latents.HOW, value="spherical", style={"button_width": "104px"})
        wide = ui.Layout(width="330px")
        self.length = ui.FloatSlider(
            1, min=0, max=2, step=0.05, description="length of z, times", style=WIDE, layout=wide
        )
        names = sample.classes(checkpoint) if checkpoint.model.config.classes else []
        self.label = ui.ToggleButtons(
            options=[(name, k) for k, name in enumerate(names)], style={"button_width": "80px"}
        )
        options = [(f"{k / STEPS:.2f}", k / STEPS) for k in range(STOPS * STEPS + 1)]
        self.slider = ui.SelectionSlider(
            options=options, description="along the walk", layout=ui.Layout(width="100%"), style=WIDE
        )
        self.play = ui.Play(min=0, max=STOPS * STEPS, interval=120, show_repeat=True)
        ui.jslink((self.play, "value"), (self.slider, "index"))
        self.numbers = ui.HTML().add_class("dtc-numbers")
        self.picture, self.stops = Pixels(WIDTH // 3), Pixels(WIDTH // 2)
        first = ui.HBox([self.seed, self.how, self.length, *([self.label] if names else [])], layout=WRAP)
        second = ui.HBox([self.play, self.slider], layout=ui.Layout(grid_gap="0 8px"))
        large = beside(titled("here", self.picture), titled(f"the stops, 0 to {STOPS - 1}", self.stops), gap=20)
        super().__init__([first, second, large, self.numbers])
        self.add_class("dtc-explorer")
        for control in (self.seed, self.label, self.length):
            control.observe(self._change_stops, "value")
        for control in (self.how, self.slider):
            control.observe(self._change, "value")
        self._change_stops()

    def _draw(self, z: Tensor) -> Tensor:
        model = self._checkpoint.model
        y = None if self.label.value is None else torch.full((len(z),), self.label.value)
        device = next(model.parameters()).device
        with torch.no_grad():
            return model(z.to(device), None if y is None else y.to(device)).cpu()

    @told
    def _change_stops(self, _=None) -> None:
        self._z = self.length.value * sample.noise(self._checkpoint, STOPS, self.seed.value).cpu()
        self.stops.show(
            tiles(self._draw(self._z), STOPS // 2), f"{STOPS} pictures from random z: the stops of the walk."
        )
        self._change()

    @told
    def _change(self, _=None) -> None:
        leg, share = divmod(self.slider.index, STEPS)
        a, b = self._z[leg % STOPS], self._z[(leg + 1) % STOPS]
        self.z = latents.blend(a, b, [share / STEPS], self.how.value)[0]
        self.drawn = self._draw(self.z[None])[0]
        place = f"{self.slider.value:.2f} along the walk"
        self.picture.show(self.drawn, f"Drawn from the z at {place}.")
        usual = self.z.numel() ** 0.5
        self.numbers.value = (
            f"<span><b>{place}</b></span><span>length of z = {self.z.norm():.1f}, of a random one ≈ {usual:.1f}</span>"
        )


def walk_explorer(checkpoint: Checkpoint) -> WalkExplorer:
    """Slide or play through pictures whose z lie between random ones: stop 0, stop 1, ..., and back to stop 0.

    A generator that knew its training pictures by heart would jump. length: how far from the origin z lies, as a
    multiple of what was drawn; 0 is the one middle picture, and beyond 1 hardly any z lay in training. Raises
    ValueError for a checkpoint that is no generator of a GAN.
    """
    return WalkExplorer(checkpoint)


class ScoreExplorer(ui.VBox):
    """See `score_explorer`; attributes: source, which, the sliders of `changes`, reset, numbers, changed, logit."""

    def __init__(self, discriminator: nn.Module, real: Tensor, generated: Tensor):
        if not isinstance(discriminator, Discriminator):
            raise ValueError(f"the scores come from a Discriminator, got a {type(discriminator).__name__}")
        config = discriminator.config
        if config.classes:
            raise ValueError("this discriminator wants to know the class of a picture: take one without classes")
        sets = {REAL: real, GENERATED: generated}
        for name, images in sets.items():
            images = sets[name] = torch.as_tensor(images, dtype=torch.float32).cpu()
            check_images(images, config.channels, config.size)
            if len(images) < 2:
                raise ValueError(f"{name} must hold at least 2 pictures, got {len(images)}")
        # a copy that stands still: a score must depend on its own picture alone, and training may go on meanwhile
        self._judge, self._sets = Discriminator(config), sets
        self._judge.load_state_dict({name: value.cpu() for name, value in discriminator.state_dict().items()})
        self._judge.eval().requires_grad_(False)
        self._logits = {name: self._judge(images) for name, images in sets.items()}
        self.source = ui.ToggleButtons(options=[REAL, GENERATED], style={"button_width": "104px"})
        fewest, size = min(map(len, sets.values())), config.size
        self.which = ui.IntSlider(
            1, min=1, max=fewest, description="number", style=WIDE, layout=ui.Layout(width="300px")
        )
        self.changes = {
            "noise": self._slider("noise, std", 0, 0.5, 0.02),
            "blur": self._slider("blur, pixels", 0, 3, 0.1),
            "shift": self._slider("to the right, pixels", -size // 4, size // 4, 1),
            "brightness": self._slider("brighter", -0.6, 0.6, 0.05),
        }
        self.reset = ui.Button(description="Reset", tooltip="Leave the picture as it is", icon="undo")
        self.numbers = ui.HTML().add_class("dtc-numbers")
        third = (WIDTH - 40) // 4
        self.plain, self.picture = Pixels(third), Pixels(third)
        self.histogram = self._figure(WIDTH - 2 * third - 40)
        first = ui.HBox([self.source, self.which, self.reset], layout=WRAP)
        second = ui.HBox(list(self.changes.values()), layout=WRAP)
        parts = (titled("as it is", self.plain), titled("changed", self.picture), self.histogram)
        super().__init__([first, second, beside(*parts, gap=20), self.numbers])
        self.add_class("dtc-explorer")
        self._resetting = False
        for control in (self.source, self.which, *self.changes.values()):
            control.observe(self._change, "value")
        self.reset.on_click(self._reset)
        self._change()

    @staticmethod
    def _slider(description: str, low: float, high: float, step: float) -> ui.FloatSlider:
        layout, shown = ui.Layout(width="420px"), ".0f" if step >= 1 else ".2f"
        how = {"step": step, "description": description, "readout_format": shown, "style": WIDE, "layout": layout}
        return ui.FloatSlider(0, min=low, max=high, **how)

    def _figure(self, width: int) -> Picture:
        inches = INCHES * width / WIDTH
        figure, axes = viz.axes(1, 1, (inches, 0.62 * inches))
        ax, both = axes[0, 0], torch.cat(list(self._logits.values()))
        edges = torch.linspace(float(both.min()) - 1, float(both.max()) + 1, 25).tolist()
        for (name, logits), colour in zip(self._logits.items(), (viz.BLUE, viz.ORANGE), strict=True):
            ax.hist(logits.tolist(), edges, color=colour, alpha=0.55, label=name)
        ax.set(xlabel="logit of the discriminator", yticks=[], xlim=(edges[0], edges[-1]))
        ax.legend(fontsize=11)
        self._ends = edges[0], edges[-1]
        self._marker = ax.axvline(0, color=viz.INK, linewidth=2.5)
        return Picture(figure, [self._marker], width)

    @told
    def _reset(self, _=None) -> None:
        self._resetting = True
        try:
            for slider in self.changes.values():
                slider.value = 0
        finally:
            self._resetting = False
        self._change()

    def _altered(self, image: Tensor) -> Tensor:
        amount = {name: slider.value for name, slider in self.changes.items()}
        if amount["shift"]:
            columns = torch.arange(image.shape[-1]) - round(amount["shift"])
            image = image[..., columns.clamp(0, image.shape[-1] - 1)]
        if amount["blur"]:
            width = 2 * round(3 * amount["blur"]) + 1
            image = transforms.gaussian_blur(image, [width, width], [amount["blur"]] * 2)
        noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0))  # the same while sliders move
        return (image + amount["brightness"] + amount["noise"] * noise).clamp(-1, 1)

    @told
    def _change(self, _=None) -> None:
        if self._resetting:
            return
        name, k = self.source.value, self.which.value - 1
        plain = self._sets[name][k]
        self.changed = self._altered(plain)
        self.logit = float(self._judge(self.changed[None]))
        before = float(self._logits[name][k])
        about = f"{name} picture {k + 1}"
        self.plain.show(plain, f"{about}, as it is.".capitalize())
        self.picture.show(self.changed, f"{about}, changed by the sliders.".capitalize())
        at = min(max(self.logit, self._ends[0]), self._ends[1])
        self._marker.set_xdata([at, at])
        self.histogram.refresh(
            f"Histograms of the logits of real and of generated pictures, and a line at {self.logit:.1f}, this one's."
        )
        share = float((self._logits[REAL] < self.logit).double().mean())
        self.numbers.value = (
            f"<span><b>logit = {self.logit:+.2f}</b>, D = {torch.tensor(self.logit).sigmoid():.3f}</span>"
            f"<span>as it is {before:+.2f}</span><span>{share:.0%} of the real pictures have a lower one</span>"
        ).replace("-", "−")


def score_explorer(discriminator: Discriminator, real: Tensor, generated: Tensor) -> ScoreExplorer:
    """Change a picture, real or generated, and see what a discriminator without classes thinks of it.

    It is judged by a copy in evaluation mode, whatever training does with the network afterwards. real, generated:
    (N, 3, S, S) in [-1, 1], at least 2 each; their logits make the histogram. Raises ValueError for other networks,
    discriminators with classes, and pictures that do not fit.
    """
    return ScoreExplorer(discriminator, real, generated)
