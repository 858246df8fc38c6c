"""Write a bundle's graph anew, so that every runtime gives its answer, and measure and audit it again.

    python benchmarks/exact_graph.py BUNDLE --data DIR --out NEW --figures docs/figures/exact_graph.json

Graphs that were exported before sums had an order (leukoscope.bundle.sums, leukoscope.bundle.export.resize) differ in
WebAssembly by thousandths of a logit. The weights stay; the resize and the sums of the graph are replaced. The bundle
that is written holds the figures and audits of the new graph, on the cells of the patients that it never saw; rules for
decisions, gate and subjects stay as they were fitted. What became of the logits is printed.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import compose
from torch import Tensor, nn

from _common import command_line, report
from leukoscope.bundle.bundle import Bundle
from leukoscope.bundle.decision import decide, probability_of
from leukoscope.bundle.export import OPSET
from leukoscope.bundle.read import read_bundle
from leukoscope.bundle.sums import in_one_order
from leukoscope.bundle.write import record_audits
from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.open import open_sets
from leukoscope.inference.classifier import Classifier
from leukoscope.metrics.provenance import Provenance
from leukoscope.models.deployed import quiet_export
from leukoscope.models.resize import resize
from leukoscope.runs.measure import Measured, measure, measured_facts, unseen_by
from leukoscope.studies.audits.audit import audit_cues, audit_heat_maps, part_of

NEW = "resize."  # of the names in the graph


class Head(nn.Module):
    """From frames to levels."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, frames: Tensor) -> Tensor:
        """Map uint8 [N, F, F, 3] to float32 [N, 3, S, S] of whole levels."""
        return resize(frames, self.size).round()


def exact(bundle: Bundle) -> bytes:
    """The graph of a bundle with the resize and the sums of today."""
    model = onnx.load_from_string(bundle.graph)
    frame = torch.zeros(2, *[bundle.facts.preparation.frame_size] * 2, 3, dtype=torch.uint8)
    with quiet_export():
        program = torch.onnx.export(
            Head(bundle.facts.input_size).eval(), (frame,), dynamo=True, verbose=False, opset_version=OPSET,
            input_names=["frames"], output_names=["levels"],
            dynamic_shapes={"frames": {0: torch.export.Dim("cells", min=1)}},
        )  # fmt: skip
    assert program is not None
    head = compose.add_prefix(program.model_proto, NEW, rename_inputs=False)
    for node in head.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    nodes = list(model.graph.node)
    (last,) = (at for at, node in enumerate(nodes) if node.op_type == "Round")
    old = nodes[last].output[0]
    rest = nodes[last + 1 :]
    for node in rest:
        for place, name in enumerate(node.input):
            if name == old:
                node.input[place] = f"{NEW}levels"
    made = {name for node in nodes[: last + 1] for name in node.output}
    if any(name in made for node in rest for name in node.input):
        raise SystemExit("the network uses more of the resize than its result: this graph is not known here")
    del model.graph.node[:]
    model.graph.node.extend([*head.graph.node, *rest])
    for tensor in head.graph.initializer:
        del tensor.metadata_props[:]
        model.graph.initializer.append(tensor)
    in_one_order(model)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def measured(bundle: Bundle, part: Manifest) -> Measured:
    """The figures of a bundle on cells that it never saw."""
    provenance = Provenance(protocol="unseen groups", data=part.name, fingerprint=part.fingerprint())
    return measure(Classifier(bundle, threads=1), part, provenance)


def compared(old: Measured, new: Measured, bundle: Bundle) -> dict[str, Any]:
    """What became of the logits and of the decisions on them."""
    assert old.scores.path == new.scores.path
    apart = np.abs(new.scores.logit - old.scores.logit)
    rule = bundle.facts.decision
    decisions = [[decide(float(p), rule)[0] for p in probability_of(each.scores.logit, rule)] for each in (old, new)]
    return {
        "cells": len(apart),
        "logit_apart": {
            "median": float(np.median(apart)),
            "largest": float(apart.max()),
            "above_0.001": int((apart > 1e-3).sum()),
        },
        "other_decisions": sum(one != other for one, other in zip(*decisions, strict=True)),
        "metrics": {
            key: {"old": one.value, "new": new.evaluation.metrics[key].value}
            for key, one in old.evaluation.metrics.items()
        },
    }


def main() -> None:
    """Write the bundle and say what changed."""
    parser = command_line(__doc__, "bundle", data=Path, out=Path, figures=Path)
    given = parser.parse_args()
    old = read_bundle(given.bundle)
    whole = open_sets([given.data], cut_folder=given.out.with_name("cut"), both_classes=True).manifest
    part = unseen_by(old, whole)
    before = old.facts.measured[0]
    assert set(part.groups().tolist()) == set(before.groups), "not the cells that the bundle was measured on"
    graph = exact(old)
    bare = old.with_facts(graph=graph, subjects=old.facts.subjects)
    before_it, after_it = measured(old, part), measured(bare, part)
    figures = measured_facts(after_it, data=before.data, protocol=before.protocol, fold=before.fold)
    new = bare.with_facts(measured=[figures], subjects=old.facts.subjects).write(given.out)
    with tempfile.TemporaryDirectory() as place:
        cells = part_of(new, whole.labelled())
        for each in old.facts.audits:
            audit = audit_heat_maps if each.kind == "explanations" else audit_cues
            done = audit(Classifier(new, threads=1), cells, Path(place), count=each.cells, seed=each.seed)
            record_audits(new.folder, [done.facts])
    report(compared(before_it, after_it, old), given.figures)


if __name__ == "__main__":
    main()
