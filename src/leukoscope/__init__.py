"""Leukoscope finds leukemic blasts in pictures of white blood cells. Research use only, never a diagnosis.

>>> import leukoscope
>>> leukoscope.__all__
['Answer', 'Classifier', 'LeukoscopeError', 'Prediction', '__version__', 'load', 'to_frame']
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from leukoscope._version import __version__
from leukoscope.errors import LeukoscopeError

if TYPE_CHECKING:
    from leukoscope.inference.answer import Answer, Prediction
    from leukoscope.inference.classifier import Classifier, load
    from leukoscope.inference.frames import to_frame

__all__ = ["Answer", "Classifier", "LeukoscopeError", "Prediction", "__version__", "load", "to_frame"]

# ONNX Runtime and OpenCV take a good part of a second to import: only who uses them waits for them.
_HOMES = {
    "Answer": "leukoscope.inference.answer",
    "Classifier": "leukoscope.inference.classifier",
    "Prediction": "leukoscope.inference.answer",
    "load": "leukoscope.inference.classifier",
    "to_frame": "leukoscope.inference.frames",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
