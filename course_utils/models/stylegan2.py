"""A small StyleGAN2 (Karras et al. 2020, Analyzing and Improving the Image Quality of StyleGAN), with switches.

Each of the paper's changes to StyleGAN can be taken back by a field of `StyleGAN2Config`, to measure what it does.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_utils.models.layers import check_images

NORMALISATIONS = ("demodulation", "instance", "none")
ARCHITECTURES = ("skip", "growing")
_MAPPING_LR = 0.01  # learning rate of the mapping network, relative to that of all else (appendix B)
_W_DECAY = 0.995  # of the running mean of w, for truncation
_EPS = 1e-8


@dataclass(frozen=True)
class StyleGAN2Config:
    """Sizes and switches of a `StyleGenerator` and its `StyleDiscriminator`.

    size: pixels a side, 4 times a power of two. z_dim, w_dim: lengths of z and w. mapping: layers between them. width:
    channels at full size, doubled with every halving up to `widest`. normalise: "demodulation" of the weights (eq. 3),
    "instance" for StyleGAN's AdaIN, or "none". outside: noise, bias and activation come after the normalisation,
    outside the style block, as figure 2c has it, or before it, as in StyleGAN (figure 2b). architecture: "skip" for a
    skip generator and a residual discriminator (section 4.1), or "growing" for progressive growing, whose `level` says
    how far it has come. Raises ValueError for values that do not fit.
    """

    size: int = 64
    channels: int = 3
    z_dim: int = 128
    w_dim: int = 128
    mapping: int = 4
    width: int = 32
    widest: int = 128
    normalise: str = "demodulation"
    outside: bool = True
    architecture: str = "skip"

    def __post_init__(self):
        if self.size < 8 or not math.log2(self.size / 4).is_integer():
            raise ValueError(f"size must be 4 times a power of two, from 8 on, got {self.size}")
        for name, known in (("normalise", NORMALISATIONS), ("architecture", ARCHITECTURES)):
            if getattr(self, name) not in known:
                raise ValueError(f"unknown {name} {getattr(self, name)!r}: choose one of {', '.join(known)}")
        for name in ("channels", "z_dim", "w_dim", "mapping", "width", "widest"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    @property
    def latent_shape(self) -> tuple[int]:
        """Shape of the z of one image."""
        return (self.z_dim,)

    @property
    def sides(self) -> list[int]:
        """Pixels a side of each resolution: 4, 8, ..., size."""
        return [4 * 2**k for k in range(int(math.log2(self.size / 4)) + 1)]

    @property
    def widths(self) -> list[int]:
        """Channels of each resolution, from 4 x 4 up."""
        return [min(self.widest, self.width * self.size // side) for side in self.sides]

    @property
    def styles(self) -> int:
        """How many w the synthesis takes: one per convolution, of which 4 x 4 has one and every other side two."""
        return 2 * len(self.sides) - 1

    @property
    def conv_sides(self) -> list[int]:
        """Pixels a side of what each convolution returns: 4, 8, 8, ..., size, size."""
        return [self.sides[(k + 1) // 2] for k in range(self.styles)]


class Equalised(nn.Module):
    """A convolution, or a linear layer where kernel is 0, whose weights are kept at unit variance and scaled in use.

    So that Adam moves all of them alike (Karras et al. 2018, section 4.1). lr: factor on their learning rate.
    """

    def __init__(self, into: int, out: int, kernel: int = 0, bias: float | None = 0.0, lr: float = 1.0):
        super().__init__()
        shape = (out, into, kernel, kernel) if kernel else (out, into)
        self.weight = nn.Parameter(torch.randn(shape) / lr)
        self.bias = None if bias is None else nn.Parameter(torch.full((out,), bias / lr))
        self.gain, self.lr = lr / math.sqrt(into * max(kernel, 1) ** 2), lr

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.weight * self.gain, None if self.bias is None else self.bias * self.lr
        if weight.ndim == 2:
            return F.linear(x, weight, bias)
        return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)


def _activate(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2) * math.sqrt(2)  # the factor keeps the variance


def doubled(x: Tensor) -> Tensor:
    """Return (B, C, S, S) with twice the side, bilinearly, which is nearly the paper's filter [1, 3, 3, 1]."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class StyledConv(nn.Module):
    """One style block and what follows: convolution of x, modulated by w, then noise, bias and activation.

    Source: section 2.2, eqs. 1 to 3. The inputs are scaled by the style and the outputs by the demodulation, which is
    the same as modulating the weights of every image, and needs one convolution for all. up: double the side first.
    last: for RGB: 1 x 1, no demodulation, no noise, no activation.
    """

    def __init__(self, config: StyleGAN2Config, into: int, out: int, up: bool = False, last: bool = False):
        super().__init__()
        self.up, self.last, self.outside = up, last, config.outside
        self.normalise = "none" if last else config.normalise
        shifted = out if self.normalise == "instance" else 0  # AdaIN also sets the mean
        self.style = Equalised(config.w_dim, into + shifted, bias=0.0)
        self.conv = Equalised(into, out, 1 if last else 3, bias=None)
        self.bias = nn.Parameter(torch.zeros(out))
        self.strength = None if last else nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None = None) -> Tensor:
        style = self.style(w)
        into = x.shape[1]
        scale, shift = 1 + style[:, :into], style[:, into:]
        x = self.conv((doubled(x) if self.up else x) * scale[:, :, None, None])
        after = self.bias[:, None, None]
        if self.strength is not None and noise is not None:
            after = after + self.strength * noise
        finished = (lambda x: x + after) if self.last else (lambda x: _activate(x + after))
        x = x if self.outside else finished(x)
        if self.normalise == "demodulation":
            squares = (self.conv.weight * self.conv.gain).square().sum((2, 3))
            x = x * (scale.square() @ squares.T + _EPS).rsqrt()[:, :, None, None]
        elif self.normalise == "instance":
            x = F.instance_norm(x.float(), eps=1e-5) + shift[:, :, None, None]
        return finished(x) if self.outside else x


class StyleGenerator(nn.Module):
    """generator(z, y=None, noise=None) -> images (B, channels, size, size), about in [-1, 1].

    Source: Karras et al. 2020, figures 2c and 7b. z: (B, z_dim), standard normal, or (B, styles, z_dim), one for each
    convolution, which mixes styles. noise: one tensor (B or 1, 1, side, side) per convolution, see `draw_noise`; None
    takes the fixed ones that belong to the network. y must be None: there are no classes. with_w: also return the w
    (B, styles, w_dim), for `adversarial.path_lengths`. psi: truncate w, see `truncated`. In training mode a running
    mean of w is kept. `level`, of a growing network: how many resolutions it has reached, a fraction fading in the
    next. Raises ValueError for shapes that do not fit.
    """

    def __init__(self, config: StyleGAN2Config | None = None):
        super().__init__()
        self.config = config = config or StyleGAN2Config()
        layers = [config.z_dim] + [config.w_dim] * config.mapping
        self.mapping = nn.ModuleList(Equalised(into, out, lr=_MAPPING_LR) for into, out in pairwise(layers))
        self.start = nn.Parameter(torch.randn(1, config.widths[0], 4, 4))
        self.convs, self.rgbs = nn.ModuleList(), nn.ModuleList()
        into = config.widths[0]
        for k, width in enumerate(config.widths):
            if k:
                self.convs.append(StyledConv(config, into, width, up=True))
            self.convs.append(StyledConv(config, width, width))
            self.rgbs.append(StyledConv(config, width, config.channels, last=True))
            into = width
        for k, noise in enumerate(self.draw_noise(1, torch.Generator().manual_seed(0))):
            self.register_buffer(f"noise{k}", noise)
        self.register_buffer("w_mean", torch.zeros(config.w_dim))
        self.register_buffer("path_mean", torch.zeros(()))
        self.register_buffer("level", torch.tensor(float(len(config.sides) - 1)))

    def draw_noise(self, n: int, generator: torch.Generator) -> list[Tensor]:
        """Return standard normal noise for n images, one tensor (n, 1, side, side) per convolution, on the CPU."""
        return [torch.randn(n, 1, side, side, generator=generator) for side in self.config.conv_sides]

    def to_w(self, z: Tensor) -> Tensor:
        """Return w (..., w_dim) of z (..., z_dim): the mapping network, on z scaled to unit mean square."""
        w = z * (z.square().mean(-1, keepdim=True) + _EPS).rsqrt()
        for layer in self.mapping:
            w = _activate(layer(w))
        return w

    def truncated(self, w: Tensor, psi: float) -> Tensor:
        """Return w moved towards the mean of all w, by 1 - psi (Karras et al. 2019, appendix B)."""
        return self.w_mean + psi * (w - self.w_mean)

    def synthesise(self, w: Tensor, noise: Sequence[Tensor] | None = None) -> Tensor:
        """Return images of w: (B, w_dim), or (B, styles, w_dim) with one w for each convolution."""
        n = self.config.styles
        if w.ndim == 2:
            w = w[:, None].expand(-1, n, -1)
        if w.shape[1:] != (n, self.config.w_dim):
            raise ValueError(f"w must have shape (B, {self.config.w_dim}) or (B, {n}, {self.config.w_dim})")
        noise = [getattr(self, f"noise{k}") for k in range(n)] if noise is None else [x.to(w.device) for x in noise]
        growing = self.config.architecture == "growing"
        level = float(self.level) if growing else 0.0
        x = self.start.expand(len(w), -1, -1, -1).contiguous(memory_format=torch.channels_last)
        rgb, convs = None, iter(zip(self.convs, w.unbind(1), noise, strict=True))
        for k, last in enumerate(self.rgbs):
            if growing and k >= level + 1:
                rgb = F.interpolate(rgb, scale_factor=2)  # what the discriminator's average pooling takes back exactly
                continue
            for _ in range(1 if k == 0 else 2):
                conv, style, own = next(convs)
                x = conv(x, style, own)
            new = last(x, style)
            if rgb is None:
                rgb = new
            elif growing:
                fade = min(1.0, level + 1 - k)
                rgb = torch.lerp(F.interpolate(rgb, scale_factor=2), new, fade)
            else:
                rgb = doubled(rgb) + new
        return rgb.float()

    def forward(
        self, z: Tensor, y: None = None, noise: Sequence[Tensor] | None = None, with_w: bool = False, psi: float = 1.0
    ) -> Tensor | tuple[Tensor, Tensor]:
        if y is not None:
            raise ValueError("this generator has no classes: leave y out")
        if z.shape[-1] != self.config.z_dim or z.shape[1:-1] not in ((), (self.config.styles,)):
            shapes = f"(B, {self.config.z_dim}) or (B, {self.config.styles}, {self.config.z_dim})"
            raise ValueError(f"this generator takes z of shape {shapes}, got {tuple(z.shape)}")
        w = self.to_w(z)
        w = w[:, None].expand(-1, self.config.styles, -1) if w.ndim == 2 else w
        if self.training:
            with torch.no_grad():
                self.w_mean.lerp_(w[:, 0].float().mean(0), 1 - _W_DECAY)
        w = w if psi == 1 else self.truncated(w, psi)
        images = self.synthesise(w, noise)
        return (images, w) if with_w else images


class StyleDiscriminator(nn.Module):
    """discriminator(x, y=None) -> logits (B,), high for images that look real.

    Source: Karras et al. 2020, figure 7c, with the standard deviation over groups of 4 images as a further channel at
    the end (Karras et al. 2018, section 3). With the growing architecture there are no skips, and images are looked at
    at the resolution of `level`. Raises ValueError for images of another shape.
    """

    def __init__(self, config: StyleGAN2Config | None = None):
        super().__init__()
        self.config = config = config or StyleGAN2Config()
        widths, self.growing = config.widths, config.architecture == "growing"
        firsts = widths if self.growing else widths[-1:]  # a growing one looks at every resolution once
        self.firsts = nn.ModuleList(Equalised(config.channels, width, 1) for width in firsts)
        self.blocks = nn.ModuleList()
        for k in range(len(widths) - 1, 0, -1):
            parts = {"a": Equalised(widths[k], widths[k], 3), "b": Equalised(widths[k], widths[k - 1], 3)}
            skip = {} if self.growing else {"skip": Equalised(widths[k], widths[k - 1], 1, bias=None)}
            self.blocks.append(nn.ModuleDict(parts | skip))
        self.last = Equalised(widths[0] + 1, widths[0], 3)
        self.dense, self.logit = Equalised(16 * widths[0], widths[0]), Equalised(widths[0], 1)
        self.register_buffer("level", torch.tensor(float(len(config.sides) - 1)))

    def forward(self, x: Tensor, y: None = None) -> Tensor:
        check_images(x, self.config.channels, self.config.size)
        if y is not None:
            raise ValueError("this discriminator has no classes: leave y out")
        x = x.contiguous(memory_format=torch.channels_last)
        level, h = float(self.level) if self.growing else 0.0, None
        for k in range(len(self.config.sides) - 1, 0, -1):
            if self.growing and k >= level + 1:
                x = F.avg_pool2d(x, 2)
                continue
            h = self._block(_activate(self.firsts[k if self.growing else 0](x)) if h is None else h, k)
            if self.growing and k > level:  # this resolution fades in
                x = F.avg_pool2d(x, 2)
                h = torch.lerp(_activate(self.firsts[k - 1](x)), h, level + 1 - k)
        h = _activate(self.firsts[0](x)) if h is None else h
        h = _activate(self.last(torch.cat([h, _deviation(h)], dim=1)))
        return self.logit(_activate(self.dense(h.flatten(1)))).flatten()

    def _block(self, h: Tensor, k: int) -> Tensor:
        block = self.blocks[len(self.config.sides) - 1 - k]
        out = F.avg_pool2d(_activate(block["b"](_activate(block["a"](h)))), 2)
        return out if self.growing else (out + block["skip"](F.avg_pool2d(h, 2))) / math.sqrt(2)


def _deviation(h: Tensor, group: int = 4) -> Tensor:
    """Return a channel (B, 1, H, W): the standard deviation within groups of images, averaged; it betrays collapse."""
    b, _, height, width = h.shape
    group = math.gcd(b, group)
    parts = h.float().reshape(group, b // group, -1)
    std = (parts.var(0, unbiased=False) + _EPS).sqrt().mean(1)
    return std.repeat(group)[:, None, None, None].expand(-1, 1, height, width).to(h.dtype)
