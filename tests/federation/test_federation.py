"""Counts that sites send: pooled they give what the joined cells give; what was altered or doubled is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from bundle_factory import make_bundle
from federation_sites import SITES, cells_of
from leukoscope.cli import main
from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.patients import unknown_patient
from leukoscope.datasets.record import Record
from leukoscope.errors import DataError
from leukoscope.federation.admission import check_trust
from leukoscope.federation.between import heterogeneity
from leukoscope.federation.pool import KEYS, pool_sites, table_of
from leukoscope.federation.report import write_pooled
from leukoscope.federation.summary import SiteSummary, read_summary, summarise_site
from leukoscope.inference.classifier import Classifier, load
from leukoscope.keys import SiteKey, checked_signature, new_key, read_key
from leukoscope.metrics.bootstrap import Estimate, Resampling
from leukoscope.metrics.panel import Panel, measure
from leukoscope.metrics.scores import Scores

pytest.importorskip("cryptography")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return load(make_bundle(tmp_path_factory.mktemp("federation") / "bundle"), threads=1)


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> list[Manifest]:
    home = tmp_path_factory.mktemp("sites")
    return [cells_of(home / site, site, seed=seed) for seed, site in enumerate(SITES)]


@pytest.fixture(scope="module")
def summaries(classifier: Classifier, homes: list[Manifest]) -> list[SiteSummary]:
    return [
        summarise_site(classifier, home, home.name).signed(SiteKey(bytes([number] * 32)))
        for number, home in enumerate(homes, 1)
    ]


def joined(classifier: Classifier, homes: list[Manifest]) -> Scores:
    """The table that a centre would have if it had the pictures."""
    rows = [
        (record, answer)
        for home in homes
        for record, answer in zip(home.records, classifier.predict_many(home.paths()), strict=True)
    ]
    return Scores(
        tuple(record.path for record, _ in rows), np.array([record.label for record, _ in rows]),
        np.array([answer.probability for _, answer in rows]), np.array([answer.logit for _, answer in rows]),
        np.array([record.subject for record, _ in rows]), np.array([record.group for record, _ in rows]),
    )  # fmt: skip


def test_pooled_figures_are_those_of_the_joined_cells(
    classifier: Classifier, homes: list[Manifest], summaries: list[SiteSummary]
) -> None:
    table = joined(classifier, homes)
    panel = Panel.of(table, classifier.bundle.facts.decision.threshold, KEYS)
    truth = measure(panel.figures, KEYS, Resampling.by_group(table.label, table.group))
    pooled = pool_sites(summaries)
    assert 0.6 < truth["auc"].value < 0.99
    for key in ("sensitivity", "specificity", "balanced_accuracy", "f1_weighted"):
        assert pooled.figures[key].value == truth[key].value
    assert pooled.figures["auc"].value == pytest.approx(truth["auc"].value, abs=0.001)
    assert pooled.figures["subject_auc"].value == pytest.approx(truth["subject_auc"].value, abs=0.01)  # a pair of 144
    for key in ("brier", "ece"):
        assert pooled.figures[key].value == pytest.approx(truth[key].value, abs=0.01)
    # Patients are drawn within sites, so the ends differ a little.
    assert pooled.figures["auc"].low == pytest.approx(truth["auc"].low, abs=0.05)
    assert pooled.figures["auc"].high == pytest.approx(truth["auc"].high, abs=0.05)


def test_counts_are_those_of_the_answers_and_no_picture_or_name_is_sent(
    classifier: Classifier, homes: list[Manifest], summaries: list[SiteSummary]
) -> None:
    home, summary = homes[0], summaries[0]
    table = table_of(summary)
    answers = list(classifier.predict_many(home.paths()))
    called = sum((answer.probability or 0) >= summary.threshold for answer in answers)
    assert int((table.probability >= summary.threshold).sum()) == called
    assert (summary.cells, summary.patients, table.label.sum()) == (72, 8, 36)
    near = np.sort(table.logit) - np.sort([answer.logit for answer in answers if answer.logit is not None])
    assert np.abs(near).max() <= np.diff(summary.edges).max()
    text = summary.to_text()
    assert len(text) < 200_000
    assert ".png" not in text
    assert not any(record.subject in text for record in home.records if record.subject)


def test_small_groups_do_not_stand_alone(classifier: Classifier, tmp_path: Path) -> None:
    home = cells_of(tmp_path / "cells", "Oslo", seed=5, groups=8, each=3)
    found = summarise_site(classifier, home, "Oslo", min_cells=5)
    assert min(group.cells for group in found.groups) >= 5
    assert (found.patients, found.cells) == (8, 24)
    assert all(bool(group.blast) != bool(group.normal) for group in found.groups)


def test_the_random_effects_are_those_of_the_formula(summaries: list[SiteSummary]) -> None:
    rng = np.random.default_rng(0)
    values, errors = (0.80, 0.90, 0.70), (0.02, 0.03, 0.04)
    drawn = [value + error * rng.standard_normal(20_000) for value, error in zip(values, errors, strict=True)]
    found = heterogeneity([Estimate(v, v - 0.1, v + 0.1) for v in values], drawn)
    assert found is not None
    weight = [1 / error**2 for error in errors]
    fixed = sum(w * v for w, v in zip(weight, values, strict=True)) / sum(weight)
    q = sum(w * (v - fixed) ** 2 for w, v in zip(weight, values, strict=True))
    tau2 = (q - 2) / (sum(weight) - sum(w * w for w in weight) / sum(weight))
    assert found.i_squared == pytest.approx((q - 2) / q, abs=0.02)
    assert found.tau == pytest.approx(math.sqrt(tau2), rel=0.05)
    full = [1 / (error**2 + tau2) for error in errors]
    mean = sum(w * v for w, v in zip(full, values, strict=True)) / sum(full)
    assert found.mean.value == pytest.approx(mean, abs=0.002)
    assert found.mean.high - found.mean.low == pytest.approx(2 * 1.96 / math.sqrt(sum(full)), rel=0.03)
    assert pool_sites(summaries).heterogeneity["auc"].sites == 3


def test_the_site_that_fails_and_what_differs_there_are_named(classifier: Classifier, tmp_path: Path) -> None:
    good = [cells_of(tmp_path / site, site, seed=seed) for seed, site in enumerate(SITES[:2])]
    turned = cells_of(tmp_path / "Cork", "Cork", seed=7)
    wrong = Manifest(turned.root, tuple(_turned(record) for record in turned.records), "Cork")
    found = pool_sites([summarise_site(classifier, home, home.name) for home in (*good, wrong)])
    assert [site.fails for site in found.sites] == [False, False, True]
    assert all(site.shift is not None and "embedding" in site.shift for site in found.sites)


def _turned(record: Record) -> Record:
    return Record(record.path, 1 - int(record.label or 0), record.subject, record.group, None, "made", None)


def test_what_does_not_belong_together_is_refused(
    classifier: Classifier, homes: list[Manifest], summaries: list[SiteSummary], tmp_path: Path
) -> None:
    one, two, _ = summaries
    other = load(make_bundle(tmp_path / "other", decision={"threshold": 0.25}), threads=1)
    with pytest.raises(DataError, match="Bergen measured another bundle"):
        pool_sites([one, summarise_site(other, homes[1], "Bergen")])
    with pytest.raises(DataError, match="different bins"):
        pool_sites([one, summarise_site(classifier, homes[1], "Bergen", bins=50)])
    with pytest.raises(DataError, match="the same name: Aachen"):
        pool_sites([one, two.model_copy(update={"site": "Aachen"})])
    with pytest.raises(DataError, match="the same key"):
        pool_sites([one, two.model_copy(update={"key": one.key})])
    with pytest.raises(DataError, match=r"the same data set \(by its fingerprint\)"):
        pool_sites([one, one.model_copy(update={"site": "Bergen", "key": "00"})])
    with pytest.raises(DataError, match="no summary is given"):
        pool_sites([])
    check_trust(summaries, [f"{each.site}={each.key}" for each in summaries])
    with pytest.raises(DataError, match="the summary of Aachen is signed with another key"):
        check_trust(summaries, [f"Aachen={two.key}"])
    with pytest.raises(DataError, match="the summary of Bergen has no trusted key"):
        check_trust(summaries, [f"Aachen={one.key}"])


def test_a_patient_of_two_sites_is_noticed_by_a_shared_secret(classifier: Classifier, homes: list[Manifest]) -> None:
    again = Manifest(homes[0].root, homes[0].records[:40], "Bergen")
    with pytest.raises(DataError, match="5 patients are counted at two sites"):
        pool_sites(
            [
                summarise_site(classifier, homes[0], "Aachen", secret=b"shared"),
                summarise_site(classifier, again, "Bergen", secret=b"shared"),
            ]
        )


@pytest.mark.parametrize("hurt", ["count", "site", "key", "signature", "unsigned"])
def test_what_was_altered_is_refused(summaries: list[SiteSummary], tmp_path: Path, hurt: str) -> None:
    values = json.loads(summaries[0].to_text())
    if hurt == "count":
        group = values["groups"][0]
        (group["blast"] or group["normal"])[0][1] += 1
    elif hurt == "site":
        values["site"] = "Elsewhere"
    elif hurt == "key":
        values["key"] = summaries[1].key
    elif hurt == "signature":
        values["signature"] = "00" * 64
    else:
        values["key"] = values["signature"] = ""
    path = tmp_path / "site.json"
    path.write_text(json.dumps(values))
    with pytest.raises(DataError, match="was altered after it was signed, or was never signed"):
        read_summary(path)


def test_files_that_are_no_summaries(summaries: list[SiteSummary], tmp_path: Path) -> None:
    path = tmp_path / "site.json"
    for text, why in (
        ("{", "is no JSON"),
        ("{}", "is no summary: format"),
        (json.dumps(json.loads(summaries[0].to_text()) | {"format": 9}), "has format 9, newer than 1"),
        (json.dumps(json.loads(summaries[0].to_text()) | {"groups": []}), "no cell is counted"),
        (json.dumps(json.loads(summaries[0].to_text()) | {"extra": 1}), "is no summary: extra"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=why):
            read_summary(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_summary(tmp_path / "nothing.json")
    path.write_text(summaries[0].to_text())
    assert read_summary(path) == summaries[0]


def test_keys_sign_and_are_kept_to_their_owner(tmp_path: Path) -> None:
    key = new_key(tmp_path / "site.key")
    assert (tmp_path / "site.key").stat().st_mode & 0o777 == 0o600
    assert read_key(tmp_path / "site.key") == key
    assert checked_signature(key.public, key.sign(b"x"), b"x")
    assert not checked_signature(key.public, key.sign(b"x"), b"y")
    with pytest.raises(DataError, match="is there already"):
        new_key(tmp_path / "site.key")
    (tmp_path / "no.key").write_text("abc")
    with pytest.raises(DataError, match="holds no site key"):
        read_key(tmp_path / "no.key")


def test_noise_has_the_stated_spread_and_is_said(classifier: Classifier, homes: list[Manifest]) -> None:
    plain = summarise_site(classifier, homes[0], "Aachen")
    noisy = summarise_site(classifier, homes[0], "Aachen", epsilon=8.0)
    assert noisy.epsilon == 8.0
    assert abs(noisy.cells - plain.cells) <= 12  # exp(-8): hardly any of 1,600 counts moves
    loud = summarise_site(classifier, homes[0], "Aachen", epsilon=0.5)
    assert loud.cells > plain.cells + 100  # what falls below 0 is cut
    assert any("added noise" in note for note in pool_sites([noisy]).notes)


def test_one_class_and_unknown_patients_are_said(classifier: Classifier, homes: list[Manifest]) -> None:
    blasts = Manifest(homes[0].root, tuple(r for r in homes[0].records if r.label == 1), "Aachen")
    lone = tuple(Record(r.path, r.label, None, unknown_patient(r.path), None, "made", None) for r in homes[1].records)
    found = pool_sites(
        [
            summarise_site(classifier, blasts, "Aachen"),
            summarise_site(classifier, Manifest(homes[1].root, lone, "Bergen"), "Bergen"),
        ]
    )
    assert math.isnan(found.sites[0].figures["auc"].value)
    assert any(note.startswith("Aachen sent blasts alone: its AUC is undefined") for note in found.notes)
    assert any("Bergen: 72 cells are of unknown patients" in note for note in found.notes)
    assert found.sites[1].summary.patients == 0


def test_the_verb_from_key_to_page(classifier: Classifier, homes: list[Manifest], tmp_path: Path) -> None:
    bundle = classifier.bundle.folder
    files, trust = [], []
    for home in homes:
        table = home.root / "labels.csv"
        rows = "".join(f"{r.path},{r.label},{r.subject}\n" for r in home.records)
        table.write_text("path,label,subject\n" + rows)
        made = CliRunner().invoke(main, ["federate", "key", str(tmp_path / f"{home.name}.key")])
        trust += ["--trust", f"{home.name}={made.output.split()[-1]}"]
        files.append(str(tmp_path / f"{home.name}.json"))
        done = CliRunner().invoke(
            main,
            ["federate", "summary", "--bundle", str(bundle), "--data", str(table), "--site", home.name, "--key",
             str(tmp_path / f"{home.name}.key"), "--out", files[-1]],
        )  # fmt: skip
        assert done.exit_code == 0, done.output
        assert "72 cells of 8 patient groups" in done.output
    done = CliRunner().invoke(main, ["federate", "pool", *files, "--out", str(tmp_path / "out"), *trust])
    assert done.exit_code == 0, done.output
    assert "between 3 sites: AUC" in done.output
    page = (tmp_path / "out/report.html").read_text()
    assert all(site in page for site in SITES)
    assert "never a diagnosis" in page
    figures = json.loads((tmp_path / "out/pooled.json").read_text())
    assert [site["site"] for site in figures["sites"]] == list(SITES)
    assert write_pooled(pool_sites([read_summary(Path(file)) for file in files]), tmp_path / "again").exists()
