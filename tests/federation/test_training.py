"""Training over sites: sums give the joined cells' head; what is forged, stale or no number is refused by name."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression

from bundle_factory import make_bundle
from federation_sites import SITES, cells_of
from leukoscope.bundle.read import default_bundle, read_bundle
from leukoscope.cli import main
from leukoscope.errors import DataError
from leukoscope.federation.centre import centre_step, federated_bundle
from leukoscope.federation.heads import LinearHead, combine_heads, head_round
from leukoscope.federation.parcel import Parcel, read_parcel
from leukoscope.federation.rounds import LocalRound, accepted, combine
from leukoscope.federation.site import SiteCells, kept_aside, site_cells, site_parcel
from leukoscope.inference.classifier import load
from leukoscope.keys import SiteKey

pytest.importorskip("cryptography")
MODEL = "ab" * 32
CENTRE = SiteKey(bytes([9] * 32))


def features_of(seed: int, groups: int = 12, size: int = 5) -> SiteCells:
    """Patients of very different size, two classes that overlap, and a spread that differs by number."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(3, 60, groups)
    group = np.repeat([f"{seed}/{k}" for k in range(groups)], counts)
    label = np.repeat(np.arange(groups) % 2, counts)
    x = rng.normal(size=(len(label), size)) + 0.7 * label[:, None] * np.arange(size) + seed
    return SiteCells(x * 10.0 ** np.arange(-2, size - 2), label, group)


@pytest.fixture(scope="module")
def sites() -> list[SiteCells]:
    return [features_of(seed) for seed in range(3)]


def together(sites: list[SiteCells]) -> SiteCells:
    parts = ((each.features, each.labels, each.groups) for each in sites)
    return SiteCells(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def rounds_of(sites: list[SiteCells], rounds: int, **how: Any) -> LinearHead:
    head: LinearHead | None = None
    for _ in range(rounds):
        head = combine_heads(head, [head_round(head, s.features, s.labels, s.groups) for s in sites], **how)
    assert head is not None
    return head


def weights_by_hand(cells: SiteCells) -> NDArray[np.float64]:
    """Both classes alike; within one, a cell by one over the root of its patient's cells."""
    each = np.array([1 / np.sqrt((cells.groups == g).sum()) for g in cells.groups])
    for label in (0, 1):
        each[cells.labels == label] /= 2 * each[cells.labels == label].sum()
    return each


def test_one_round_gives_the_discriminant_of_the_joined_cells(sites: list[SiteCells]) -> None:
    head: LinearHead = combine_heads(
        None, [head_round(None, s.features, s.labels, s.groups, "none") for s in sites], strength=1e-12
    )
    joined = together(sites)
    known = LinearDiscriminantAnalysis(solver="lsqr", priors=[0.5, 0.5]).fit(joined.features, joined.labels)
    np.testing.assert_allclose(head.logits(joined.features), known.decision_function(joined.features), atol=1e-6)


def test_further_rounds_give_the_logistic_regression_of_the_joined_cells(sites: list[SiteCells]) -> None:
    head = rounds_of(sites, 12, strength=0.01)
    joined = together(sites)
    z = (joined.features - head.mean) / head.spread
    known = LogisticRegression(C=1 / 0.01, tol=1e-12, max_iter=10_000).fit(z, joined.labels, weights_by_hand(joined))
    assert head.done
    np.testing.assert_allclose(head.weight, known.coef_[0], atol=1e-6)
    np.testing.assert_allclose(head.logits(joined.features), known.decision_function(z), atol=1e-6)


@pytest.mark.parametrize("rounds", [1, 2, 12])
def test_sites_apart_are_as_one_site(sites: list[SiteCells], rounds: int) -> None:
    apart, one = rounds_of(sites, rounds), rounds_of([together(sites)], rounds)
    np.testing.assert_allclose(apart.logits(sites[0].features), one.logits(sites[0].features), atol=1e-6)


def test_a_step_after_which_the_loss_rose_is_halved(sites: list[SiteCells]) -> None:
    good = rounds_of(sites, 3)
    assert good.before is not None
    far = LinearHead(good.mean, good.spread, good.weight + 50, good.bias, good.loss, good.before, good.gain)
    back = combine_heads(far, [head_round(far, s.features, s.labels, s.groups) for s in sites])
    np.testing.assert_allclose(back.weight, (far.weight + good.before[:-1]) / 2)


def test_one_class_at_a_site_is_taken_and_over_all_is_refused(sites: list[SiteCells]) -> None:
    def only(cells: SiteCells, label: int) -> LocalRound:
        own = cells.labels == label
        return head_round(None, cells.features[own], cells.labels[own], cells.groups[own])

    assert combine_heads(None, [only(sites[0], 1), only(sites[1], 0)]).weight.shape == (5,)
    with pytest.raises(DataError, match="no site has a normal cell"):
        combine_heads(None, [only(each, 1) for each in sites])


def test_weights_are_averaged_by_patients_and_batch_norm_is_pooled() -> None:
    rng = np.random.default_rng(0)
    cells = [rng.normal(3, 2, 300), rng.normal(-1, 0.5, 100)]
    rounds = [
        LocalRound(
            {
                "conv.weight": np.full((2, 2), float(k), np.float32),
                "norm.running_mean": np.array([x.mean()]), "norm.running_var": np.array([x.var()]),
                "norm.num_batches_tracked": np.array(k + 4),
            }, patients, {},
        )
        for k, (x, patients) in enumerate(zip(cells, (30, 10), strict=True))
    ]  # fmt: skip
    found = combine(rounds)
    assert found["conv.weight"].dtype == np.float32
    np.testing.assert_allclose(found["conv.weight"], 0.25)
    both = np.concatenate(cells)
    np.testing.assert_allclose(found["norm.running_mean"], both.mean())
    np.testing.assert_allclose(found["norm.running_var"], both.var())
    assert found["norm.num_batches_tracked"] == 5
    assert set(combine(rounds, batch_norm="local")) == {"conv.weight"}
    bad = LocalRound({**rounds[0].weights, "conv.weight": np.full((2, 2), np.nan, np.float32)}, 3, {})
    with pytest.raises(DataError, match=r"no number \(NaN or infinite\) in conv.weight"):
        combine([rounds[0], bad])
    with pytest.raises(DataError, match="other names or shapes"):
        combine([rounds[0], LocalRound({"a": np.zeros(1)}, 3, {})])
    with pytest.raises(DataError, match="no patient stands behind"):
        combine([])


def key_of(number: int) -> SiteKey:
    return SiteKey(bytes([number + 1] * 32))


def sent(sites: list[SiteCells], state: Parcel | None = None) -> list[Parcel]:
    return [
        site_parcel(state, cells, site=name, model=MODEL, key=key_of(number))
        for number, (name, cells) in enumerate(zip(SITES, sites, strict=True))
    ]


def test_a_site_killed_in_a_round_does_not_stop_the_others(sites: list[SiteCells]) -> None:
    first = centre_step(None, sent(sites), key=CENTRE)
    assert first.sites == SITES
    second = centre_step(first.state, sent(sites, first.state)[:2], key=CENTRE)
    assert second.sites == SITES[:2]
    third = centre_step(second.state, sent(sites, second.state), key=CENTRE)  # it is back
    assert third.sites == SITES
    for _ in range(8):
        third = centre_step(third.state, sent(sites, third.state), key=CENTRE)
    np.testing.assert_allclose(third.head.weight, rounds_of(sites, 12).weight, atol=1e-6)
    with pytest.raises(DataError, match="1 sites are left of 2 that are needed"):
        centre_step(None, sent(sites)[:1], key=CENTRE)


def test_forged_stale_and_numberless_answers_are_refused_by_name(sites: list[SiteCells]) -> None:
    first = centre_step(None, sent(sites), key=CENTRE)
    answers = sent(sites, first.state)
    trust = {name: key_of(number).public for number, name in enumerate(SITES)}

    def refused(bad: Parcel, **how: Any) -> tuple[tuple[str, ...], list[tuple[str, str]]]:
        made = centre_step(first.state, [bad, *answers[1:]], key=CENTRE, **how)
        return made.sites, [(each.site, each.why) for each in made.refused]

    told = {"kind": "round", "sender": "Aachen", "round": 1, "base": first.state.digest, "model": MODEL, "cells": 9,
            "patients": 3, "facts": {"balance": "groups"}}  # fmt: skip
    hurt = {**answers[0].arrays, "slope": np.full((2, 6), np.nan)}
    wide = {**answers[0].arrays, "slope": np.zeros((2, 7))}
    for bad, how, why in (
        (Parcel.of(hurt, key_of(0), **told), {}, r"holds what is no number \(NaN or infinite\) in slope"),
        (Parcel.of(wide, key_of(0), **told), {}, "has other arrays than were asked for"),
        (sent(sites)[0], {}, "is stale: it answers round 0"),
        (Parcel.of(answers[0].arrays, key_of(0), **{**told, "base": "00"}), {}, "is stale"),
        (Parcel.of(answers[0].arrays, key_of(7), **told), {"trust": trust}, "another key than the trusted one: forged"),
        (Parcel.of(answers[0].arrays, key_of(0), **{**told, "sender": "Dublin"}), {"trust": trust}, "no trusted key"),
        (Parcel.of(answers[0].arrays, key_of(0), **{**told, "model": "cd" * 32}), {}, "is of another bundle"),
        (Parcel.of(answers[0].arrays, key_of(0), **{**told, "patients": 0}), {}, "has no patient or no cell"),
        (Parcel.of(answers[0].arrays, key_of(0), **{**told, "facts": {"balance": "none"}}), {}, "weighs its cells"),
    ):  # fmt: skip
        kept, reasons = refused(bad, **how)
        assert kept == SITES[1:]
        assert len(reasons) == 1
        assert reasons[0][0] == bad.head.sender
        assert re.search(why, reasons[0][1]), reasons
    twice, reasons = accepted([answers[0], answers[0]], round_=1, base=first.state.digest, model=MODEL)
    assert len(twice) == 1
    assert reasons[0].why == "is sent twice"
    with pytest.raises(DataError, match="signed with another key than the centre's"):
        centre_step(first.state, answers, key=key_of(5))


def test_a_parcel_reads_back_and_any_change_is_noticed(sites: list[SiteCells], tmp_path: Path) -> None:
    parcel = sent(sites)[0]
    content = parcel.to_bytes()
    again = Parcel.from_bytes(content, "site")
    assert again.head == parcel.head
    assert all(np.array_equal(again.arrays[name], each) for name, each in parcel.arrays.items())
    line, _, body = content.partition(b"\n")
    told = json.loads(line)
    assert (told["sender"], told["round"], told["patients"]) == ("Aachen", 0, 12)
    for bad, why in (
        (content[:-3], "is cut off"),
        (line.replace(b"Aachen", b"Bergen") + b"\n" + body, "was altered after it was signed"),
        (line + b"\n" + body[:-1] + bytes([body[-1] ^ 1]), "was altered after it was signed"),
        (b"{}\n", "is no file of a training round: format"),
        (b"\x00\xff", "is no file of a training round"),
        (json.dumps(told | {"format": 7}).encode() + b"\n" + body, "has format 7, newer than 1"),
        (json.dumps(told | {"facts": {"x": float("nan")}}).encode() + b"\n" + body, "is no file of a training round"),
    ):
        with pytest.raises(DataError, match=why):
            Parcel.from_bytes(bad, "site")
    (tmp_path / "site").write_bytes(content)
    with pytest.raises(DataError, match="is a site's, not the centre's"):
        read_parcel(tmp_path / "site", "state")
    with pytest.raises(DataError, match="cannot be read"):
        read_parcel(tmp_path / "nothing", "round")


def test_what_a_site_does_not_send(tmp_path: Path) -> None:
    bundle = read_bundle(make_bundle(tmp_path / "bundle"))
    home = cells_of(tmp_path / "cells", "Oslo", seed=3)
    cells = site_cells(bundle, home, tmp_path / "cache")
    again = site_cells(bundle, home, tmp_path / "cache")
    assert np.array_equal(cells.features, again.features)
    [kept] = (tmp_path / "cache/federation").iterdir()
    kept.write_bytes(b"cut")
    assert np.array_equal(cells.features, site_cells(bundle, home, tmp_path / "cache").features)
    one = home.select(np.array([r.label == 0 or r.subject == "Oslo0" for r in home.records]))
    with pytest.raises(DataError, match="all blasts are of one patient: their sums would be that patient's own"):
        site_cells(bundle, one, tmp_path / "cache")
    with pytest.raises(DataError, match="9 cells are too few"):
        site_cells(bundle, home.select(np.arange(9)), tmp_path / "cache")
    learned, aside = kept_aside(home, 0.3, 0)
    assert set(learned.groups()) & set(aside.groups()) == set()
    assert len(learned) + len(aside) == len(home)
    assert len(kept_aside(home, 0, 0)[1]) == 0
    state = centre_step(None, sent([features_of(k) for k in range(3)]), key=CENTRE).state
    with pytest.raises(DataError, match="is of another bundle"):
        site_parcel(state, cells, site="Oslo", model="cd", key=key_of(0))
    with pytest.raises(DataError, match="the state's head is of 5 numbers, embeddings have 3"):
        site_parcel(state, cells, site="Oslo", model=MODEL, key=key_of(0))
    with pytest.raises(DataError, match="the state is of another bundle"):
        federated_bundle(bundle, state, lambda *_: b"")
    with pytest.raises(DataError, match="the state holds no head"):
        LinearHead.from_arrays({"mean": np.zeros(2)})


def test_the_verbs_from_three_sites_to_a_bundle(tmp_path: Path) -> None:
    """One site is killed in round 1, one forges in round 2; the bundle says what the head says."""
    bundle = read_bundle(default_bundle())
    homes = [cells_of(tmp_path / site, site, seed=seed, groups=8, each=4) for seed, site in enumerate(SITES)]

    def run(*arguments: object, code: int = 0) -> str:
        done = CliRunner().invoke(main, ["federate", *map(str, arguments)])
        assert done.exit_code == code, done.output
        return done.output

    trust: list[str] = []
    for name in (*SITES, "centre"):
        made = run("key", tmp_path / f"{name}.key")
        trust += [] if name == "centre" else ["--trust", f"{name}={made.split()[-1]}"]
    for home in homes:
        home.write_csv(home.root / "labels.csv")

    def answer(name: str, number: int, *more: object) -> Path:
        out = tmp_path / f"{name}-{number}"
        text = run(
            "train", "--data", tmp_path / name / "labels.csv", "--site", name, "--key", tmp_path / f"{name}.key",
            "--out", out, "--keep-aside", "0.25", "--aside", tmp_path / f"{name}-aside.csv",
            "--log", tmp_path / f"{name}.log", "--cache", tmp_path / "cache", *more,
        )  # fmt: skip
        assert f"round {number}: sums over 24 cells of 6 patients" in text
        assert "kB leave the laboratory if you send" in text
        return out

    def joined(number: int, *files: Path, code: int = 0) -> str:
        before = ["--state", tmp_path / f"state-{number}"] if number else []
        return run(
            "combine", *files, *before, "--key", tmp_path / "centre.key", "--out", tmp_path / f"state-{number + 1}",
            *trust, code=code,
        )  # fmt: skip

    told = joined(0, *(answer(name, 0) for name in SITES))
    assert "3 sites (Aachen, Bergen, Cork), 72 cells" in told
    state = ["--state", tmp_path / "state-1"]
    told = joined(1, *(answer(name, 1, *state) for name in SITES[:2]))  # Cork was killed
    assert "2 sites (Aachen, Bergen), 48 cells, loss before it" in told
    state = ["--state", tmp_path / "state-2"]
    good = [answer(name, 2, *state) for name in SITES]
    forged = Parcel.from_bytes(good[0].read_bytes(), "x")
    loud = {**forged.arrays, "slope": forged.arrays["slope"] * 1000}
    lie = forged.head.model_dump(exclude={"format", "software", "arrays", "sha256", "key", "signature"})
    good[0].write_bytes(Parcel.of(loud, SiteKey(bytes(32)), **lie).to_bytes())
    cut = tmp_path / "cut"
    cut.write_bytes(good[1].read_bytes()[:-9])
    told = joined(2, *good, cut, code=1)
    assert f"refused: {cut}: is cut off, or longer than it says" in told
    assert "refused: Aachen is signed with another key than the trusted one: forged" in told
    assert "2 sites (Bergen, Cork), 48 cells" in told
    run("bundle", tmp_path / "state-3", "--out", tmp_path / "made")
    made = read_bundle(tmp_path / "made")
    assert made.facts.name == f"{bundle.facts.name}-federated"
    assert "Only sums left the laboratories" in (tmp_path / "made/README.md").read_text()
    head = LinearHead.from_arrays(read_parcel(tmp_path / "state-3", "state").arrays)
    answers = list(load(made.folder, threads=1).predict_many(homes[0].paths()))
    stated = head.logits(np.array([each.embedding for each in answers]))
    np.testing.assert_allclose(stated, [each.logit for each in answers], atol=0.01)  # float32
    lines = [json.loads(line) for line in (tmp_path / "Aachen.log").read_text().splitlines()]
    assert [line["round"] for line in lines] == [0, 1, 2]
    assert not any(r.subject in (tmp_path / "Aachen.log").read_text() for r in homes[0].records if r.subject)
    aside = (tmp_path / "Cork-aside.csv").read_text()
    assert aside.count(".png") == 8
