"""Whether a small learned segmenter outlines white cells better than the classical one: a trial, not a part.

Run: python benchmarks/segmenter.py train --data DIR --weights FILE [--epochs 60] [--seed 0]
     python benchmarks/segmenter.py measure --data DIR --weights FILE [--out docs/figures/segmenter.json]
DIR holds wbc-seg and bccd. A U-Net (Ronneberger, Fischer & Brox 2015, MICCAI) of 0.23 million parameters tells rest,
cytoplasm and nucleus at 128 px; it is trained on the even pictures of both wbc-seg sets with strong changes of stain,
light, blur, scale and place. Measured on the odd pictures, and on the boxes of bccd, which it never saw.
"""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from _common import Needed, command_line, report
from fields_truth import boxes_of, match, ratio
from leukoscope.cells.masks import components, filled
from leukoscope.cells.read import read_picture
from leukoscope.files import atomic_path
from leukoscope.machine import describe_machine
from leukoscope.smears.ruler import read_ruler
from segmentation import dice, read

SIDE = 128  # pixels of the network's picture
WIDTHS = (16, 32, 48, 64)
RED_CELL = 38.0  # pixels at which fields are read: about that of the crops at `SIDE`
BATCH, RATE = 16, 2e-3
Example = tuple[str, NDArray[np.uint8], NDArray[np.uint8]]  # name, picture, classes 0 rest 1 cytoplasm 2 nucleus


class Segmenter(nn.Module):
    """uint8-valued float [N, 3, H, W], sides divisible by 8 -> logits [N, 3, H, W] of rest, cytoplasm, nucleus."""

    def __init__(self) -> None:
        super().__init__()
        before = (3, *WIDTHS[:-1])
        self.down = nn.ModuleList(_pair(a, b) for a, b in zip(before, WIDTHS, strict=True))
        self.up = nn.ModuleList(_pair(a + b, a) for a, b in pairwise(WIDTHS))
        self.head = nn.Conv2d(WIDTHS[0], 3, 1)

    def forward(self, rgb: Tensor) -> Tensor:
        """See the class."""
        x, kept = rgb / 127.5 - 1, []
        for level, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if level else x)
            kept.append(x)
        for block, skip in zip(reversed(self.up), reversed(kept[:-1]), strict=True):
            larger = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = block(torch.cat([skip, larger], dim=1))
        logits: Tensor = self.head(x)
        return logits


def _pair(before: int, after: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (before, after):
        layers += [nn.Conv2d(width, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers)


def examples(folder: Path, parity: int) -> list[Example]:
    """Pictures whose number is even (0) or odd (1), with their classes."""
    found = []
    for picture in sorted(p for p in folder.glob("*.png") if not p.name.endswith(".mask.png")):
        if int(picture.stem) % 2 == parity:
            rgb, nucleus, cell = read(picture)
            found.append((picture.stem, rgb, cell.astype(np.uint8) + nucleus))
    return found


def changed(example: Example, random: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The picture turned, mirrored, moved, scaled, stained, lit and blurred as another laboratory's might be."""
    _, rgb, classes = example
    side = max(rgb.shape[:2])
    zoom = SIDE / side * float(np.exp(random.uniform(np.log(0.6), np.log(1.4))))
    place = cv2.getRotationMatrix2D((side / 2, side / 2), random.uniform(0, 360), zoom)
    place[:, 2] += SIDE / 2 - side / 2 + random.uniform(-0.2, 0.2, 2) * SIDE
    if random.random() < 0.5:
        place = place @ np.array([[-1.0, 0, side - 1], [0, 1, 0], [0, 0, 1]])
    soft = cv2.GaussianBlur(rgb, (0, 0), 0.4 / zoom) if zoom < 0.8 else rgb
    edge = cv2.BORDER_REFLECT_101
    picture = cv2.warpAffine(soft, place, (SIDE, SIDE), flags=cv2.INTER_LINEAR, borderMode=edge)
    labels = cv2.warpAffine(classes, place, (SIDE, SIDE), flags=cv2.INTER_NEAREST, borderMode=edge)
    density = -np.log((picture.astype(np.float32) + 1) / 256)
    mix = np.eye(3) * random.uniform(0.6, 1.5, 3) * random.uniform(0.7, 1.3) + random.normal(0, 0.07, (3, 3))
    light = random.uniform(0.75, 1.05) * random.uniform(0.85, 1.1, 3)
    seen = 256 * light * np.exp(-np.clip(density @ mix.T.astype(np.float32), 0, None)) - 1
    blur = random.uniform(0, 1.6)
    if blur > 0.4:
        seen = np.asarray(cv2.GaussianBlur(seen, (0, 0), blur))
    seen += random.normal(0, random.uniform(0, 6), seen.shape)
    return np.clip(np.rint(seen), 0, 255).astype(np.uint8), np.asarray(labels, np.uint8)


def train(data: Path, weights: Path, epochs: int, seed: int) -> None:
    """Cross-entropy and soft Dice, one cycle of AdamW; both sets equally often."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    sets = [examples(data / "wbc-seg" / name, 0) for name in ("dataset1", "dataset2")]
    model = Segmenter().to(memory_format=torch.channels_last)
    steps = 200 // BATCH * epochs
    optimiser = torch.optim.AdamW(model.parameters(), RATE, weight_decay=1e-3)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, steps)
    running = 0.0
    for step in range(steps):
        pairs = [changed(chosen[int(random.integers(len(chosen)))], random) for chosen in sets * (BATCH // 2)]
        x = torch.from_numpy(np.stack([p for p, _ in pairs])).permute(0, 3, 1, 2).float()
        y = torch.from_numpy(np.stack([c for _, c in pairs])).long()
        logits = model(x.contiguous(memory_format=torch.channels_last))
        share, truth = logits.softmax(1), F.one_hot(y, 3).permute(0, 3, 1, 2)
        overlap = 2 * (share * truth).sum((0, 2, 3)) / (share.sum((0, 2, 3)) + truth.sum((0, 2, 3)) + 1)
        loss = F.cross_entropy(logits, y) + 1 - overlap.mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        plan.step()
        running = 0.95 * running + 0.05 * loss.item()
        if step % 50 == 49:
            print(f"step {step + 1} of {steps}, loss {running / (1 - 0.95 ** (step + 1)):.3f}", flush=True)
    content = io.BytesIO()
    torch.save({key: value.half() for key, value in model.state_dict().items()}, content)
    with atomic_path(weights) as temporary:
        temporary.write_bytes(content.getvalue())


def load(weights: Path) -> Segmenter:
    """The network with its 16-bit weights."""
    model = Segmenter()
    model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in torch.load(weights).items()})
    return model.eval()


def told(model: Segmenter, rgb: NDArray[np.uint8], scale: float) -> NDArray[np.float32]:
    """Shares of rest, cytoplasm, nucleus, float32 [3, H, W], asked at ``scale`` of the picture's size."""
    height, width = rgb.shape[:2]
    rows, columns = (max(8, round(side * scale / 8) * 8) for side in (height, width))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.resize(rgb, (columns, rows), interpolation=how)
    with torch.inference_mode():
        share = model(torch.from_numpy(small).permute(2, 0, 1)[None].float()).softmax(1)[0]
    return np.asarray(cv2.resize(share.permute(1, 2, 0).numpy(), (width, height))).transpose(2, 0, 1)


def crop_masks(model: Segmenter, rgb: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Cell and nucleus: the part of the cell with the most nucleus near the middle."""
    height, width = rgb.shape[:2]
    share = told(model, rgb, SIDE / max(height, width))
    cell, nucleus = share[0] < 0.5, share[2] > 0.5
    y, x = np.ogrid[:height, :width]
    near = np.exp(-((x / width - 0.5) ** 2 + (y / height - 0.5) ** 2) * 16)
    labels, areas = components(cell)
    weight = np.bincount(labels.ravel(), (near * share[2]).ravel(), len(areas))
    weight[0] = 0
    mine = filled(labels == int(np.argmax(weight))) & bool(weight.any())
    return mine, nucleus & mine


def field_boxes(model: Segmenter, rgb: NDArray[np.uint8], red_cell: float) -> list[tuple[int, int, int, int]]:
    """Boxes of the parts told white cell that hold a third of a red cell's area of nucleus."""
    share = told(model, rgb, RED_CELL / red_cell)
    labels, _ = components(filled(share[0] < 0.5))
    nuclei = np.bincount(labels.ravel(), (share[2] > 0.5).ravel())
    boxes = []
    for number in np.flatnonzero(nuclei > 0.3 * np.pi / 4 * red_cell**2):
        if number:
            x, y, width, height = cv2.boundingRect((labels == number).view(np.uint8))
            boxes.append((x, y, x + width, y + height))
    return boxes


def measure(data: Path, weights: Path) -> dict[str, Any]:
    """What the network reaches; what the classical way does is in fields.json and segmentation.json."""
    model = load(weights)
    figures: dict[str, Any] = {
        "parameters": sum(p.numel() for p in model.parameters()), "bytes": weights.stat().st_size,
        "machine": describe_machine(), "wbc-seg, odd": {}, "bccd, odd": {},
    }  # fmt: skip
    for name in ("dataset1", "dataset2"):
        scores: dict[str, list[float]] = {"cell": [], "nucleus": []}
        for _, rgb, classes in examples(data / "wbc-seg" / name, 1):
            learned = crop_masks(model, rgb)
            scores["cell"].append(dice(learned[0], classes > 0))
            scores["nucleus"].append(dice(learned[1], classes == 2))
        figures["wbc-seg, odd"][name] = {
            key: {"mean": round(float(np.mean(v)), 4), "median": round(float(np.median(v)), 4), "n": len(v)}
            for key, v in scores.items()
        }
    figures["bccd, odd"] = fields_of(model, data / "bccd")
    return figures


def fields_of(model: Segmenter, folder: Path) -> dict[str, Any]:
    """Recall, precision and overlap of boxes on the odd fields, at the scale of the ruler."""
    rows: list[tuple[int, int, int]] = []
    overlaps: list[float] = []
    for path in sorted((folder / "JPEGImages").glob("*.jpg")):
        if int(path.stem[-5:]) % 2 == 0:
            continue
        rgb = read_picture(path).rgb
        red_cell = read_ruler(rgb)[0].red_cell_px
        truth = boxes_of(folder / "Annotations" / f"{path.stem}.xml")["WBC"]
        found = [] if red_cell is None else field_boxes(model, rgb, red_cell)
        good, _, _ = match(found, truth)
        rows.append((len(good), len(found), len(truth)))
        overlaps += good
    hit, told, true = np.array(rows).T
    return {
        "fields": len(rows), "recall": ratio(hit, true), "precision": ratio(hit, told),
        "median_overlap": round(float(np.median(overlaps)), 3),
    }  # fmt: skip


def main() -> None:
    """Train, or measure and write JSON."""
    parser = command_line(__doc__, data=Needed(), weights=Needed(), epochs=60, seed=0, out=Path)
    parser.add_argument("step", choices=("train", "measure"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    if options.step == "train":
        train(options.data, options.weights, options.epochs, options.seed)
        return
    figures = measure(options.data, options.weights) | {"epochs": options.epochs, "seed": options.seed}
    report(figures, options.out)


if __name__ == "__main__":
    main()
