"""From what a network starts, and whether it takes pictures of a size: looked at before hours of training."""

from __future__ import annotations

import torch

from leukoscope.errors import ModelError
from leukoscope.models.registry import CellClassifier, model_spec
from leukoscope.models.weights import LoadedWeights, fetch_weights, load_weights


def start_weights(model: CellClassifier, name: str, weights: str = "auto", sha256: str | None = None) -> LoadedWeights:
    """Give a network the weights that it starts from.

    Args:
        model: is changed in place.
        name: in the registry.
        weights: ``none`` leaves the random start; ``hub`` fetches the published weights; ``auto`` does that for
            networks that have some and nothing for ours; anything else is a file.
        sha256: what the file must have.

    Raises:
        ModelError: the weights cannot be had or do not fit.
        MissingExtraError: the hub's client is not installed.
    """
    published = model_spec(name).weights
    if weights == "auto":
        weights = "hub" if published else "none"
    if weights == "none":
        if sha256 is not None:
            raise ModelError("a hash was given, but no weights", remedy="give the file, too: --weights FILE")
        return LoadedWeights("none")
    if weights != "hub":
        return load_weights(model, weights, sha256)
    if published is None:
        raise ModelError(f"{name} has no published weights", remedy="use --weights none, or a file")
    loaded = load_weights(model, fetch_weights(published), sha256)
    return LoadedWeights(
        f"hub:{published.hub}", loaded.sha256, published.licence, loaded.tensors, loaded.left_out, loaded.fresh
    )


def check_size(model: CellClassifier, name: str, size: int) -> None:
    """Let a network look at one black picture.

    Raises:
        ModelError: it takes no pictures of ``size`` pixels.
    """
    was_training = model.training
    device = next(model.parameters()).device
    try:
        with torch.inference_mode():
            model.eval()(torch.zeros(1, 3, size, size, device=device))
    except (RuntimeError, AssertionError, ValueError) as error:
        spec = model_spec(name)
        # What timm asserts is the size that a network was built for; too small a picture is a RuntimeError.
        fixed = isinstance(error, AssertionError)
        rebuild = f", or build it for this size: --set model.arguments.image_size={size}" if fixed else ""
        raise ModelError(
            f"{name} takes no pictures of {size} px ({error})",
            remedy=f"use --set input.size={spec.input_size}{rebuild}",
        ) from error
    finally:
        model.train(was_training)
