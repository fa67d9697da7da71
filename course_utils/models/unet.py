"""The U-Net of Ho et al. 2020 in a small, readable form, with named sizes."""

import math
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_utils.diffusion import PREDICTS
from course_utils.models.labels import check_labels, look_up
from course_utils.models.layers import check_images, norm, zero


@dataclass(frozen=True)
class UNetConfig:
    """Sizes and choices of a `UNet`.

    size: pixels a side. patch: side of the squares that are folded into channels before the first layer, so that the
    network works on a grid of size / patch (1: none). width: channels at the top; `multipliers` scale it, one entry per
    resolution. blocks: residual blocks per resolution on the way down (one more on the way up). attention: resolutions
    of the grid with self-attention. skip_scale: factor on each residual sum, 1/sqrt(2) keeps the variance (Song et al.
    2021, appendix H). classes: size of the class embedding, 0 for none; one more entry stands for "no class".
    """

    size: int = 32
    channels: int = 3
    patch: int = 1
    width: int = 64
    multipliers: tuple[int, ...] = (1, 2, 2)
    blocks: int = 2
    attention: tuple[int, ...] = (8,)
    head: int = 32
    dropout: float = 0.0
    skip_scale: float = 0.5**0.5
    classes: int = 0
    predicts: str = "eps"
    T: int = 1000

    def __post_init__(self):
        object.__setattr__(self, "multipliers", tuple(self.multipliers))  # JSON gives lists
        object.__setattr__(self, "attention", tuple(self.attention))
        if self.predicts not in (*PREDICTS, "F"):  # F: the bare network inside a `Preconditioned`
            raise ValueError(f"unknown predicts {self.predicts!r}: choose one of {', '.join(PREDICTS)}")
        for name in ("size", "channels", "patch", "width", "blocks", "head", "T"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.width % 8:
            raise ValueError(f"width must be a multiple of 8 (group normalisation), got {self.width}")
        fold = self.patch * 2 ** (len(self.multipliers) - 1)
        if not self.multipliers or self.size % fold:
            raise ValueError(
                f"size {self.size} must be a multiple of patch x 2^(levels - 1) = {fold}: "
                "take a smaller patch or fewer multipliers"
            )
        grids = [self.size // self.patch // 2**i for i in range(len(self.multipliers))]
        if extra := set(self.attention) - set(grids):
            raise ValueError(f"attention at {sorted(extra)}, but the network works at the resolutions {grids}")


def timestep_features(t: Tensor, size: int, T: int) -> Tensor:
    """Sines and cosines of t at `size / 2` frequencies (Ho et al. 2020, appendix B): (B,) -> (B, size) float32.

    t is stretched to 0..1000 whatever T is, so that networks of different T see the same range. With T = 1 so is the t
    of flow matching; c_noise of EDM, -1.6 to 1.1, is stretched by as much.
    """
    frequency = torch.exp(torch.arange(size // 2, device=t.device) * (-math.log(10_000) / (size // 2)))
    angle = (t.float() * (1000 / T))[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=1)


class ResBlock(nn.Module):
    """Two convolutions around a skip; the time scales and shifts the second normalisation (Dhariwal & Nichol 2021)."""

    def __init__(self, into: int, out: int, embedding: int, config: UNetConfig):
        super().__init__()
        self.norm1, self.conv1 = norm(into), nn.Conv2d(into, out, 3, padding=1)
        self.time = nn.Linear(embedding, 2 * out)
        self.norm2, self.conv2 = norm(out), zero(nn.Conv2d(out, out, 3, padding=1))
        self.dropout = nn.Dropout(config.dropout)
        self.skip = nn.Conv2d(into, out, 1) if into != out else nn.Identity()
        self.scale = config.skip_scale

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.time(embedding)[:, :, None, None].chunk(2, dim=1)
        h = self.conv2(self.dropout(F.silu(self.norm2(h) * (1 + scale) + shift)))
        return (self.skip(x) + h) * self.scale


class Attention(nn.Module):
    """Self-attention over the positions of the grid (Vaswani et al. 2017), added to its input."""

    def __init__(self, channels: int, config: UNetConfig):
        super().__init__()
        self.heads = math.gcd(max(channels // config.head, 1), channels)
        self.norm, self.qkv = norm(channels), nn.Conv2d(channels, 3 * channels, 1)
        self.out = zero(nn.Conv2d(channels, channels, 1))
        self.scale = config.skip_scale

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        qkv = self.qkv(self.norm(x)).reshape(b, 3, self.heads, c // self.heads, h * w).transpose(-1, -2)
        if x.device.type == "cpu":
            # the bfloat16 backward of attention on CPUs takes a third of the whole step
            with torch.autocast("cpu", enabled=False):
                mixed = F.scaled_dot_product_attention(*qkv.float().unbind(1)).to(qkv.dtype)
        else:
            mixed = F.scaled_dot_product_attention(*qkv.unbind(1))
        mixed = mixed.transpose(-1, -2).reshape(b, c, h, w)
        return (x + self.out(mixed)) * self.scale


class Level(nn.Module):
    """A residual block, followed by attention where the configuration asks for it."""

    def __init__(self, into: int, out: int, embedding: int, grid: int, config: UNetConfig):
        super().__init__()
        self.block = ResBlock(into, out, embedding, config)
        self.attention = Attention(out, config) if grid in config.attention else None

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        x = self.block(x, embedding)
        return x if self.attention is None else self.attention(x)


class UNet(nn.Module):
    """U-Net for images: model(x_t, t, y=None) -> prediction, shaped like x_t.

    Source: Ho et al. 2020, appendix B; blocks as in Dhariwal & Nichol 2021. x_t: (B, channels, size, size) float; t:
    (B,) in 0..T, also fractions, or any c_noise of `frameworks`; y: (B,) labels in 0..classes, where `classes` itself
    means "no class" and stands for None, or (B, classes) shares of a mixture, what lacks to 1 being "no class". Raises
    ValueError for images of another shape, labels out of range, or y where the configuration has no classes.
    """

    def __init__(self, config: UNetConfig | None = None):
        super().__init__()
        self.config = config = config or UNetConfig()
        width, embedding = config.width, 2 * config.width
        self.embed = nn.Sequential(nn.Linear(width, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.classes = nn.Embedding(config.classes + 1, embedding) if config.classes else None
        folded = config.channels * config.patch**2
        self.first = nn.Conv2d(folded, width, 3, padding=1)
        grid, channels, skips = config.size // config.patch, width, [width]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for i, m in enumerate(config.multipliers):
            for _ in range(config.blocks):
                self.down.append(Level(channels, channels := m * width, embedding, grid, config))
                skips.append(channels)
            if i < len(config.multipliers) - 1:
                self.down.append(nn.Conv2d(channels, channels, 3, stride=2, padding=1))
                skips.append(channels)
                grid //= 2
        self.middle = nn.ModuleList(
            [ResBlock(channels, channels, embedding, config), ResBlock(channels, channels, embedding, config)]
        )
        self.middle_attention = Attention(channels, config) if config.attention else None
        for i, m in reversed(list(enumerate(config.multipliers))):
            for _ in range(config.blocks + 1):
                self.up.append(Level(channels + skips.pop(), channels := m * width, embedding, grid, config))
            if i:
                self.up.append(nn.Conv2d(channels, channels, 3, padding=1))
                grid *= 2
        self.last = nn.Sequential(norm(channels), nn.SiLU(), zero(nn.Conv2d(channels, folded, 3, padding=1)))

    @property
    def predicts(self) -> str:
        """What the output means: "eps", "x_0" or "v"; "F" inside a `Preconditioned`."""
        return self.config.predicts

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        config = self.config
        check_images(x_t, config.channels, config.size)
        embedding = F.silu(self.embedding(t, y))
        x = self.first(F.pixel_unshuffle(x_t, config.patch).contiguous(memory_format=torch.channels_last))
        skips = [x]
        for layer in self.down:
            x = layer(x, embedding) if isinstance(layer, Level) else layer(x)
            skips.append(x)
        x = self.middle[0](x, embedding)
        x = x if self.middle_attention is None else self.middle_attention(x)
        x = self.middle[1](x, embedding)
        for layer in self.up:
            if isinstance(layer, Level):
                x = layer(torch.cat([x, skips.pop()], dim=1), embedding)
            else:
                x = layer(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return F.pixel_shuffle(self.last(x), config.patch).to(x_t.dtype)

    def embedding(self, t: Tensor, y: Tensor | None = None) -> Tensor:
        """Return what every block is told of t and y: (B, 2 * width), the sum of an embedding of each."""
        embedding = self.embed(timestep_features(t, self.config.width, self.config.T))
        check_labels(y, self.config.classes, null=True)
        if self.classes is None:
            return embedding
        if y is None:
            y = torch.full_like(t, self.config.classes, dtype=torch.long)
        return embedding + look_up(self.classes, y)


# The sources name their networks by the number of down and up blocks; channel counts are chosen to meet their sizes.
SIZES: dict[str, UNetConfig] = {
    "2xUD-half": UNetConfig(width=56, multipliers=(1, 2), attention=(16,)),
    "2xUD": UNetConfig(width=112, multipliers=(1, 2), attention=(16,)),
    "3xBlocks": UNetConfig(width=120, multipliers=(1, 2, 2), attention=(16, 8)),
    # on 2x2 or 4x4 patches, for CPUs; the sources' variants again in a size that trains in minutes
    "fast": UNetConfig(patch=2, width=56, blocks=1),
    "fast64": UNetConfig(size=64, patch=4, width=56, blocks=1),
    "tiny": UNetConfig(patch=2, width=32, multipliers=(1, 2), blocks=1),
    "tiny-half": UNetConfig(patch=2, width=16, multipliers=(1, 2), blocks=1),
    "tiny-3": UNetConfig(patch=2, width=32, blocks=1),
    "tiny-3-unscaled": UNetConfig(patch=2, width=32, blocks=1, skip_scale=1.0),
    "tiny-3-no-attention": UNetConfig(patch=2, width=32, blocks=1, attention=()),
    "tiny-no-attention": UNetConfig(patch=2, width=32, multipliers=(1, 2), blocks=1, attention=()),
}


def config(name: str, **changes) -> UNetConfig:
    """Return the named configuration, with some fields changed; ValueError for an unknown name or a wrong field."""
    if name not in SIZES:
        raise ValueError(f"unknown U-Net {name!r}: choose one of {', '.join(SIZES)}")
    return replace(SIZES[name], **changes)


def adapt(weights: dict[str, Tensor], before: UNetConfig, after: UNetConfig) -> dict[str, Tensor]:
    """Return the weights of a network, turned into a start for one with more pixels, other classes or another T.

    Pixels and patch must grow by the same factor f. On a picture whose f x f blocks are of one colour, the new network
    then answers what the old one does on the smaller picture, every pixel f x f times; it learns the finer details from
    there. Equally many classes are kept, and others start as "no class". Raises ValueError naming a field that differs
    otherwise.
    """
    factor = after.patch // before.patch
    fits = replace(before, size=before.size * factor, patch=before.patch * factor, classes=after.classes, T=after.T)
    for field in fields(UNetConfig):
        if (new := getattr(after, field.name)) != (old := getattr(fits, field.name)):
            raise ValueError(f"{field.name} = {new} cannot start from a network that needs {field.name} = {old}")
    weights = dict(weights)
    table = weights.pop("classes.weight", torch.zeros(1, 2 * before.width))
    # what is added for "no class" moves into the time's part, so that a network without classes has it too
    weights["embed.2.bias"] = weights["embed.2.bias"] + table[-1]
    if after.classes:
        kept = (
            table - table[-1] if after.classes == before.classes else table.new_zeros(after.classes + 1, len(table[0]))
        )
        weights["classes.weight"] = kept

    def blocks(x: Tensor) -> Tensor:  # one entry per pixel of a patch -> the same for f x f pixels
        x = x.reshape(before.channels, before.patch, before.patch, *x.shape[1:])
        return x.repeat_interleave(factor, 1).repeat_interleave(factor, 2).flatten(0, 2)

    weights["first.weight"] = blocks(weights["first.weight"].transpose(0, 1)).transpose(0, 1) / factor**2
    for name in ("last.2.weight", "last.2.bias"):
        weights[name] = blocks(weights[name])
    return weights
