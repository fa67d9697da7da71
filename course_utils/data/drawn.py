"""Procedural cats, frogs and automobiles: a stand-in for photographs whose factors of variation are known.

A picture is a stack of shapes, each a signed distance (negative inside) evaluated on the pixels of many pictures at
once. The coverage clamp(1/2 - distance in pixels, 0, 1) antialiases edges, so that the same factors give the same
picture at any size. Figures are designed in a square from -1 to 1, x to the right and y down.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import torch
from torch import Tensor

# fmt: off
_FUR = {"black": "3d3949 736a87 f7f2ea", "grey": "97a0b2 5b647d f4f2ef", "white": "f7f3ec a08c7c efc48e",
        "ginger": "f09a4a bf5a22 fff2df", "brown": "9c6b47 59371f f4e3cb"}  # coat, markings, a tuxedo's bib and paws
_IRIS = {"green": "8fd14f", "amber": "ffc53d", "blue": "5fc3f2"}
_SKIN = {"green": "5fb548 d9efa2 2b7031", "lime": "b5d334 f4f6b8 6f9a1c", "teal": "2fa592 c4efdc 12605d",
         "brown": "a9804c efdcae 634222", "red": "e0533f ffd0a8 2e3a63"}  # skin, belly, markings
_FROG_IRIS = {"gold": "ffce45", "red": "f0604a", "white": "fbfbf4"}
_PERCH = {"lily pad": "6cc06b", "stone": "a9afbd", "log": "a8754a"}
_PAINT = {"red": "dd3b3b fff1dc", "blue": "3a76d8 f4f4f2", "yellow": "f7c531 3b3b46", "green": "3fa56b f7f1dc",
          "white": "f4f4f2 e05a4f", "black": "393a47 c3c8d4"}  # body, livery
_RIM = {"steel": "9aa0ad", "whitewall": "f4f1e6", "gold": "d9b24a"}
_ROOM = {"mint": "bfe8d4 7fc4a6 e9fbe9", "sky": "b5dcf5 7fb2dc fff6cf", "rose": "f7cbd0 d98fa3 fff0e6",
         "lavender": "cfc4ef 9a8bd0 f6e9ff", "mustard": "f6df96 cfa145 fffbe0", "dusk": "6d7ab3 4d5790 ffe9a8"}
_POND = {"pond": "bfe3ea 5fa9c4 fffbe0", "reeds": "dcebb5 86b56a fff7c4", "dawn": "f9cfc0 b98bb0 fff1c9",
         "night": "46548f 303d70 fdf3c0"}
_ROAD = {"meadow": "b9e0f7 86c06a fff3b8", "desert": "f9dcae dba565 fff6dc", "city": "cfd6e4 8f97ab f7f0e4",
         "seaside": "c9eef5 4fa9d0 fffbe0", "night": "454e88 2f3562 fdf3c0"}  # sky, ground, sun or moon
_FRAME = {"x": (-0.07, 0.07), "scale": (0.8, 0.96), "light": (-1.0, 1.0), "shade": (-1.0, 1.0),
          "horizon": (0.1, 0.5), "disc": (-0.8, 0.8)}  # place, size, side and strength of the light, backdrop
FACTORS = {
    "cat": {"fur": tuple(_FUR), "pattern": ("plain", "tabby", "tuxedo", "points", "patches"),
            "ears": ("pointed", "round", "wide"), "eyes": tuple(_IRIS), "expression": ("calm", "meow", "asleep"),
            "pose": ("sitting", "standing", "lying"), "facing": ("left", "right"), "background": tuple(_ROOM),
            "gaze": (-1.0, 1.0), "tilt": (-0.25, 0.25), "tail": (-1.0, 1.0), **_FRAME},
    "frog": {"skin": tuple(_SKIN), "markings": ("plain", "spots", "stripes"), "eyes": tuple(_FROG_IRIS),
             "mouth": ("smile", "frown", "open"), "perch": tuple(_PERCH), "background": tuple(_POND),
             "gaze": (-1.0, 1.0), "tilt": (-0.15, 0.15), "throat": (0.0, 1.0), **_FRAME},
    "automobile": {"paint": tuple(_PAINT), "body": ("sedan", "van", "sports", "hatchback", "pickup"),
                   "livery": ("plain", "two-tone", "stripe"), "wheels": tuple(_RIM), "facing": ("left", "right"),
                   "background": tuple(_ROAD), "slope": (-0.1, 0.1), "tint": (0.0, 1.0), **_FRAME}}
CLASSES = tuple(FACTORS)
# A row per option. Poses: head x y; body x y rx ry; tail x y; hind, then front legs: centre, spread, y, half sides.
_POSES = ((0.0, -0.26, 0.0, 0.42, 0.36, 0.46, 0.5, 0.42, 0.0, 0.33, 0.8, 0.05, 0.0, 0.13, 0.64, 0.0, 0.16),
          (-0.27, -0.26, 0.14, 0.2, 0.5, 0.27, 0.6, -0.12, 0.42, 0.12, 0.6, 0.0, 0.2, 0.12, 0.58, 0.0, 0.22),
          (-0.27, 0.1, 0.12, 0.5, 0.58, 0.32, 0.66, 0.35, 0.4, 0.16, 0.78, 0.06, 0.0, 0.17, 0.8, 0.02, 0.0))
_EARS = ((0.28, -0.2, 0.46, -0.57), (0.28, -0.2, 0.46, -0.57), (0.36, -1.0, 0.7, -0.42))  # axis, lean, spread, tip
_BLAZES = ((9.0, 9.0, 1.0, 1.0),) * 2 + ((0.0, -0.2, 0.07, 0.3), (0.0, 0.08, 0.24, 0.26), (0.22, -0.1, 0.2, 0.24))
# Cabin: centre, lean and spread per unit of height, half width at the belt, roof, belt; half length, half wheelbase.
_BODIES = ((0.04, 0.03, 0.66, 0.54, -0.42, -0.04, 0.86, 0.48), (0.02, 0.06, 0.2, 0.83, -0.56, -0.08, 0.86, 0.5),
           (0.12, 0.14, 1.35, 0.54, -0.26, 0.03, 0.86, 0.5), (0.11, 0.03, 0.6, 0.65, -0.46, -0.04, 0.78, 0.46),
           (-0.18, 0.15, 0.3, 0.34, -0.44, -0.04, 0.86, 0.5))
# fmt: on


class Drawn(NamedTuple):  # `draw` says what it holds
    images: Tensor
    labels: Tensor
    factors: dict


def _options(kind: str, n: int, size: int = 32) -> dict[str, tuple]:
    if kind not in CLASSES:
        raise ValueError(f"no class {kind!r} to draw: choose from {', '.join(CLASSES)}")
    if n < 1 or size < 16:
        raise ValueError(f"n must be at least 1 picture and size at least 16 pixels, got n = {n}, size = {size}")
    return FACTORS[kind]


def sample_factors(n: int, kind: str, generator: torch.Generator) -> dict[str, Tensor]:
    """Draw n independent settings of every factor of `kind`, each uniform over its options or range.

    Returns name -> (n,) on the generator's device: int64 index into FACTORS[kind][name], or float32 within its range.
    Raises ValueError for an unknown class and for n < 1.
    """
    out, at = {}, {"generator": generator, "device": generator.device}
    for k, v in _options(kind, n).items():
        out[k] = torch.randint(len(v), (n,), **at) if type(v[0]) is str else torch.rand(n, **at) * (v[1] - v[0]) + v[0]
    return out


def render(kind: str, factors: dict[str, Tensor], size: int = 32, view: str = "whole") -> Tensor:
    """Draw the pictures that the factors describe: (n, 3, size, size) float32 in [-1, 1], on the factors' device.

    `factors` maps each name in FACTORS[kind] to (n,); nothing else enters. `view="face"` comes close to a cat's head.
    Raises ValueError for an unknown class or view, n < 1, size < 16, and a factor missing, out of range or misshapen.
    """
    n = len(next(iter(factors.values()), "?"))
    for name, allowed in _options(kind, n, size).items():
        low, high, dtype = (0, len(allowed) - 1, torch.int64) if type(allowed[0]) is str else (*allowed, torch.float32)
        value, need = factors.get(name), f"{dtype} ({n},) in [{low}, {high}] {allowed}, as sample_factors gives"
        if value is None or (value.shape, value.dtype) != ((n,), dtype) or not ((value >= low) & (value <= high)).all():
            raise ValueError(f"factor {name!r} of {kind!r} must be {need}; got {value}")
    if view != "whole" and (view, kind) != ("face", "cat"):
        raise ValueError(f'no view {view!r} of class {kind!r}: use "whole", or "face" for "cat"')
    paint, palette = {"cat": (_cat, _ROOM), "frog": (_frog, _POND), "automobile": (_automobile, _ROAD)}[kind]
    chunk = max(1, 2**15 // size**2)  # few enough pixels that torch starts no threads: a thread of ours paints a chunk

    @torch.no_grad()
    def paint_chunk(i):
        easel = _Easel(kind, {name: value[i : i + chunk, None, None] for name, value in factors.items()}, size, palette)
        paint(easel, view == "face")
        return easel.picture()

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return torch.cat(list(pool.map(paint_chunk, range(0, n, chunk))))


def draw(n: int, kind: str | Sequence[str] = "cat", size: int = 32, seed: int = 0, view: str = "whole", device="cpu"):
    """Draw n pictures with random factors, the same for the same seed: Drawn(images, labels, factors).

    images (n, 3, size, size) float32 in [-1, 1]; labels (n,) int64 index in CLASSES. For one class name, factors maps a
    factor's name to (n,). For a sequence, classes come mixed in equal numbers, give or take one, and factors maps each
    class to its own, in the order of images[labels == CLASSES.index(name)].
    Raises ValueError as `sample_factors` and `render` do, and when there are fewer pictures than classes.
    """
    kinds = [kind] if isinstance(kind, str) else list(dict.fromkeys(kind))
    if not 1 <= len(kinds) <= n:
        raise ValueError(f"give at least one class, and n of at least one picture for each: got {kind!r}, n = {n}")
    generator, factors = torch.Generator().manual_seed(seed), {}
    which = torch.randperm(n, generator=generator) % len(kinds)
    for k, name in enumerate(kinds):
        sampled = sample_factors(int((which == k).sum()), name, generator)
        factors[name] = {factor: value.to(device) for factor, value in sampled.items()}
    images = torch.cat([render(name, factors[name], size, view) for name in kinds])
    images = images[which.argsort(stable=True).argsort().to(device)]
    labels = torch.tensor([CLASSES.index(name) for name in kinds])[which].to(device)
    return Drawn(images, labels, factors[kind] if isinstance(kind, str) else factors)


def _ellipse(x, y, cx, cy, rx, ry):  # distance to first order: (q - 1) / |grad q|
    u, v = (x - cx).mul_(1 / rx).square_(), (y - cy).mul_(1 / ry).square_()
    return (u + v).sub_(1).div_((u.mul_(4 / rx**2) + v.mul_(4 / ry**2)).sqrt_())


def _pill(x, y, cx, cy, half_width, half_height, r):  # a box grown by r; a disc when the half sides are zero
    u, v = ((x - cx).abs_() - half_width).clamp_(min=0), ((y - cy).abs_() - half_height).clamp_(min=0)
    return (u.square_() + v.square_()).sqrt_().sub_(r)


def _ripple(t, period):  # distance to the nearest multiple of the period
    return (t - (t / period).round_().mul_(period)).abs_()


class _Easel:  # a chunk of pictures in the making: factors as (B, 1, 1), coordinates, layers from back to front
    def __init__(self, kind, factors, size, palette):
        self.kind, self.f, self.B, self.size = kind, factors, len(factors["x"]), size
        self.paints, self.sharp = [], size / 2  # sharp: pixels per unit of distance
        self.canvas = torch.empty(
            40, self.B, size, size, device=factors["x"].device
        )  # light, then the layers' coverages
        grid = (torch.arange(size, device=self.canvas.device) + 0.5) * (2 / size) - 1
        self.X, self.Y = grid.repeat(self.B, 1, 1), grid[:, None].repeat(self.B, 1, 1)
        (wall, floor, disc), horizon, x = self.colours("background", palette), factors["horizon"], factors["disc"]
        self.paint(horizon - 9, wall, 0.1, at=-0.4)
        self.paint(_pill(self.X, self.Y, x, -0.55, 0.0, 0.0, 0.27), disc, opacity=0.75)
        self.paint(_ellipse(self.X, self.Y, -x, 1.0, 0.9, 1.12 - horizon), 0.6 * floor + 0.4 * wall, 0.1, at=0.3)
        self.paint(horizon - self.Y, floor, 0.2, at=0.7)

    def look(self, x=0.0, y=0.0, zoom=1.0, mirror=1.0):  # from the picture's coordinates to the figure's
        scale, self.mirror = self.f["scale"] * zoom, mirror
        self.x, self.y = (self.X - self.f["x"]) * (mirror / scale) + x, self.Y / scale + y
        self.sharp = scale * (self.size / 2)

    def turned(self, cx, cy, angle):  # what comes in pairs, left and right, is drawn at once from |x|, returned last
        x, y, cos, sin = self.x - cx, self.y - cy, angle.cos(), angle.sin()
        return (turned := x * cos + y * sin), y * cos - x * sin, turned.abs()

    def has(self, factor, option):
        return (self.f[factor] == FACTORS[self.kind][factor].index(option)).float()

    def pick(self, factor, *values):  # per picture (B, 1, 1), one of the values; from rows, a tuple of them
        picked = self.X.new_tensor(values)[self.f[factor]]
        return picked if picked.ndim == 3 else picked.unbind(-1)

    def colours(self, factor, palette, shade=0.0):  # (B, 3, 1) for each column of the palette
        table = self.X.new_tensor([list(bytes.fromhex(row)) for row in palette.values()])[self.f[factor]] / 255
        return (table.view(self.B, -1, 3, 1) * (1 + shade * self.f["shade"][:, None])).unbind(1)

    def paint(self, distance, colour, shine=0.0, at=0.0, opacity=None, inside=None, width=None):
        """Add a layer, lit by `shine` per unit of height above y = `at`, and return its coverage."""
        cover = self.canvas[len(self.paints) + 1]
        torch.mul(distance.expand_as(cover), -self.sharp, out=cover).add_(0.5).clamp_(0, 1)
        if width is not None:  # a line thinner than a pixel never covers one
            torch.minimum(cover, self.sharp * width, out=cover)
        for factor in (opacity, inside):
            cover = cover if factor is None else cover.mul_(factor)
        if isinstance(colour, str):
            colour = self.X.new_tensor(list(bytes.fromhex(colour))).view(1, 3, 1).expand(self.B, 3, 1) / 255
        self.paints.append(torch.cat([colour * (1 + shine * at), colour * shine], 1))
        return cover

    def part(self, distance, colour, shine=0.3, at=0.0, over=0.0):  # with an outline, softer where `over` covers
        self.paint(distance - 0.035, colour * 0.42, opacity=1 - 0.6 * over)
        return self.paint(distance, colour, shine, at)

    def eyes(self, u, v, eye, x, y, rx, ry, rim, iris, awake=1.0):
        look = u - 0.05 * self.mirror * self.f["gaze"]
        self.paint(eye - 0.022, rim)
        self.paint(eye, iris, 0.3, y, opacity=awake)
        self.paint(_ellipse(look.abs(), v, x, y, rx, ry), "1d1a26", opacity=awake)
        self.paint(_pill((look + 0.027).abs_(), v, x, y - 0.043, 0.0, 0.0, 0.028), "ffffff", opacity=awake)

    def picture(self):  # front to back, each layer weighs its coverage times the light that those before it let pass
        B, S, layers, clear = self.B, self.size, len(self.paints), self.canvas[0].fill_(1)
        for k in range(layers, 0, -1):
            clear.sub_(self.canvas[k].mul_(clear))
        weights = self.canvas[1 : layers + 1].view(layers, B, S * S).transpose(0, 1)
        flat, slope = torch.bmm(torch.cat(self.paints, 2), weights).view(B, 2, 3, S, S).unbind(1)
        height = 0.6 * self.mirror * self.f["light"] * self.x - self.y
        return flat.addcmul_(slope, height[:, None]).mul_(2).sub_(1).clamp_(-1, 1)


def _cat(e, face):
    hx, hy, bx, by, rx, ry, tx, ty, hind, *legs = e.pick("pose", *_POSES)
    mirror, sitting, pale = e.pick("facing", 1.0, -1.0), e.has("pose", "sitting"), e.has("fur", "black")
    e.look(hx, hy - 0.1, 1.55, mirror) if face else e.look(mirror=mirror)
    x, y, tuxedo, asleep = e.x, e.y, e.has("pattern", "tuxedo"), e.has("expression", "asleep")
    unstriped, (coat, mark, bib) = 9 - 9 * e.has("pattern", "tabby"), e.colours("fur", _FUR, 0.1)
    tips, dark = torch.lerp(coat, mark, e.has("pattern", "points")), coat * 0.42
    paws, mark, muzzle = (torch.lerp(colour, bib, tuxedo) for colour in (tips, mark, 0.5 + 0.5 * coat))
    e.paint(_ellipse(x, y, bx, 0.86, rx + 0.2, 0.08), "1c1d26", opacity=0.3)
    e.part(_pill(x, y, tx + 0.11 * e.f["tail"] * ((y - ty) * 5).sin(), ty, 0.0, 0.32, 0.075), tips, 0.3, ty)
    e.part(_pill((x - hind).abs(), y, *legs[:4], 0.08), paws, 0.3, 0.7)
    trunk = e.part(_ellipse(x, y, bx, by, rx, ry), coat, 0.5, by)
    stripes = _ripple((1 - sitting) * x + 0.3 * x**2 + (0.2 + 0.8 * sitting) * y, 0.19) - 0.035 + unstriped
    bib_or_patch = e.pick("pattern", 9.0, 9.0, 0.0, 9.0, 0.2), by - 0.1 * (1 - tuxedo), 0.2, 0.2 + 0.16 * tuxedo
    e.paint(torch.minimum(stripes, _ellipse(x - torch.lerp(bx, hx, tuxedo), y, *bib_or_patch)), mark, inside=trunk)
    e.part(_pill((x - hx).abs(), y, *legs[4:], 0.085), paws, 0.3, 0.7, over=trunk)
    e.paint(_ellipse(x, y, hx, hy + 0.14, 0.36, 0.34), dark, opacity=0.35, inside=trunk)  # the head's shadow
    u, v, U = e.turned(hx, hy, e.f["tilt"])
    axis, lean, spread, tip = e.pick("ears", *_EARS)
    ear = torch.maximum((U - axis - lean * (v + 0.3)).abs_() - spread * (v - tip), v + 0.08) * 0.9
    ear = torch.lerp(ear, _ellipse(U, v, 0.27, -0.25, 0.13, 0.26), e.has("ears", "round"))
    e.part(ear, tips, 0.3, hy - 0.4)
    e.paint(ear + 0.06, "f2a3a0", 0.3, hy - 0.4, opacity=0.85)
    head = e.part(_ellipse(u, v, 0.0, 0.0, 0.43, 0.36), coat, 0.5, hy)
    brow, cheek = torch.maximum(_ripple(u, 0.13) - 0.028, v + 0.17), _ripple(v - 0.06, 0.13) - 0.025
    stripes = torch.minimum(brow, torch.maximum(cheek, 0.31 - U)) + unstriped
    e.paint(torch.minimum(stripes, _ellipse(u, v, *e.pick("pattern", *_BLAZES))), mark, inside=head)
    e.paint(_ellipse(U, v, 0.08, 0.17, 0.12, 0.095), muzzle, 0.3, hy + 0.2, inside=head)
    lid, rim = e.pick("expression", 0.115, 0.1, 0.02), torch.lerp(coat * 0 + 0.15, bib, 0.7 * asleep * pale)
    eye = _ellipse(U, v - asleep * (0.05 - 6 * (U - 0.19) ** 2), 0.19, -0.02, 0.105, lid) + 0.012 * asleep
    e.eyes(u, v, eye, 0.19, -0.02, 0.048, lid * 0.85, rim, *e.colours("eyes", _IRIS), 1 - asleep)
    e.paint(_ellipse(u, v, 0.0, 0.24, 0.065, 0.08), "a8384c", -1.5, hy + 0.22, opacity=e.has("expression", "meow"))
    e.paint(torch.maximum(_pill(U, v, 0.06, 0.14, 0.0, 0.0, 0.06).abs_() - 0.012, 0.15 - v), "4a2f38", width=0.024)
    e.paint(_ellipse(u, v, 0.0, 0.1, 0.05, 0.035), "ec7f88", 0.3, hy)
    whiskers = torch.maximum(((v - 0.16).abs_() - 0.16 * U + 0.01).abs_() - 0.009, (U - 0.37).abs_() - 0.18)
    e.paint(whiskers, torch.lerp(dark, bib, pale), opacity=0.8, width=0.018)


def _frog(e, face):
    e.look(y=0.1)
    x, y, X, gape, (skin, belly, mark) = e.x, e.y, e.x.abs(), e.has("mouth", "open"), e.colours("skin", _SKIN, 0.1)
    rx, ry, cut = e.pick("perch", (0.88, 0.19, 1.0), (0.66, 0.24, 1.0), (0.94, 0.18, 0.8))  # a log is sawn off
    e.part(torch.maximum(_ellipse(x, y, 0.0, 0.81, rx, ry), X - cut), *e.colours("perch", _PERCH), 0.4, 0.8)
    e.part(torch.minimum(_ellipse(X, y, 0.44, 0.52, 0.25, 0.22), _pill(X, y, 0.52, 0.74, 0.14, 0, 0.06)), skin)
    trunk = e.part(_ellipse(x, y, 0.0, 0.32, 0.46, 0.44), skin, 0.4, 0.3)
    e.paint(_ellipse(x, y, 0.0, 0.46, 0.32, 0.34), belly, 0.2, 0.4, inside=trunk)
    arm, hand = _pill(X, y, 0.24, 0.6, 0.0, 0.13, 0.075), _pill(X, y, 0.26, 0.77, 0.07, 0.0, 0.05)
    e.part(torch.minimum(arm, hand), skin, 0.3, 0.6, over=trunk)
    (u, v, U), throat = e.turned(0.0, -0.12, e.f["tilt"]), e.f["throat"]
    bulges = _pill(U, v, 0.33, -0.3, 0.0, 0.0, 0.21)
    head = e.part(torch.minimum(_ellipse(u, v, 0.0, 0.0, 0.58, 0.34), bulges), skin, 0.45, -0.15)
    spot, stripe = e.pick("markings", (-9.0, -9.0), (0.06, -9.0), (-9.0, 0.045))  # half widths
    spots = (_ripple(U - 0.11, 0.24) ** 2 + _ripple(v + 0.02, 0.22) ** 2).sqrt_() - spot
    e.paint(torch.minimum(spots, (U - 0.12 - 0.1 * v).abs_() - stripe), mark, inside=head)
    e.paint(_ellipse(u, v, 0.0, 0.27, 0.44, 0.16), belly, 0.2, 0.1, inside=head)
    e.part(_ellipse(u, v, 0.0, 0.29, 0.1 + 0.2 * throat, 0.02 + 0.16 * throat), belly, 0.6, 0.2, over=head)
    height, curve = e.pick("mouth", (0.19, 0.35), (0.14, -0.25), (0.19, 0.35))
    e.paint(torch.maximum((v - height + u**2 * curve).abs_() - 0.02, U - 0.42), "4a2230", width=0.04)
    e.paint(_ellipse(u, v, 0.0, 0.19, 0.3, 0.11), "a8384c", -2.0, 0.05, opacity=gape)
    e.paint(_ellipse(U, v, 0.43, 0.06, 0.09, 0.06), "ff8f8f", opacity=0.45)
    e.eyes(u, v, bulges + 0.08, 0.33, -0.31, 0.085, 0.06, skin * 0.42, *e.colours("eyes", _FROG_IRIS))


def _automobile(e, face):
    e.paint(0.52 - e.Y, "6b6f7d", 0.2, 0.75)
    e.paint(torch.maximum((e.Y - 0.88).abs() - 0.025, _ripple(e.X - e.f["x"], 0.5) - 0.16), "f2eee0")
    e.look(mirror=e.pick("facing", 1.0, -1.0))
    (x, y, X), (paint, trim) = e.turned(0.0, 0.1, e.mirror * e.f["slope"]), e.colours("paint", _PAINT, 0.1)
    centre, lean, spread, half, roof, belt, length, axle = e.pick("body", *_BODIES)
    e.paint(_ellipse(x, y, 0.0, 0.5, 0.92, 0.07), "1c1d26", opacity=0.45)
    middle, half = (x - centre - lean * (belt - y)), (half - spread * (belt - y)).clamp_(max=0.85)
    cabin = _pill(middle, y, 0.0, 0.5 * roof, half - 0.12, -0.5 * roof - 0.12, 0.12)
    chassis = _pill(x, y, 0.0, belt * 0.5 + 0.16, length - 0.1, 0.08 - belt * 0.5, 0.1)
    metal = e.part(torch.minimum(cabin, chassis), paint, 0.45, 0.05)
    height, band = e.pick("livery", (0.0, -9.0), (0.3, 0.14), (0.1, 0.04))
    e.paint((y - height).abs_() - band, trim, 0.3, inside=metal)
    glass = torch.maximum(torch.maximum(cabin + 0.07, y - belt + 0.01), 0.025 - middle.abs())
    window = e.paint(glass, e.X.new_tensor([[0.76], [0.88], [0.94]]) * (1 - 0.55 * e.f["tint"]), 0.5, -0.2)
    e.paint((middle + 0.4 * half + 0.5 * y).abs_() - 0.04, "ffffff", opacity=0.5, inside=window)
    e.paint(_ellipse(x, y, 0.04 - length, 0.12, 0.055, 0.075), "fff3b0")
    wheel, (rim, hub) = _pill(X, y, axle, 0.36, 0, 0, 0.18), e.pick("wheels", (0.1, 0.15), (0.05, 0.1), (0.07, 0.13))
    e.paint(wheel, "23242c")
    e.paint(wheel + rim, *e.colours("wheels", _RIM), 0.3, 0.36)
    e.paint(wheel + hub, "4a4c58")
