"""Named, complete training configurations on pictures: `python -m course_utils.train NAME`."""

from course_utils.recipes import diffusion, gan, latent, vae
from course_utils.recipes.base import BaseRecipe
from course_utils.recipes.diffusion import Batch, Batches, Recipe
from course_utils.recipes.gan import GANRecipe
from course_utils.recipes.latent import LatentRecipe
from course_utils.recipes.vae import VAERecipe

RECIPES: dict[str, BaseRecipe] = {**diffusion.RECIPES, **gan.RECIPES, **vae.RECIPES, **latent.RECIPES}

__all__ = ["RECIPES", "BaseRecipe", "Batch", "Batches", "GANRecipe", "LatentRecipe", "Recipe", "VAERecipe", "get"]


def get(name: str) -> BaseRecipe:
    """Return a recipe by its name; raises ValueError naming the known ones."""
    if name not in RECIPES:
        raise ValueError(f"unknown recipe {name!r}: choose one of {', '.join(RECIPES)}")
    return RECIPES[name]
