"""What a caller gets: any kind of source, answers that show and tabulate themselves, an estimator of scikit-learn."""

from __future__ import annotations

import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks

import leukoscope
from bundle_factory import disc, make_bundle
from leukoscope.errors import BundleError, LeukoscopeError, PictureError
from leukoscope.inference.classifier import Classifier, load
from leukoscope.inference.estimator import BundleEstimator
from leukoscope.inference.frames import COLUMNS

COLOURS = [(200, 30, 90), (10, 250, 10), (90, 20, 160), (60, 200, 60)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("interface") / "bundle")


@pytest.fixture(scope="module")
def classifier(folder: Path) -> Classifier:
    return load(folder, threads=1)


def test_several_sources_in_any_form(classifier: Classifier) -> None:
    cells = [disc(colour) for colour in COLOURS]
    one_by_one = [classifier.predict(cell).logit for cell in cells]
    for many in (cells, tuple(cells), iter(cells), (cell for cell in cells), map(np.asarray, cells), np.stack(cells)):
        assert [answer.logit for answer in classifier.predict(many)] == one_by_one


def test_an_answer_shows_itself(classifier: Classifier) -> None:
    answer = classifier.predict(disc(COLOURS[0]))
    assert repr(answer) == f"<Answer -: {answer.decision}, probability {answer.probability:.3f}>"
    page = answer._repr_html_()
    assert page.count("<img ") == 2
    assert f"<b>{answer.decision}</b>" in page
    assert "never a diagnosis" in page
    picture = answer.overlay(legend=True)
    assert (picture.dtype, picture.shape) == (np.uint8, (64 + 8, 64, 3))
    assert answer.to_dict() == answer.to_json()
    lost = classifier.predict([b"<script>"])[0]
    assert len(repr(lost)) < 200
    assert "<img" not in lost._repr_html_()
    assert "<script>" not in lost._repr_html_()
    with pytest.raises(ValueError, match="has no heat map"):
        lost.overlay()


@pytest.mark.parametrize("library", ["pandas", "polars", None])
def test_answers_as_a_table(classifier: Classifier, tmp_path: Path, library: str | None) -> None:
    pytest.importorskip(library or "pandas")
    answers = [*classifier.predict([disc(colour) for colour in COLOURS]), *classifier.predict([tmp_path / "no.png"])]
    table = leukoscope.to_frame(answers, library=library)
    assert tuple(table.columns) == COLUMNS
    assert list(table["decision"]) == [answer.decision for answer in answers]
    assert list(table["probability"])[:4] == [answer.probability for answer in answers[:4]]
    with pytest.raises(LeukoscopeError, match="no_such is not installed"):
        leukoscope.to_frame(answers, library="no_such")


def logit_of(work: tuple[Classifier, tuple[int, int, int]]) -> float | None:
    return work[0].predict(disc(work[1])).logit


def test_a_classifier_goes_to_other_processes_while_its_bundle_stays(classifier: Classifier, tmp_path: Path) -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        found = list(pool.map(logit_of, [(classifier, colour) for colour in COLOURS]))
    assert found == [answer.logit for answer in classifier.predict([disc(colour) for colour in COLOURS])]
    other = load(make_bundle(tmp_path / "bundle"), threads=1)
    packed = pickle.dumps(other)
    make_bundle(tmp_path / "bundle", name="another")
    with pytest.raises(BundleError, match="is no longer the bundle that was loaded"):
        pickle.loads(packed)


def test_the_estimator_says_what_the_classifier_says(classifier: Classifier, folder: Path) -> None:
    cells = np.stack([disc(colour) for colour in COLOURS])
    answers = classifier.predict(cells)
    estimator = BundleEstimator(folder, threads=1).fit()
    assert list(estimator.classes_) == [0, 1]
    proba = estimator.predict_proba(cells)
    np.testing.assert_allclose(proba[:, 1], [answer.probability for answer in answers])
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    np.testing.assert_allclose(estimator.decision_function(cells), [answer.logit for answer in answers])
    assert list(estimator.predict(cells)) == [int((answer.probability or 0) >= 0.5) for answer in answers]
    np.testing.assert_array_equal(estimator.transform(cells), [answer.embedding for answer in answers])
    with pytest.raises(PictureError, match="picture 1 of X"):
        estimator.predict_proba([disc(COLOURS[0]), b"no picture"])


def test_the_estimator_stands_in_a_pipeline(folder: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(24) % 2
    cells = np.stack([disc((int(90 + 90 * label + rng.integers(0, 20)), 60, 120)) for label in labels])
    chain = make_pipeline(BundleEstimator(folder, threads=1), LogisticRegression(C=100))
    assert (cross_val_predict(chain, cells, labels, cv=3) == labels).all()
    again = pickle.loads(pickle.dumps(chain.fit(cells, labels)))
    assert (again.predict(cells) == labels).all()
    copied = clone(chain[0])
    assert copied.get_params() == {"bundle": folder, "threads": 1}
    with pytest.raises(NotFittedError):
        copied.predict_proba(cells)


@pytest.mark.parametrize(
    "check",
    [
        "check_estimator_cloneable", "check_estimator_repr", "check_no_attributes_set_in_init",
        "check_parameters_default_constructible", "check_get_params_invariance", "check_set_params",
        "check_estimator_tags_renamed", "check_valid_tag_types", "check_mixin_order",
    ],
)  # fmt: skip
def test_the_checks_of_scikit_learn_that_apply(check: str) -> None:
    """Those that fit tables of random numbers do not: X is pictures, and nothing is learned."""
    getattr(estimator_checks, check)("BundleEstimator", BundleEstimator(threads=1))
