"""The networks: a registry, and one module per network."""

from leukoscope.models import backbones, compact, crse, ensemble, eye, pair, plain  # noqa: F401  (importing a module registers its networks)
from leukoscope.models.registry import (
    CellClassifier,
    HubWeights,
    ModelSpec,
    closed_form_cam,
    count_parameters,
    create_model,
    model_names,
    model_spec,
)

__all__ = [
    "CellClassifier",
    "HubWeights",
    "ModelSpec",
    "closed_form_cam",
    "count_parameters",
    "create_model",
    "model_names",
    "model_spec",
]
