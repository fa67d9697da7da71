"""Networks, one file each; those of diffusion are called as model(x_t, t, y=None) and say what they predict."""

from typing import Any

from torch import nn


def build(config: dict[str, Any]) -> nn.Module:
    """Build the network that a checkpoint describes: {"kind": "UNet", ...the fields of its configuration}.

    Raises ValueError for an unknown kind or field.
    """
    from course_utils.models import convnet, dcgan, few_step, latent, mlp, preconditioned, stylegan2, unet, vae

    kinds = {
        "UNet": (unet.UNet, unet.UNetConfig),
        "ConvNet": (convnet.ConvNet, convnet.ConvNetConfig),
        "MLP": (mlp.MLP, mlp.MLPConfig),
        "LatentDiffusion": (latent.LatentDiffusion, latent.LatentConfig),
        "Preconditioned": (preconditioned.Preconditioned, preconditioned.PreconditionedConfig),
        "FewStep": (few_step.FewStep, few_step.FewStepConfig),
        "VAE": (vae.VAE, vae.VAEConfig),
        "Generator": (dcgan.Generator, dcgan.DCGANConfig),
        "StyleGenerator": (stylegan2.StyleGenerator, stylegan2.StyleGAN2Config),
    }
    fields = dict(config)
    kind = fields.pop("kind")
    if kind not in kinds:
        raise ValueError(f"unknown kind of network {kind!r}: this version of the course has {', '.join(kinds)}")
    network, settings = kinds[kind]
    try:
        return network(settings(**fields))
    except TypeError as error:
        raise ValueError(f"this configuration does not fit {kind}: {error}") from None
