"""A bundle as an estimator of scikit-learn: probabilities of cells, and their embeddings for what one fits on top."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from leukoscope.errors import PictureError, missing_extra
from leukoscope.inference.answer import Answer
from leukoscope.inference.cells import Source

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
    from sklearn.utils.validation import check_is_fitted
except ImportError as error:
    raise missing_extra("the estimator of scikit-learn", "train") from error

if TYPE_CHECKING:
    from leukoscope.inference.classifier import Classifier


class BundleEstimator(ClassifierMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]  # sklearn has no types
    """A trained bundle behind scikit-learn's methods. Nothing is learned by `fit`: it loads the bundle.

    X is anything that `Classifier.predict` takes several of: uint8 [N, H, W, 3], a list of arrays, paths or pictures,
    each showing one white cell. Blasts rank first: the order of `decision_function` is that of the logit.

    Args:
        bundle: folder of the bundle; None: the one that comes with the package.
        threads: to use; None: one for each core.

    Attributes:
        classes_: int64 [2], 0 normal and 1 blast.
        n_features_out_: numbers of an embedding, known once something was transformed.
    """

    def __init__(self, bundle: str | os.PathLike[str] | None = None, threads: int | None = None) -> None:
        self.bundle = bundle
        self.threads = threads

    def fit(self, X: Any = None, y: Any = None) -> Self:
        """Load the bundle; the arguments are taken and not looked at."""
        from leukoscope.inference.classifier import load  # noqa: PLC0415

        self.classifier_: Classifier = load(None if self.bundle is None else Path(self.bundle), threads=self.threads)
        self.classes_ = np.array([0, 1])
        return self

    def decision_function(self, X: Iterable[Source]) -> NDArray[np.float64]:
        """Logits, float64 [N]; above 0 towards blast, before the bundle's temperature.

        Raises:
            PictureError: one of the pictures gives no answer.
        """
        return np.array([answer.logit for answer in self._answers(X)], np.float64)

    def predict_proba(self, X: Iterable[Source]) -> NDArray[np.float64]:
        """Probabilities of normal and of blast, float64 [N, 2].

        Raises:
            PictureError: one of the pictures gives no answer.
        """
        blast = np.array([answer.probability for answer in self._answers(X)], np.float64)
        return np.column_stack([1 - blast, blast])

    def predict(self, X: Iterable[Source]) -> NDArray[np.int64]:
        """1 where the bundle's threshold is reached, else 0: int64 [N]. It never refers: look at `Classifier` for that.

        Raises:
            PictureError: one of the pictures gives no answer.
        """
        blast = self.predict_proba(X)[:, 1]
        return (blast >= self.classifier_.bundle.facts.decision.threshold).astype(np.int64)

    def transform(self, X: Iterable[Source]) -> NDArray[np.float32]:
        """Embeddings, float32 [N, E].

        Raises:
            PictureError: one of the pictures gives no answer.
        """
        found = np.array([answer.embedding for answer in self._answers(X)], np.float32)
        self.n_features_out_ = found.shape[1]
        return found

    def fit_transform(self, X: Iterable[Source], y: Any = None) -> NDArray[np.float32]:
        """`fit`, then `transform`."""
        return self.fit(X, y).transform(X)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "classifier_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.two_d_array = False
        tags.no_validation = True
        tags.requires_fit = True
        return tags

    def _answers(self, X: Iterable[Source]) -> list[Answer]:
        check_is_fitted(self)
        answers = self.classifier_.predict(iter(X))
        for number, answer in enumerate(answers):
            if not answer.asked:
                why = answer.error or answer.reason or "gives no answer"
                raise PictureError(f"picture {number} of X {why}", path=answer.path, remedy="leave it out")
        return answers
