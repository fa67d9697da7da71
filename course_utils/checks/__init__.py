"""Homework checks that name the mistake: `checks.q_sample(q_sample)` judges the student's function.

A notebook's modules list their exercises in EXERCISES (notebook 01: toy_*, 02: derivation*, 03: cats*, 04:
conditional*, 05: autoencoder*, 06: adversarial*, 07: scores*, 08: fusion*, 09: fast*, 10: styles*); a new module is
added to the loop below.
"""

from course_utils.checks import (
    adversarial,
    adversarial_draw,
    adversarial_generator,
    adversarial_r1,
    adversarial_step,
    autoencoder,
    autoencoder_importance,
    autoencoder_kl,
    autoencoder_likelihood,
    autoencoder_loss,
    cats,
    cats_loss,
    cats_sampling,
    cats_velocity,
    conditional,
    conditional_batch,
    conditional_channels,
    conditional_guidance,
    conditional_projection,
    derivation_kl,
    derivation_posterior,
    derivation_x0,
    fast_flow,
    fast_grid,
    fast_halve,
    fast_heun,
    fast_precondition,
    fusion_inpaint,
    fusion_level,
    fusion_mix,
    fusion_slerp,
    scores,
    scores_frechet,
    scores_pool,
    scores_ratio,
    scores_root,
    styles_conv,
    styles_mix,
    styles_truncate,
    toy_forward,
    toy_ideal,
    toy_reverse,
)
from course_utils.checks.engine import Case, CheckFailed, Exercise, Mistake

__all__ = ["REGISTRY", "Case", "CheckFailed", "Exercise", "Mistake"]

REGISTRY: dict[str, Exercise] = {}
for _module in (
    *(toy_forward, toy_reverse, toy_ideal),
    *(derivation_kl, derivation_posterior, derivation_x0),
    *(cats, cats_loss, cats_velocity, cats_sampling),
    *(conditional, conditional_channels, conditional_guidance, conditional_batch, conditional_projection),
    *(autoencoder, autoencoder_kl, autoencoder_likelihood, autoencoder_loss, autoencoder_importance),
    *(adversarial, adversarial_generator, adversarial_step, adversarial_draw, adversarial_r1),
    *(scores, scores_pool, scores_frechet, scores_root, scores_ratio),
    *(fusion_mix, fusion_slerp, fusion_level, fusion_inpaint),
    *(fast_precondition, fast_grid, fast_heun, fast_flow, fast_halve),
    *(styles_mix, styles_truncate, styles_conv),
):
    for _exercise in _module.EXERCISES:
        if _exercise.name in REGISTRY:
            raise ImportError(f"two exercises are called {_exercise.name}: names are unique in the whole course")
        REGISTRY[_exercise.name] = _exercise


def __getattr__(name: str) -> Exercise:
    if name not in REGISTRY:
        raise AttributeError(f"no exercise is called {name!r}; there are {', '.join(REGISTRY)}")
    return REGISTRY[name]


def __dir__() -> list[str]:
    return sorted([*__all__, *REGISTRY])
