"""The pages of a batch: cells with heat maps; patients, fields and their cells. Each needs nothing outside."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain, count, islice
from pathlib import Path, PurePath
from typing import Any
from unicodedata import normalize

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.bundle.decision import refer_claim
from leukoscope.bundle.patients import subject_claim, telling
from leukoscope.bundle.schema import BundleFacts
from leukoscope.errors import LeukoscopeError
from leukoscope.files import atomic_folder, atomic_path, sweep
from leukoscope.inference.alike import most_alike
from leukoscope.inference.answer import HONEST, Answer
from leukoscope.inference.labels import label_boxes
from leukoscope.inference.morphology import shipped_reference
from leukoscope.inference.order import ORDER, places
from leukoscope.inference.overlay import BLAST_RGB, COLOURS, NORMAL_RGB, REFER_RGB, map_scale, tint
from leukoscope.inference.patients import PatientTally, interval
from leukoscope.page import render, stream
from leukoscope.smears import STANDARD_UM_PER_PX
from leukoscope.text import printable

PAGE = "report.html"
LABEL_SHARES = (0.03, 0.052)  # height of a number on the page of fields, of the picture's width: beside cells, above
CELLS, OVERLAYS = "cells", "overlays"
MARK = '<meta name="generator" content="leukoscope'
_PICTURE = re.compile(r"\d{5}(-[A-Za-z0-9_-]+)?\.(webp|png)")  # as `safe_stem` names them


@dataclass(frozen=True, slots=True)
class Card:
    """What the page shows of one answer.

    Attributes:
        number: place in the batch, from 1.
        name: the picture's path, as shown; ``short`` is its last part.
        file: stem of the pictures under ``cells/`` and ``overlays/``.
        scale: largest magnitude of the heat map, in logit units.
        extent: largest distance of the cell from the frame's centre, as a share of half the frame.
        words: what was measured, in sentences; None where nothing was.
        cell: number of the cell in its field or crop; None for a picture of one cell on black.
        sha256: of the picture's file, hexadecimal; None where it is not known.
        short_reason: the reason in a few words.
        gated: the gate refers it: its probability stands in brackets.
        embedding: float32 [E].
    """

    number: int
    name: str
    short: str
    decision: str
    probability: float | None
    logit: float | None
    error: str | None
    reason: str | None
    file: str
    scale: float
    extent: float
    words: str | None = None
    cell: int | None = None
    sha256: str | None = None
    short_reason: str = ""
    gated: bool = False
    embedding: NDArray[np.float32] | None = field(default=None, repr=False)


@contextmanager
def gallery(
    out: Path, facts: BundleFacts, *, digest: str = "", synthetic: bool = False, states: PatientTally | None = None
) -> Iterator[Callable[[Answer], None]]:
    """Yield a function that takes predictions one by one; on success the gallery appears in ``out`` whole.

    Writes ``report.html``, ``cells/*.webp`` (the frames) and ``overlays/*.webp`` (the heat maps). Where there
    are folders of these names already they are ``cells-2``, ``overlays-2`` and so on: the page takes the place of an
    earlier one in one step, and each page shows its own pictures. Then those of the earlier page are removed.

    Args:
        out: the folder to write into.
        facts: of the bundle that answered.
        digest: of that bundle, for what is exported from the page.
        synthetic: the pictures are rendered; the page says so at its top.
        states: takes the same predictions in the same order, and at the end states the patients; None: no patients.

    Raises:
        LeukoscopeError: ``out`` cannot be written.
    """
    names = next(names for names in _generations() if not any((out / name).exists() for name in names))
    older = _shown_by(out / PAGE)
    cards: list[Card] = []
    existed = out.exists()
    try:
        with (
            atomic_path(out / PAGE) as page,  # leaves last to be entered, first to be placed: pictures, then the page
            atomic_folder(out / names[1]) as overlays,
            atomic_folder(out / names[0]) as cells,
        ):
            yield lambda answer: cards.append(_save(answer, len(cards) + 1, cells, overlays))
            text = render_page(cards, facts, names, digest=digest, synthetic=synthetic, states=states)
            page.write_text(text, encoding="utf-8")
        _remove(out, [name for name in older if name not in names])
    finally:
        if not existed:
            with suppress(OSError):  # not empty, which is the good case
                out.rmdir()


def render_page(
    cards: list[Card],
    facts: BundleFacts,
    names: tuple[str, str] = (CELLS, OVERLAYS),
    *,
    digest: str = "",
    synthetic: bool = False,
    states: PatientTally | None = None,
) -> str:
    """The page as HTML, whose pictures lie in the folders named. All values are escaped."""
    readable = [card for card in cards if card.error is None and card.probability is not None]
    looks = [card.embedding for card in readable if card.embedding is not None]
    alike = most_alike(np.stack(looks)) if looks and len(looks) == len(readable) else [[] for _ in readable]
    return render(
        "inference/gallery.html.j2",
        cells=names[0],
        overlays=names[1],
        cards=readable,
        order=dict(zip((card.number for card in readable), places(card.logit for card in readable), strict=True)),
        order_claim=ORDER,
        unreadable=[card for card in cards if card.error is not None],
        unasked=[card for card in cards if card.error is None and card.probability is None],
        counts={
            name: sum(card.decision == name for card in cards) for name in ("blast", "normal", "refer", "unreadable")
        },
        in_fields=sum(card.cell is not None for card in cards),
        alike=alike,
        digest=digest,
        root=Path.cwd().as_posix(),
        um_per_px=facts.um_per_px or STANDARD_UM_PER_PX,
        honest=HONEST,
        telling=telling,
        percent_interval=interval,
        facts=facts,
        claim=refer_claim(facts.decision),
        synthetic=synthetic,
        drawn_words=_drawn_words(cards) if synthetic else "",
        patients=[] if states is None else states.statements(),
        patients_how=None if states is None else states.owners.how,
        by_number={card.number: card for card in cards},
        rule_claim=subject_claim(facts),
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        reference=shipped_reference().data,
        zoom=max(1.0, min(2.5, 0.94 / max((card.extent for card in readable), default=1.0))),
        blast="rgb({} {} {})".format(*BLAST_RGB),
        normal="rgb({} {} {})".format(*NORMAL_RGB),
        refer="rgb({} {} {})".format(*REFER_RGB),
    )


def _drawn_words(cards: list[Card]) -> str:
    """How many of the cells drawn as each kind are called so, and referred; the demo's names tell the kind."""
    told = []
    for kind in ("blast", "normal"):
        called = [card.decision for card in cards if f"-{kind}-like-" in card.short]
        told.append(
            f"of {len(called)} cells drawn as {kind}, {called.count(kind)} called so, {called.count('refer')} referred"
        )
    return f"Truth beside the answer: {'; '.join(told)}."


def safe_stem(number: int, name: str) -> str:
    """File name without suffix: unique by its number, plain ASCII, short.

    >>> safe_stem(7, "../a b/Zelle é <1>.png")
    '00007-Zelle-e-1'
    """
    ascii_name = normalize("NFKD", PurePath(name).stem).encode("ascii", "ignore").decode("ascii")
    return f"{number:05d}-{re.sub(r'[^A-Za-z0-9_]+', '-', ascii_name)[:40].strip('-')}".rstrip("-")


def _save(answer: Answer, number: int, cells: Path, overlays: Path) -> Card:
    cell = "" if answer.place is None else f" #{answer.place.number}"
    file = answer.path or f"picture {number}"
    name = f"{file}{cell}"
    stem = safe_stem(number, file)
    scale, extent = 0.0, 0.0
    if answer.frame is not None and answer.heatmap is not None:
        scale, extent = map_scale(answer.heatmap), _extent(answer.frame)
        _write(cells / f"{stem}.webp", answer.frame, [cv2.IMWRITE_WEBP_QUALITY, 92])
        _write(overlays / f"{stem}.webp", tint(answer.heatmap), [cv2.IMWRITE_WEBP_QUALITY, 101])  # 101: lossless
    return Card(
        number, printable(name), f"{printable(PurePath(file).name)}{cell}", answer.decision, answer.probability,
        answer.logit, None if answer.error is None else printable(answer.error), answer.reason,
        stem, scale, extent, answer.words, None if answer.place is None else answer.place.number, answer.sha256,
        short_reason(answer), answer.gate == "turned down", answer.embedding,
    )  # fmt: skip


def short_reason(answer: Answer) -> str:
    """Why the cell is referred, in a few words; the whole reason has the numbers."""
    if answer.findings:
        return ", ".join(dict.fromkeys(finding.reason for finding in answer.findings))
    return "" if answer.reason is None else "in doubt" if answer.asked else "no answer"


def _write(path: Path, picture: NDArray[np.uint8], options: list[int]) -> None:
    """Write RGB or RGBA."""
    turned = cv2.COLOR_RGB2BGR if picture.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
    done, content = cv2.imencode(path.suffix, cv2.cvtColor(picture, turned), options)
    if not done:
        raise LeukoscopeError("the picture cannot be encoded", path=path)
    path.write_bytes(content.tobytes())


def _extent(frame: NDArray[np.uint8]) -> float:
    """Largest distance of the cell from the frame's centre along either axis, as a share of half the frame."""
    mask: NDArray[np.bool_] = (frame > 0).max(axis=2)
    half = frame.shape[0] / 2
    places = np.concatenate([np.flatnonzero(mask.max(axis=axis)) for axis in (0, 1)])
    return float(np.abs(places + 0.5 - half).max() / half) if places.size else 1.0


def _generations() -> Iterator[tuple[str, str]]:
    """Names of the two folders of pictures of a gallery, and of those after it."""
    yield CELLS, OVERLAYS
    for number in count(2):
        yield f"{CELLS}-{number}", f"{OVERLAYS}-{number}"


def _shown_by(page: Path) -> list[str]:
    """The folders of pictures of the gallery that a page of ours shows; none where it is not ours."""
    try:
        text = page.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return sorted(set(re.findall(rf'"((?:{CELLS}|{OVERLAYS})(?:-\d+)?)/', text))) if MARK in text[:2000] else []


def _remove(out: Path, names: Sequence[str]) -> None:
    """Remove folders of pictures, unless something else was put into one; and what killed processes left."""
    for name in (*names, *chain.from_iterable(islice(_generations(), 3))):
        sweep(out / name)
    for folder in (out / name for name in names):
        if folder.is_dir() and all(_PICTURE.fullmatch(each.name) for each in folder.iterdir()):
            shutil.rmtree(folder, ignore_errors=True)


def write_page(
    path: Path,
    records: Iterable[dict[str, Any] | None],
    stems: Sequence[str],
    patients: Sequence[dict[str, Any]] | None,
    doubted: Sequence[tuple[str, str]],
    order: Sequence[int | None],
    counts: Mapping[str, int],
) -> None:
    """Write the page, one field after another: it is never held whole. All values are escaped.

    What speaks against the cells of a field, by its path, stands on top, under how many pictures and cells of each
    decision there are. Cells are told their place in ``order``, which is that of all cells of the readable fields.
    """
    place = iter(order)
    pairs = ((_shown(record, place), stem) for record, stem in zip(records, stems, strict=True) if record is not None)
    parts = stream(
        "inference/fields.html.j2",
        fields=pairs,
        patients=patients,
        doubted=[(printable(name), text) for name, text in doubted],
        honest=HONEST,
        order=ORDER,
        counts=counts,
        asked=sum(each is not None for each in order),
        shares=LABEL_SHARES,
        colours={name: "rgb({} {} {})".format(*rgb) for name, rgb in COLOURS.items()},
    )
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(parts)


def _shown(record: dict[str, Any], place: Iterator[int | None]) -> dict[str, Any]:
    cells = [cell | {"order": next(place)} for cell in record["cells"]]
    if cells:
        size, told = (record["width"], record["height"]), [(str(cell["number"]), cell["box"]) for cell in cells]
        wide, narrow = (label_boxes(told, size, share * size[0]) for share in LABEL_SHARES)
        cells = [cell | {"labels": pair} for cell, pair in zip(cells, zip(wide, narrow, strict=True), strict=True)]
    return record | {"path": printable(str(record["path"])), "cells": cells}
