"""Recall and precision of the leak audit on re-photographs planted into real cells.

Copies of real cells are disturbed in a known way and filed under another, unrelated subject. Recall is the share of
planted pairs that the audit links; precision is the share of planted pairs among the links that touch a planted
picture. A link between a copy and a real alias of its source, which the audit links with the source itself, counts for
neither.

    python benchmarks/audit_planted.py DATA --work WORK --out planted.json
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from _common import Needed, command_line, report
from leukoscope.cells.frame import cell_mask
from leukoscope.cells.read import read_picture
from leukoscope.cli._show import Terminal
from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.leaks import AuditResult, audit
from leukoscope.datasets.readers import read_dataset

Image = NDArray[np.uint8]
Disturb = Callable[[Image, float, np.random.Generator], Image]
STRENGTHS = (0.2, 0.4, 0.6, 0.8, 1.0)


def affine(image: Image, angle: float, shift: NDArray[np.float64], scale: float = 1.0) -> Image:
    """Turn, scale and shift about the middle, with cubic interpolation."""
    height, width = image.shape[:2]
    matrix = np.array(cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, scale), np.float64)
    matrix[:, 2] += shift
    return np.asarray(cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_CUBIC), np.uint8)


def shift(image: Image, strength: float, random: np.random.Generator) -> Image:
    """Shift by 12 px times the strength, in a random direction."""
    way = random.uniform(0, 2 * np.pi)
    return affine(image, 0, 12 * strength * np.array([np.cos(way), np.sin(way)]))


def rotate(image: Image, strength: float, random: np.random.Generator) -> Image:
    """Turn by 10 degrees times the strength, either way."""
    return affine(image, float(random.choice([-10, 10])) * strength, np.zeros(2))


def quarter(image: Image, strength: float, random: np.random.Generator) -> Image:
    """Quarter turn and mirror, at random, never neither; there is no strength to it."""
    which = int(random.integers(1, 8))
    turned = np.rot90(image, which % 4)
    return np.ascontiguousarray(turned[:, ::-1] if which >= 4 else turned)


def within(image: Image, change: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> Image:
    """Change the levels inside the cell and leave the surround black."""
    mask = cell_mask(image)[..., None]
    return np.where(mask, np.clip(np.rint(change(image.astype(np.float32))), 12, 255), 0).astype(np.uint8)


def blur(image: Image, strength: float, random: np.random.Generator) -> Image:
    """Gaussian blur inside the cell, standard deviation 3 px times the strength."""
    mask = cell_mask(image).astype(np.float32)[..., None]
    sigma = 3 * strength + 1e-3

    def change(levels: NDArray[np.float32]) -> NDArray[np.float32]:
        share = cv2.GaussianBlur(mask, (0, 0), sigma)[..., None]
        return np.asarray(cv2.GaussianBlur(levels * mask, (0, 0), sigma) / np.maximum(share, 1e-3), np.float32)

    return within(image, change)


def sharpen(image: Image, strength: float, random: np.random.Generator) -> Image:
    """Unsharp mask of 2 px, amount 3 times the strength."""
    return within(image, lambda x: x + 3 * strength * (x - cv2.GaussianBlur(x, (0, 0), 2.0)))


def gamma(image: Image, strength: float, random: np.random.Generator) -> Image:
    """Gamma of 2 to the power of the strength, or its inverse."""
    power = 2.0 ** (strength * float(random.choice([-1, 1])))
    return within(image, lambda x: 255 * (x / 255) ** power)


def gains(image: Image, strength: float, random: np.random.Generator) -> Image:
    """A gain per channel, up to 35 % times the strength."""
    factors = (1 + 0.35 * strength * random.uniform(-1, 1, 3)).astype(np.float32)
    return within(image, lambda x: x * factors)


def encode(image: Image, strength: float, random: np.random.Generator) -> Image:
    """JPEG, quality 95 down to 35 at strength 1."""
    quality = int(95 - 60 * strength)
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def resize(image: Image, strength: float, random: np.random.Generator) -> Image:
    """Whole picture resized by 2 to the power of the strength, up or down."""
    factor = 2.0 ** (strength * float(random.choice([-1, 1])))
    side = round(image.shape[0] * factor)
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (side, side), interpolation=way), np.uint8)


def cut(image: Image, strength: float, random: np.random.Generator) -> Image:
    """Cut a third of the cell's area, times the strength, away along a straight line."""
    y, x = np.nonzero(cell_mask(image))
    way = random.uniform(0, 2 * np.pi)
    along = x * np.cos(way) + y * np.sin(way)
    gone = along > np.quantile(along, 1 - strength / 3)
    image = image.copy()
    image[y[gone], x[gone]] = 0
    return image


SINGLE: dict[str, Disturb] = {
    f.__name__: f for f in (shift, rotate, quarter, blur, sharpen, gamma, gains, encode, resize, cut)
}


def everything(image: Image, strength: float | None, random: np.random.Generator) -> Image:
    """All at once, in the order of a second photograph; None: every strength drawn for itself, 0 to 1."""
    focus = str(random.choice(["blur", "sharpen"]))
    image = quarter(image, 1.0, random) if random.uniform() < 0.8 else image
    for name in ("rotate", "shift", focus, "gamma", "gains", "cut", "encode"):
        image = SINGLE[name](image, random.uniform() if strength is None else strength, random)
    return image


def plant(
    base: Manifest, free: list[int], folder: Path, each: int, mixed: int
) -> tuple[Manifest, list[dict[str, object]]]:
    """Write the disturbed copies and give a manifest of all pictures, real ones first."""
    random = np.random.default_rng(1)
    random.shuffle(free)
    plan: list[tuple[str, float | None]] = [(k, s) for k in SINGLE for s in STRENGTHS for _ in range(each)]
    plan += [("everything", s) for s in STRENGTHS for _ in range(each)] + [("everything", None)] * mixed
    folder.mkdir(parents=True, exist_ok=True)
    subjects = sorted({r.subject for r in base.records if r.subject})
    group_of = dict(zip(base.subjects().tolist(), base.groups().tolist(), strict=True))
    records, truth = list(base.records), []
    for number, ((kind, strength), source) in enumerate(zip(plan, free, strict=False)):
        record = base.records[source]
        image = read_picture(base.root / record.path).rgb
        copy = (
            everything(image, strength, random) if kind == "everything" else SINGLE[kind](image, strength or 0, random)
        )
        path = folder / f"{number:05d}.png"
        cv2.imwrite(str(path), cv2.cvtColor(copy, cv2.COLOR_RGB2BGR))
        strangers = [s for s in subjects if group_of[s] != group_of[record.subject]]
        stranger = str(random.choice(strangers))
        records.append(
            replace(record, path=f"planted/{path.name}", subject=stranger, group=None, field=f"planted {number}")
        )
        truth.append({"source": source, "copy": len(records) - 1, "kind": kind, "strength": strength})
    return Manifest(base.root, tuple(records), "planted"), truth


def linked_root(base: Manifest, folder: Path) -> Manifest:
    """The base manifest under a root that has room for the planted pictures: links to the real folders."""
    root = folder / "root"
    root.mkdir(parents=True, exist_ok=True)
    for top in {record.path.split("/")[0] for record in base.records}:
        if not (root / top).exists():
            (root / top).symlink_to((base.root / top).resolve())
    return Manifest(root, base.records, base.name)


def figures(result: AuditResult, truth: list[dict[str, object]]) -> dict[str, object]:
    """Recall by kind and strength, and precision."""
    planted = {(int(str(t["source"])), int(str(t["copy"]))) for t in truth}
    copies = {copy for _, copy in planted}
    found = {(link.first, link.second) for link in result.links}
    source_of = {copy: source for source, copy in planted}

    def alias(first: int, second: int) -> bool:
        a, b = sorted((source_of.get(first, first), source_of.get(second, second)))
        return (first, second) not in planted and (a == b or (a, b) in found)

    touching = [k for k in result.links if {k.first, k.second} & copies and not alias(k.first, k.second)]
    right = sum((link.first, link.second) in planted for link in touching)
    table: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for t in truth:
        hit = (int(str(t["source"])), int(str(t["copy"]))) in found
        table[str(t["kind"])][str(t["strength"])].append(hit)
    everyone = [hit for kinds in table.values() for hits in kinds.values() for hit in hits]
    mixed = table["everything"].get("None", [])
    return {
        "planted": len(truth),
        "recall": float(np.mean(everyone)),
        "recall_everything_random": float(np.mean(mixed)) if mixed else None,
        "links_touching_planted": len(touching),
        "precision": right / max(len(touching), 1),
        "false": [
            [result.manifest.records[i].path for i in (k.first, k.second)] + [k.score]
            for k in touching
            if (k.first, k.second) not in planted
        ],
        "recall_by_kind": {k: float(np.mean([h for hits in v.values() for h in hits])) for k, v in table.items()},
        "recall_by_strength": {k: {s: float(np.mean(h)) for s, h in v.items()} for k, v in table.items()},
        "count_by_strength": {k: {s: len(h) for s, h in v.items()} for k, v in table.items()},
    }


def main() -> None:
    """Run the bench."""
    options = command_line(  # copies of each kind and strength, and mixed ones; 0 pictures: all
        __doc__, "data", work=Needed(), out=Path("audit_planted.json"), jobs=2, each=16, mixed=300, pictures=0
    ).parse_args()
    base = linked_root(read_dataset(options.data), options.work)
    if options.pictures:
        chosen = np.random.default_rng(0).permutation(len(base))[: options.pictures]
        base = base.select(np.sort(chosen))
    free = list(range(len(base)))
    manifest, truth = plant(base, free, options.work / "root" / "planted", options.each, options.mixed)
    start = time.perf_counter()
    result = audit(manifest, jobs=options.jobs, progress=Terminal(), work_folder=options.work / "audit")
    found = figures(result, truth) | {
        "pictures": len(manifest),
        "seconds": time.perf_counter() - start,
        "threshold": result.null.threshold,
        "null_highest": result.null.highest,
    }
    report(found, options.out, shown={k: v for k, v in found.items() if k not in ("false", "count_by_strength")})


if __name__ == "__main__":
    main()
