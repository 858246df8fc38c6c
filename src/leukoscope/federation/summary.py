"""What one laboratory sends: counts of its answers by patient group, and nothing that shows a cell or names a patient.

A site answers for its own labelled cells and sorts the logits of each patient group into bins, apart for blasts and for
normal cells. From these counts a centre computes every figure that rests on ranks, decisions and stated probabilities,
with intervals over patients; the bins' width is the resolution. Thresholds are edges of bins, so decisions are exact.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from leukoscope._version import __version__
from leukoscope.bundle.decision import logit_at, probability_of
from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.patients import picture_of
from leukoscope.errors import DataError
from leukoscope.inference.classifier import Classifier
from leukoscope.keys import SiteKey, checked_signature

FORMAT = 1
BINS = 200
MIN_CELLS = 5
_REACH: Final = 12.0  # from the threshold; logits beyond lie in the outermost bins
_NARROW: Final = 0.5  # logits from the threshold up to which bins stay narrow
_MOST_CELLS: Final = 20_000_000  # of a site: each takes some bytes where sites are pooled
_LARGEST: Final = 1e9  # of moments
_AGAIN = "let the site write it again with `leukoscope federate summary`"

Count = Annotated[int, Field(ge=0)]


class GroupCounts(BaseModel):
    """The answers for one patient group, or for several small ones together.

    Attributes:
        blast: pairs of bin and number of cells, of cells labelled blast; ``normal`` likewise.
        patients: how many groups are counted together here.
        unknown: the cells are of patients whom nobody knows.
        digests: of the groups' names under a secret that sites share; empty: none was given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    blast: tuple[tuple[Count, Annotated[int, Field(ge=1)]], ...]
    normal: tuple[tuple[Count, Annotated[int, Field(ge=1)]], ...]
    patients: Annotated[int, Field(ge=1)] = 1
    unknown: bool = False
    digests: tuple[str, ...] = ()

    @property
    def cells(self) -> int:
        """How many cells are counted."""
        return sum(count for _, count in (*self.blast, *self.normal))


class Moments(BaseModel):
    """Mean and standard deviation of each of some numbers over a site's cells."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    count: Count
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @model_validator(mode="after")
    def _alike(self) -> Self:
        if len(self.mean) != len(self.deviation) or not all(abs(x) <= _LARGEST for x in (*self.mean, *self.deviation)):
            raise ValueError(f"mean and deviation must be as many finite numbers of at most {_LARGEST:g}")
        return self


class SiteSummary(BaseModel):
    """All that leaves a laboratory. `docs/laboratories.md` explains each field.

    Attributes:
        format: of the file; ``software``: version that wrote it.
        site: the laboratory's name, as it chose it.
        bundle: name of the bundle that answered; ``digest``: its SHA-256, see `Bundle.digest`.
        data: fingerprint of the manifest, which is not sent: by it a dispute can be settled.
        threshold: probability from which blast is called; ``refer_from``: from which the band refers.
        edges: of the bins, logits, rising; one bin more than edges.
        probability: that the bundle states in the middle of each bin.
        groups: counts by patient group.
        unreadable: pictures without an answer.
        turned_down: cells that the gate turned down; their answers are counted as if it had not.
        min_cells: patient groups of fewer cells are counted together.
        epsilon: privacy budget of the noise on each count; None: no noise.
        embedding: moments of the network's features; ``stain``: those of the stain.
        key: the site's public key, hexadecimal; ``signature``: of everything else, by it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    format: int
    software: str
    date: str
    site: Annotated[str, Field(min_length=1, max_length=80)]
    bundle: str
    digest: str
    data: str
    threshold: float
    refer_from: float | None
    edges: tuple[float, ...]
    probability: tuple[float, ...]
    groups: tuple[GroupCounts, ...]
    unreadable: Count
    turned_down: Count
    min_cells: Count
    epsilon: float | None
    embedding: Moments
    stain: Moments
    key: str = ""
    signature: str = ""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if sorted(self.edges) != list(self.edges) or len(self.probability) != len(self.edges) + 1:
            raise ValueError("edges must rise, and each bin have its probability")
        if any(bin_ > len(self.edges) for group in self.groups for bin_, _ in (*group.blast, *group.normal)):
            raise ValueError("a bin that is none")
        if not self.groups:
            raise ValueError("no cell is counted")
        if self.cells > _MOST_CELLS:
            raise ValueError(f"more than {_MOST_CELLS:,} cells are counted")
        return self

    @property
    def cells(self) -> int:
        """How many cells are counted."""
        return sum(group.cells for group in self.groups)

    @property
    def patients(self) -> int:
        """How many patient groups are counted, those of unknown patients left out."""
        return sum(group.patients for group in self.groups if not group.unknown)

    def signed_bytes(self) -> bytes:
        """What is signed: everything but the signature, in one order."""
        values = self.model_dump(mode="json", exclude={"signature"})
        return json.dumps(values, sort_keys=True, separators=(",", ":")).encode()

    def signed(self, key: SiteKey) -> SiteSummary:
        """The summary with the key's signature."""
        named = self.model_copy(update={"key": key.public})
        return named.model_copy(update={"signature": key.sign(named.signed_bytes())})

    def to_text(self) -> str:
        """The file's content."""
        return json.dumps(self.model_dump(mode="json"), separators=(",", ":")) + "\n"


def read_summary(path: Path) -> SiteSummary:
    """Read and check what `federate summary` wrote, its signature too.

    Raises:
        DataError: the file is missing, of a newer format, damaged, or was altered after it was signed.
    """
    try:
        content = path.read_bytes()
        values: Any = json.loads(content)
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})", path=path, remedy="check the path") from error
    except (ValueError, RecursionError) as error:
        raise DataError("is no JSON", path=path, remedy=_AGAIN) from error
    found = values.get("format") if isinstance(values, dict) else None
    if isinstance(found, int) and found > FORMAT:
        raise DataError(
            f"has format {found}, newer than {FORMAT}", path=path, remedy="run: pip install --upgrade leukoscope"
        )
    try:
        summary = SiteSummary.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DataError(f"is no summary: {where}: {first['msg']}", path=path, remedy=_AGAIN) from error
    if not checked_signature(summary.key, summary.signature, summary.signed_bytes()):
        raise DataError("was altered after it was signed, or was never signed", path=path, remedy=_AGAIN)
    return summary


def summarise_site(
    classifier: Classifier,
    data: Manifest,
    site: str,
    *,
    bins: int = BINS,
    min_cells: int = MIN_CELLS,
    epsilon: float | None = None,
    secret: bytes | None = None,
    progress: Callable[[int], None] | None = None,
) -> SiteSummary:
    """Answer for all labelled cells of a site, and count.

    Args:
        classifier: the bundle that all sites measure.
        data: labelled cells of patients that the bundle has not seen.
        site: the laboratory's name.
        bins: of the logits, before those that the thresholds add.
        min_cells: patient groups of fewer cells are counted together with others of the same kind.
        epsilon: each count gets two-sided geometric noise of parameter exp(-epsilon) (Ghosh, Roughgarden &
            Sundararajan 2012): one cell more or less changes the chance of any summary by at most exp(epsilon).
        secret: shared by the sites, to tell a patient counted at two of them; None: nothing of names is sent.
        progress: called with the number of pictures newly answered.

    Raises:
        DataError: no picture can be read.
    """
    rule = classifier.bundle.facts.decision
    limits = [rule.threshold] + ([] if rule.refer is None else [rule.refer.low])
    exact = [logit for limit in limits if math.isfinite(logit := logit_at(limit, rule))]
    edges = np.unique(np.concatenate([_edges(bins, exact[0] if exact else 0.0), exact]))
    centres = np.concatenate([edges[:1], (edges[1:] + edges[:-1]) / 2, edges[-1:]])
    logits: list[float] = []
    rows: list[int] = []
    embedding, stain = _Running(), _Running()
    turned_down = 0
    answers = classifier.predict_many(data.paths(), progress=progress, quality=True)
    for row, answer in enumerate(answers):
        if answer.logit is None or answer.embedding is None or answer.quality is None:
            continue
        rows.append(row)
        logits.append(answer.logit)
        turned_down += answer.gate == "turned down"
        embedding.add(answer.embedding)
        stain.add(answer.quality.stain)
    if not rows:
        raise DataError("none of the pictures can be read", path=data.root)
    place = np.searchsorted(edges, np.array(logits), side="right")
    groups = _grouped(data.groups()[rows], data.labels()[rows], place, secret)
    groups = _merged(groups, min_cells)
    if epsilon is not None:
        groups = _noised(groups, len(edges) + 1, epsilon)
    return SiteSummary(
        format=FORMAT, software=__version__, date=dt.datetime.now(dt.UTC).date().isoformat(), site=site,
        bundle=classifier.bundle.facts.name, digest=classifier.bundle.digest, data=data.fingerprint(),
        threshold=rule.threshold, refer_from=None if rule.refer is None else rule.refer.low,
        edges=tuple(edges.tolist()), probability=tuple(probability_of(centres, rule).round(6).tolist()),
        groups=tuple(groups), unreadable=len(data) - len(rows), turned_down=turned_down, min_cells=min_cells,
        epsilon=epsilon, embedding=embedding.moments(), stain=stain.moments(),
    )  # fmt: skip


def _edges(bins: int, middle: float) -> NDArray[np.float64]:
    """Edges of bins that are narrow about the threshold, where classes overlap, and wide far from it, as sinh is.

    Of 200 bins one is 0.02 logits wide at the threshold, and 0.12 three logits away.
    """
    end = math.asinh(_REACH / _NARROW)
    return np.asarray(middle + _NARROW * np.sinh(np.linspace(-end, end, bins - 1)), np.float64)


@dataclass(slots=True)
class _Running:
    """Sums from which mean and deviation follow."""

    count: int = 0
    total: Any = 0.0
    square: Any = 0.0

    def add(self, values: Iterable[float]) -> None:
        row = np.asarray(values, np.float64)
        self.count += 1
        self.total = self.total + row
        self.square = self.square + row**2

    def moments(self) -> Moments:
        mean = self.total / self.count
        deviation = np.sqrt(np.maximum(self.square / self.count - mean**2, 0))
        return Moments(
            count=self.count, mean=tuple(mean.round(5).tolist()), deviation=tuple(deviation.round(5).tolist())
        )


def _grouped(
    group: NDArray[np.str_], label: NDArray[np.int64], place: NDArray[np.int64], secret: bytes | None
) -> list[GroupCounts]:
    found = []
    for name in np.unique(group).tolist():
        own = group == name
        unknown = picture_of(name) is not None
        digest = (
            () if secret is None or unknown else (hmac.new(secret, name.encode(), hashlib.sha256).hexdigest()[:16],)
        )
        found.append(
            GroupCounts(
                blast=_pairs(place[own & (label == 1)]),
                normal=_pairs(place[own & (label == 0)]),
                unknown=unknown,
                digests=digest,
            )
        )
    return found


def _pairs(place: NDArray[np.int64]) -> tuple[tuple[int, int], ...]:
    bins, counts = np.unique(place, return_counts=True)
    return tuple(zip(bins.tolist(), counts.tolist(), strict=True))


def _merged(groups: Sequence[GroupCounts], least: int) -> list[GroupCounts]:
    """Small groups together with others that hold the same classes, smallest first: none of them stands alone."""
    done: list[GroupCounts] = []
    for kind in sorted({_kind(group) for group in groups}):
        alike = sorted((group for group in groups if _kind(group) == kind), key=lambda group: group.cells)
        while len(alike) > 1 and alike[0].cells < least:
            alike = sorted([_joined(alike[0], alike[1]), *alike[2:]], key=lambda group: group.cells)
        done += alike
    return done


def _kind(group: GroupCounts) -> tuple[bool, bool, bool]:
    return bool(group.blast), bool(group.normal), group.unknown


def _joined(one: GroupCounts, other: GroupCounts) -> GroupCounts:
    return GroupCounts(
        blast=_summed(one.blast, other.blast), normal=_summed(one.normal, other.normal),
        patients=one.patients + other.patients, unknown=one.unknown, digests=one.digests + other.digests,
    )  # fmt: skip


def _summed(one: Iterable[tuple[int, int]], other: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    counts: dict[int, int] = {}
    for bin_, count in (*one, *other):
        counts[bin_] = counts.get(bin_, 0) + count
    return tuple(sorted(counts.items()))


def _noised(groups: Sequence[GroupCounts], bins: int, epsilon: float) -> list[GroupCounts]:
    """Each count of each class, empty ones too, with noise; what falls below 0 is 0. The draws cannot be repeated."""
    rng = np.random.default_rng()
    chance = 1 - math.exp(-epsilon)

    def noisy(pairs: Iterable[tuple[int, int]], *, held: bool) -> tuple[tuple[int, int], ...]:
        if not held:
            return ()
        counts = np.zeros(bins, np.int64)
        for bin_, count in pairs:
            counts[bin_] = count
        counts += rng.geometric(chance, bins) - rng.geometric(chance, bins)
        return tuple((bin_, count) for bin_, count in enumerate(counts.tolist()) if count > 0)

    noised = [
        group.model_copy(
            update={
                "blast": noisy(group.blast, held=bool(group.blast)),
                "normal": noisy(group.normal, held=bool(group.normal)),
            }
        )
        for group in groups
    ]
    return [group for group in noised if group.cells]
