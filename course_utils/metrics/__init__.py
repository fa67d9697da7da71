"""How far one sample is from another, each number to be read against its real-against-real floor.

`clouds`: points in the plane. `features`: networks that turn pictures into features, and statistics of these.
`cache`: features kept by the content of the pictures.
`distances`: between sets of features. `kinship`: of a picture from its parents. `estimates`: what they say about more
pictures. `distortions`: pictures spoilt by degrees. `files`: pictures resized and stored. `pairs`: between a picture
and its copy. `recognise`: what is to be seen. `protocol`: what the course reports about a set of pictures.
"""

from course_utils.metrics import (
    cache,
    clouds,
    distances,
    distortions,
    estimates,
    features,
    files,
    kinship,
    pairs,
    protocol,
    recognise,
)
from course_utils.metrics.clouds import distance_to, floor, sliced_wasserstein
from course_utils.metrics.distances import (
    copying,
    density_coverage,
    frechet_distance,
    kid,
    nearest,
    precision_recall,
    realism,
)
from course_utils.metrics.features import Statistics
from course_utils.metrics.kinship import parent_distances, parent_rank
from course_utils.metrics.pairs import psnr, ssim
from course_utils.metrics.protocol import real_floor, score

__all__ = [
    "Statistics",
    "cache",
    "clouds",
    "copying",
    "density_coverage",
    "distance_to",
    "distances",
    "distortions",
    "estimates",
    "features",
    "files",
    "floor",
    "frechet_distance",
    "kid",
    "kinship",
    "nearest",
    "pairs",
    "parent_distances",
    "parent_rank",
    "precision_recall",
    "protocol",
    "psnr",
    "real_floor",
    "realism",
    "recognise",
    "score",
    "sliced_wasserstein",
    "ssim",
]
