"""A small real bundle with a graph whose answers can be worked out by hand.

With frame f (uint8, 0 to 255) and weights w = (1, -1, 0.5) over red, green and blue:
    heatmap    = mean of w . f / 255 over each block of the frame, B x B blocks (B = 2 unless asked)
    logit      = 4 * mean of the map + 0.25
    embedding  = mean of f / 255 by channel
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, checker, helper, numpy_helper

WEIGHTS = np.array([1.0, -1.0, 0.5], np.float32)
GAIN, BIAS = 4.0, 0.25
FRAME = 64

#: A rule for patients, made by hand.
RATE = {"correlation": 0.1, "groups": 9, "cells": 900}
RULE = {
    "data": "made", "protocol": "by hand", "groups_blast": ["1"], "groups_normal": ["H1"], "logit": 0.0, "min_cells": 4,
    "sensitivity": RATE | {"mean": 0.9}, "false_alarm": RATE | {"mean": 0.3}, "alarm_level": 0.2, "missed_level": 0.1,
    "likely_from": 0.75, "unlikely_below": 0.3,
}  # fmt: skip


def make_graph(
    frame: int = FRAME,
    *,
    blocks: int = 2,
    weights: NDArray[np.float32] = WEIGHTS,
    bias: float = BIAS,
    output: str = "logit",
) -> bytes:
    """The graph as bytes; ``output`` renames the logit, to make a foreign graph."""
    side = frame // blocks
    nodes = [
        helper.make_node("Cast", ["frames"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["float", "top"], ["unit"]),
        helper.make_node("Transpose", ["unit"], ["chw"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["chw"], ["pooled"], kernel_shape=[side, side], strides=[side, side]),
        helper.make_node("Mul", ["pooled", "weights"], ["weighted"]),
        helper.make_node("ReduceSum", ["weighted", "channel"], ["heatmap"], keepdims=0),
        helper.make_node("ReduceMean", ["heatmap", "plane"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "gain"], ["gained"]),
        helper.make_node("Add", ["gained", "bias"], [output]),
        helper.make_node("ReduceMean", ["chw", "positions"], ["embedding"], keepdims=0),
    ]
    constants = {
        "top": np.float32(255), "weights": weights.reshape(1, 3, 1, 1).astype(np.float32), "gain": np.float32(GAIN),
        "bias": np.float32(bias), "channel": np.array([1]), "plane": np.array([1, 2]), "positions": np.array([2, 3]),
    }  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "by-hand",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, ["N", frame, frame, 3])],
        [
            helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N"]),
            helper.make_tensor_value_info("heatmap", TensorProto.FLOAT, ["N", blocks, blocks]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", 3]),
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    checker.check_model(model)
    return bytes(model.SerializeToString())


def make_bundle(folder: Path, *, graph: bytes | None = None, frame: int = FRAME, **facts: Any) -> Path:
    """Write a bundle; ``facts`` replace entries of bundle.json."""
    folder.mkdir(parents=True, exist_ok=True)
    content = make_graph(frame) if graph is None else graph
    (folder / "model.onnx").write_bytes(content)
    (folder / "README.md").write_text("# Card\n")
    names = ("model.onnx", "README.md")
    value = {
        "format": "leukoscope-bundle", "format_version": 1, "name": "by-hand", "version": "0.1.0",
        "created": "2026-01-01", "preparation": {"frame_size": frame}, "input_size": frame,
        "files": {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names},
    } | facts  # fmt: skip
    (folder / "bundle.json").write_text(json.dumps(value))
    return folder


def by_hand(frame: NDArray[np.uint8]) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Logit, heat map [2, 2] and embedding [3] of one frame, computed with NumPy in double precision."""
    unit = frame.astype(np.float64) / 255
    half = frame.shape[0] // 2
    blocks = unit.reshape(2, half, 2, half, 3).mean(axis=(1, 3))
    heatmap = blocks @ WEIGHTS.astype(np.float64)
    return float(heatmap.mean() * GAIN + BIAS), heatmap, unit.mean(axis=(0, 1))


def disc(colour: tuple[int, int, int], *, size: int = 80, radius: int = 20) -> NDArray[np.uint8]:
    """A one-coloured cell on black, uint8 [size, size, 3]."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    picture = np.zeros((size, size, 3), np.uint8)
    picture[x**2 + y**2 <= radius**2] = colour
    return picture
