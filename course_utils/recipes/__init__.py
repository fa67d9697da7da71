"""Named, complete training configurations on pictures: `python -m course_utils.train NAME`."""

from course_utils.recipes import diffusion, few_step, gan, latent, stylegan2, vae
from course_utils.recipes.base import BaseRecipe
from course_utils.recipes.diffusion import Batch, Batches, Recipe
from course_utils.recipes.few_step import FewStepRecipe
from course_utils.recipes.gan import AdversarialRecipe, GANRecipe
from course_utils.recipes.latent import LatentRecipe
from course_utils.recipes.stylegan2 import StyleGANRecipe
from course_utils.recipes.vae import VAERecipe

RECIPES: dict[str, BaseRecipe] = {
    **diffusion.RECIPES,
    **gan.RECIPES,
    **stylegan2.RECIPES,
    **vae.RECIPES,
    **latent.RECIPES,
    **few_step.RECIPES,
}

__all__ = [
    "RECIPES",
    "AdversarialRecipe",
    "BaseRecipe",
    "Batch",
    "Batches",
    "FewStepRecipe",
    "GANRecipe",
    "LatentRecipe",
    "Recipe",
    "StyleGANRecipe",
    "VAERecipe",
    "get",
]


def get(name: str) -> BaseRecipe:
    """Return a recipe by its name; raises ValueError naming the known ones."""
    if name not in RECIPES:
        raise ValueError(f"unknown recipe {name!r}: choose one of {', '.join(RECIPES)}")
    return RECIPES[name]
