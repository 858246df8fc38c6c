"""What must be known of a data set before a figure measured on it is believed, in sentences.

Under which terms the data sets that we know were published, with the source to cite.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.known_sets import SetFacts, known_sets
from leukoscope.datasets.record import BLAST, LABEL_WORDS, NORMAL

NO_PATIENTS = (
    "No patient is named in {name}: each picture counts as a group of its own. Intervals are too narrow, and a split "
    "by group of it is a split by picture, which says nothing about new patients."
)


def published_in(manifest: Manifest) -> list[SetFacts]:
    """The known data sets that pictures come from, also where they are rendered in one's layout."""
    sources = {part for record in manifest.records for part in record.source.split("/")}
    return [facts for name, facts in known_sets().items() if name in sources]


def names_patients(manifest: Manifest) -> bool:
    """Whether any picture says which subject it is of."""
    return any(record.subject for record in manifest.records)


def caveats(manifest: Manifest) -> tuple[str, ...]:
    """Sentences to show beside every figure of a data set; none where patients are known and both classes are there."""
    told: list[str] = list(manifest.notes)
    nameless: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for record in manifest.records:
        name = record.path.partition("/")[0] if manifest.parts else manifest.name
        nameless[name][0] += 1
        nameless[name][1] += not record.subject
    for name, (pictures, without) in sorted(nameless.items()):
        if without == pictures:
            told.append(NO_PATIENTS.format(name=name))
        elif without:
            told.append(f"{without:,} of {pictures:,} pictures of {name} name no patient: each is a group of its own.")
    told += [facts.caveat for facts in published_in(manifest) if facts.caveat]
    held = {record.label for record in manifest.records} - {None}
    if len(held) == 1:
        told.append(one_class(held == {BLAST}))
    return tuple(told)


def one_class(blast: bool) -> str:
    """What can be measured on pictures of one class, and what cannot."""
    have, lack = (BLAST, NORMAL) if blast else (NORMAL, BLAST)
    figure, missing = ("sensitivity", "specificity") if blast else ("specificity", "sensitivity")
    return (
        f"All pictures are {LABEL_WORDS[have]}, none is {LABEL_WORDS[lack]}: only {figure} can be measured; {missing}, "
        "AUC and whatever rests on both classes cannot."
    )


@dataclass(frozen=True, slots=True)
class ResolutionLeak:
    """What the size of a picture in pixels says about its class.

    Attributes:
        sizes: width, height, normal and blast pictures of each size, the most frequent first.
        told: share of pictures whose class is guessed from the others of its size.
        guessed: share that the more frequent class holds.
        unreadable: pictures whose size cannot be read.
    """

    sizes: tuple[tuple[int, int, int, int], ...]
    told: float
    guessed: float
    unreadable: int

    def sentence(self) -> str:
        """The finding in words."""
        listed = "; ".join(f"{w}x{h}: {n} normal, {b} blast" for w, h, n, b in self.sizes[:5])
        more = f"; and {len(self.sizes) - 5} other sizes" if len(self.sizes) > 5 else ""
        return (
            f"Size in pixels tells the class of {self.told:.1%} of the pictures, always naming the larger class "
            f"{self.guessed:.1%} ({listed}{more})."
        )


def resolution_leak(manifest: Manifest) -> ResolutionLeak | None:
    """Read the sizes of all labelled pictures from their headers and guess each class from the others of its size.

    Returns:
        The finding; None where fewer than two classes or two sizes are there.
    """
    counts: Counter[tuple[int, int, int]] = Counter()
    unreadable = 0
    for record in manifest.records:
        if record.label is None:
            continue
        try:
            with Image.open(manifest.locate(record)) as picture:
                counts[(*picture.size, record.label)] += 1
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
            unreadable += 1
    sizes = sorted({key[:2] for key in counts}, key=lambda size: (-sum(counts[(*size, c)] for c in (0, 1)), size))
    table = [(w, h, counts[(w, h, NORMAL)], counts[(w, h, BLAST)]) for w, h in sizes]
    total = [sum(row[2 + label] for row in table) for label in (NORMAL, BLAST)]
    if min(total) == 0 or len(table) < 2:
        return None
    right = 0
    for _, _, *held in table:
        for label in (NORMAL, BLAST):
            others = [held[c] - (c == label) for c in (NORMAL, BLAST)]
            everywhere = [total[c] - (c == label) for c in (NORMAL, BLAST)]
            votes = others if others[0] != others[1] else everywhere
            right += held[label] if votes[label] > votes[1 - label] else 0
    return ResolutionLeak(tuple(table), right / sum(total), max(total) / sum(total), unreadable)


def licences(manifest: Manifest) -> tuple[str, ...]:
    """Terms of the data sets that a manifest's pictures come from; sources unknown to us are named as such."""
    sets = sorted({record.source.partition("/")[0] for record in manifest.records})
    known, unknown = known_sets(), "{}: terms not known to Leukoscope; ask its owner."
    return tuple(dict.fromkeys(known[name].terms if name in known else unknown.format(name) for name in sets))
