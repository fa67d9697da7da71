"""Interactive figures for the notebooks: thin shells over pure functions, each answering within a tenth of a second."""

from course_utils.widgets.adversaries import score_explorer, walk_explorer
from course_utils.widgets.classes import class_explorer, morph_explorer
from course_utils.widgets.distortions import distortion_explorer
from course_utils.widgets.draw import DrawYourOwn
from course_utils.widgets.explorers import schedule_explorer, trajectory_explorer
from course_utils.widgets.face_box import face_box
from course_utils.widgets.fast import fast_explorer
from course_utils.widgets.fusion import fusion_explorer
from course_utils.widgets.images import image_schedule_explorer, image_trajectory_explorer, sampler_explorer
from course_utils.widgets.latents import interpolation_explorer, latent_explorer
from course_utils.widgets.league import pareto_explorer
from course_utils.widgets.scores import bias_explorer
from course_utils.widgets.sketch import Sketch
from course_utils.widgets.stored import stored_explorer
from course_utils.widgets.styles import mixing_explorer, projection_explorer, truncation_explorer

__all__ = [
    "DrawYourOwn",
    "Sketch",
    "bias_explorer",
    "class_explorer",
    "distortion_explorer",
    "face_box",
    "fast_explorer",
    "fusion_explorer",
    "image_schedule_explorer",
    "image_trajectory_explorer",
    "interpolation_explorer",
    "latent_explorer",
    "mixing_explorer",
    "morph_explorer",
    "pareto_explorer",
    "projection_explorer",
    "sampler_explorer",
    "schedule_explorer",
    "score_explorer",
    "stored_explorer",
    "trajectory_explorer",
    "truncation_explorer",
    "walk_explorer",
]
