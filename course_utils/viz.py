"""Figures from arrays: colours and sizes for the back row, alt text always, and no mathematics inside."""

import base64
import io
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from PIL import Image as Pillow
from torch import Tensor
from torchvision.utils import make_grid

# Okabe & Ito's colour-blind-safe palette
INK, GREY = "#1b1b1b", "#9a9a9a"
BLUE, ORANGE, GREEN, PURPLE, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY)
VIEW = 2.6  # half width of the window on a standardised 2-D set
_STYLE = {
    "font.size": 13,
    "axes.titlesize": 14,
    "axes.labelsize": 13,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": mpl.cycler(color=COLOURS),
    "lines.linewidth": 2.2,
    "legend.frameon": False,
}


def array(x: Tensor | np.ndarray) -> np.ndarray:
    """Return a tensor's values as a NumPy array on the CPU."""
    return x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)


def axes(
    rows: int = 1, columns: int = 1, size: tuple[float, float] = (3.0, 3.0), **options
) -> tuple[Figure, np.ndarray]:
    """Return a styled figure and its axes, shape (rows, columns); `size` is that of one panel in inches.

    The figure stands outside pyplot, so that nothing piles up in a long session.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(columns * size[0], rows * size[1]), layout="constrained")
        return figure, figure.subplots(rows, columns, squeeze=False, **options)


def png(figure: Figure, dpi: int = 100) -> bytes:
    """Render a figure to PNG bytes."""
    buffer = io.BytesIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(buffer, format="png", dpi=dpi, facecolor="white")
    return buffer.getvalue()


def show(figure: Figure, alt: str, name: str = "", dpi: int = 100, photo: bool = False) -> None:
    """Display a figure with its alt text: one or two sentences saying what is to be seen.

    name: file name without ending under which `make notebooks` keeps it in report_imgs/. photo: keep 256 colours;
    otherwise 64 do, plenty for dots and lines. The file is a third as large as with all.
    Raises ValueError for a missing alt text.
    """
    picture = _rendered(figure, dpi).quantize(256 if photo else 64, dither=Pillow.Dither.NONE)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    _display(buffer.getvalue(), alt, name)


def _display(data: bytes, alt: str, name: str) -> None:
    if not alt.strip():
        raise ValueError("a figure needs an alt text for readers who cannot see it")
    # authoring.run puts alt into its pages; JupyterLab 4.6 shows no alt on outputs; text-only readers get text/plain
    about = {"alt": alt, "name": name} if name else {"alt": alt}
    display({"image/png": base64.b64encode(data).decode(), "text/plain": alt}, metadata={"image/png": about}, raw=True)


def window(ax: Axes, half: float = VIEW) -> Axes:
    """Frame a 2-D set: equal scale, no ticks, a thin border."""
    ax.set(xlim=(-half, half), ylim=(-half, half), xticks=[], yticks=[], aspect="equal")
    for spine in ax.spines.values():
        spine.set(visible=True, color="#cccccc", linewidth=0.8)
    return ax


def plain_log(axis: Axis, unit: float = 1) -> None:
    """Label a logarithmic axis with few, plain numbers: its values times `unit`."""
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=range(1, 10) if high / low < 6 else (1, 2, 5) if high / low < 600 else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * unit:,.6g}"))
    axis.set_minor_locator(NullLocator())


def cloud(ax: Axes, points: Tensor, title: str = "", colour: str = BLUE, size: float = 5, half: float = VIEW) -> Axes:
    """Draw points (N, 2) into a framed panel."""
    xy = array(points)
    ax.scatter(xy[:, 0], xy[:, 1], s=size, color=colour, linewidths=0, alpha=0.8)
    ax.set_title(title)
    return window(ax, half)


def image(ax: Axes, pixels: Tensor, title: str = "") -> Axes:
    """Draw one image (3, H, W) in [-1, 1], every pixel a square; values outside are clipped."""
    ax.imshow(((array(pixels).transpose(1, 2, 0) + 1) / 2).clip(0, 1), interpolation="nearest")
    ax.set(title=title, xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    return ax


def rows(
    title: str,
    pictures: Sequence[Tensor],
    labels: Sequence[str],
    alt: str,
    name: str = "",
    *,
    columns: Sequence[str] = (),
    across: int = 10,
) -> None:
    """Show a panel for each of `pictures`, batches (N, 3, S, S) in [-1, 1], `across` pictures side by side.

    labels: one per panel, on its left. columns: one per column, above the first panel. alt and name as for `show`.
    """
    lines = [-(-len(some) // across) for some in pictures]
    height = (sum(lines) * 10 / across + 0.35) / len(lines) + 0.08
    figure, panels = axes(len(pictures), 1, (12, height), height_ratios=lines)
    figure.suptitle(title, fontsize=13)
    for ax, some, label in zip(panels[:, 0], pictures, labels, strict=True):
        image(ax, make_grid(some, nrow=across, padding=1, pad_value=1.0)).set_anchor("W")
        ax.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=12)
    if columns:
        cell = pictures[0].shape[-1] + 1
        panels[0, 0].xaxis.tick_top()
        panels[0, 0].set_xticks([cell * (k + 0.5) for k in range(len(columns))], columns)
        panels[0, 0].tick_params(length=0)
    show(figure, alt, name, dpi=80, photo=True)


def strip(clouds: Sequence[Tensor], titles: Sequence[str], colour: str = BLUE, panel: float = 2.3) -> Figure:
    """Draw several point clouds, each (N, 2), side by side."""
    figure, panels = axes(1, len(clouds), (panel, panel + 0.4))
    for ax, points, title in zip(panels[0], clouds, titles, strict=True):
        cloud(ax, points, title, colour, size=4)
    return figure


def grid(
    clouds: Tensor, rows: Sequence[str], columns: Sequence[str], notes: Sequence[Sequence[str]], label: str
) -> Figure:
    """Draw an ablation: clouds (R, C, N, 2), a name per row and column, a note (the score) in each cell."""
    figure, panels = axes(len(rows), len(columns), (2.1, 2.35))
    for r, row in enumerate(rows):
        for c, column in enumerate(columns):
            ax = cloud(panels[r, c], clouds[r, c], column if r == 0 else "", size=3)
            ax.set_xlabel(notes[r][c], labelpad=2)
        panels[r, 0].set_ylabel(row)
    figure.supylabel(label, fontsize=14)
    return figure


def animation(
    clouds: Sequence[Tensor], titles: Sequence[str], alt: str, name: str = "", seconds: float = 6.0, hold: float = 2.0
) -> None:
    """Display point clouds (N, 2) as a film that plays without a kernel; the last frame stays for `hold` seconds.

    It is an animated PNG: unlike a GIF, nbconvert's pages show it too.
    """
    figure, panels = axes(1, 1, (5.0, 5.3))
    ax = window(panels[0, 0])
    dots = ax.scatter([], [], s=7, color=BLUE, linewidths=0, alpha=0.8)
    frames = []
    for points, title in zip(clouds, titles, strict=True):
        dots.set_offsets(array(points))
        ax.set_title(title)
        frames.append(_rendered(figure))
    _play(frames, 8, alt, name, seconds, hold)


def film(
    panels: Sequence[Tensor],
    labels: Sequence[str],
    titles: Sequence[str],
    alt: str,
    name: str = "",
    seconds: float = 8.0,
    hold: float = 2.0,
    width: float = 10.0,
) -> None:
    """Display pictures that change as a film that plays without a kernel; see also `animation`.

    panels: each (T, N, 3, S, S) in [-1, 1], N pictures side by side over T frames. labels: one per panel, on its left.
    titles: one per frame. width: in inches.
    """
    across = panels[0].shape[1]
    figure, places = axes(len(panels), 1, (width, width / across + 0.2))
    heading, drawn = figure.suptitle(titles[0], fontsize=13), []
    for ax, label, some in zip(places[:, 0], labels, panels, strict=True):
        image(ax, make_grid(some[0], nrow=across, padding=1, pad_value=1.0)).set_anchor("W")
        ax.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=12)
        drawn.append(ax.images[0])
    frames = []
    for t, title in enumerate(titles):
        heading.set_text(title)
        for shown, some in zip(drawn, panels, strict=True):
            pixels = array(make_grid(some[t], nrow=across, padding=1, pad_value=1.0)).transpose(1, 2, 0)
            shown.set_data(((pixels + 1) / 2).clip(0, 1))
        frames.append(_rendered(figure))
    _play(frames, 128, alt, name, seconds, hold)


def _rendered(figure: Figure, dpi: int = 70) -> Pillow.Image:
    return Pillow.open(io.BytesIO(png(figure, dpi))).convert("RGB")


def _play(frames: list[Pillow.Image], colours: int, alt: str, name: str, seconds: float, hold: float) -> None:
    # a PNG has a single palette: one for the first, the middle and the last frame
    width, height = frames[0].size
    sheet = Pillow.new("RGB", (width, 3 * height))
    for k, frame in enumerate((frames[0], frames[len(frames) // 2], frames[-1])):
        sheet.paste(frame, (0, k * height))
    palette = sheet.quantize(colours, dither=Pillow.Dither.NONE)
    shades = np.array(palette.getpalette()).reshape(-1, 3)
    shades[shades.min(1) > 244] = 255  # the paper: Pillow looks colours up roughly, and takes a pale grey for white
    palette.putpalette(shades.flatten().tolist())
    frames = [frame.quantize(palette=palette, dither=Pillow.Dither.NONE) for frame in frames]
    each = int(1000 * seconds / len(frames))
    durations = [each] * (len(frames) - 1) + [each + int(1000 * hold)]
    buffer = io.BytesIO()
    frames[0].save(buffer, format="PNG", save_all=True, append_images=frames[1:], duration=durations, loop=0)
    _display(buffer.getvalue(), alt, name)


def arrows(ax: Axes, at: Tensor, vectors: Tensor, colour: str = INK) -> Axes:
    """Draw an arrow of unit length along each of `vectors` (N, 2) at `at` (N, 2)."""
    xy, uv = array(at), array(vectors)
    uv = uv / np.linalg.norm(uv, axis=1, keepdims=True).clip(1e-9)
    ax.quiver(*xy.T, *uv.T, color=colour, angles="xy", scale=24, width=0.0045, pivot="mid")
    return ax
