"""The ruler against the boxes of bccd, and against the areas of red cells that stand alone."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fields_truth import halves, ratio
from leukoscope.cells.masks import filled


def ruler(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Median red cell diameter against the boxes' (mean of sides; boxes at the picture's edge left out)."""
    truth, measured, error_of_truth = [], [], []
    for row in rows:
        sides = [
            (b[2] - b[0] + b[3] - b[1]) / 2
            for b in row["truth"]["RBC"]
            if min(b[0], b[1]) > 2 and b[2] < 638 and b[3] < 478
        ]
        truth.append(float(np.median(sides)) if sides else np.nan)
        spread = float(np.std(sides, ddof=1)) / max(len(sides), 1) ** 0.5 * 1.2533 if len(sides) > 1 else np.nan
        error_of_truth.append(spread / truth[-1] if sides else np.nan)
        measured.append(row["finding"].ruler.red_cell_px or np.nan)
    boxes, found = np.array(truth), np.array(measured)
    even = np.array([row["number"] % 2 == 0 for row in rows])
    factor = float(np.nanmedian((found / boxes)[even]))
    figures: dict[str, Any] = {
        "measured_over_boxes_even": round(factor, 4),
        "same_cells": _same_cells(rows),
        "perfect_ruler_5%": _perfect(np.array(error_of_truth), even),
        "standard_error_of_truth": [round(float(q), 3) for q in np.nanquantile(error_of_truth, (0.1, 0.5, 0.9))],
    }
    constant = float(np.nanmedian(boxes[even]))
    for name, keep in halves(rows).items():
        ok = np.array(keep)[~np.isnan(boxes[keep])]
        within = {}
        for label, value in (
            ("as_measured", found / boxes - 1),
            ("over_the_boxes_margin", found / boxes / factor - 1),
            ("one_number_for_all_fields", constant / boxes - 1),
        ):
            for limit in (0.05, 0.10):
                hit = (np.abs(np.nan_to_num(value[ok], nan=9.0)) <= limit).astype(float)
                within[f"{label}_{limit:.0%}"] = ratio(hit, np.ones(len(ok)))
        figures[name] = {
            "fields": len(ok),
            "no_scale": int(np.isnan(found[ok]).sum()),
            "within": within,
            "median_error": round(float(np.nanmedian(found[ok] / boxes[ok] - 1)), 4),
        }
    figures["um_per_px"] = [round(float(q), 4) for q in np.nanquantile(7.5 / found, (0.05, 0.5, 0.95))]
    return figures


def _alone(row: dict[str, Any]) -> list[tuple[float, float, float]]:
    """Round red cells that stand alone: diameter of the disc of their area, of the ruler's circle, side of the box.

    The area is that of a plain threshold, which has nothing to do with the ruler; nan where no circle or box is there.
    """
    green = cv2.GaussianBlur(row["rgb"], (0, 0), 1.0)[..., 1]
    _level, mask = cv2.threshold(green, 0, 255, cv2.THRESH_BINARY_INV | cv2.THRESH_OTSU)
    mask = filled(mask > 0, 2000).view(np.uint8)
    _, _, stats, centres = cv2.connectedComponentsWithStats(mask, connectivity=8)
    circles = np.array([(cell.x, cell.y, cell.diameter) for cell in row["finding"].red_cells]).reshape(-1, 3)
    boxes = np.array([((a + c) / 2, (b + d) / 2, (c - a + d - b) / 2) for a, b, c, d in row["truth"]["RBC"]]).reshape(
        -1, 3
    )
    found = []
    for (x, y, width, height, area), centre in zip(stats[1:].tolist(), centres[1:], strict=True):
        disc = float(np.sqrt(4 * area / np.pi))
        inside = min(x, y) > 2 and x + width < 638 and y + height < 478
        round_one = max(width, height) < 1.15 * min(width, height) and abs(2 * disc / (width + height) - 1) < 0.05
        if inside and round_one and 50 < disc < 140:
            found.append((disc, _at(centre, 0.15 * disc, circles), _at(centre, 0.15 * disc, boxes)))
    return found


def _at(place: NDArray[np.float64], reach: float, things: NDArray[np.float64]) -> float:
    """Size of the nearest thing within reach, rows x, y, size; nan where there is none."""
    away = np.hypot(things[:, 0] - place[0], things[:, 1] - place[1])
    return float(things[np.argmin(away), 2]) if len(away) and away.min() < reach else float("nan")


def _same_cells(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Circles of the ruler, and boxes, against the areas of the same cells: which of the two is the noisy one."""
    alone = [np.array(_alone(row)).reshape(-1, 3) for row in rows]
    cells = np.concatenate(alone)
    figures: dict[str, Any] = {"cells": len(cells)}
    for name, column in (("circle", 1), ("box", 2)):
        values = (cells[:, column] / cells[:, 0])[~np.isnan(cells[:, column])]
        figures[f"{name}_over_disc"] = {
            "cells": len(values),
            "quantiles_10_50_90": [round(float(q), 3) for q in np.quantile(values, (0.1, 0.5, 0.9))],
        }
        known = [each[~np.isnan(each[:, column])] for each in alone]
        ratios = np.array(
            [np.median(each[:, column]) / np.median(each[:, 0]) if len(each) >= 2 else np.nan for each in known]
        )
        even = np.array([row["number"] % 2 == 0 for row in rows])
        offset = float(np.nanmedian(ratios[even]))
        hit = (np.abs(ratios / offset - 1) <= 0.05)[~even & ~np.isnan(ratios)].astype(float)
        figures[f"{name}_over_disc"] |= {"offset_even": round(offset, 4), "fields_odd": len(hit)}
        figures[f"{name}_over_disc"]["within_5%_odd"] = ratio(hit, np.ones(len(hit)))
    return figures


def _perfect(error: NDArray[np.float64], even: NDArray[np.bool_]) -> dict[str, float]:
    """Share of odd fields in which even a ruler without any error would lie within 5 % of the boxes' median.

    By the standard error of that median alone, as of a normal distribution: boxes off by one margin count as right.
    """
    known = error[~even & (error > 0)]
    share = np.array([math.erf(0.05 / float(each) / math.sqrt(2)) for each in known])
    return ratio(share, np.ones(len(share))) | {"fields": len(share)}
