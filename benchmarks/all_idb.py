"""ALL-IDB1 or ALL-IDB2 end to end: white cells found, blasts held against .xyc, pictures and cells told apart.

    python benchmarks/all_idb.py --data DIR [--bundle BUNDLE] [--um-per-px X] --out figures.json [--table pictures.json]

DIR is the folder that holds im and xyc (ALL-IDB1) or img (ALL-IDB2), as its owners give it out. Resolution tells the
label in ALL-IDB1: figures are also given within each size of picture, and with all pictures made as coarse as the
coarsest. The sets name no patient, so the intervals, over pictures, are too narrow.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from leukoscope._version import __version__
from leukoscope.data.caveats import caveats, resolution_leak
from leukoscope.data.readers import read_dataset
from leukoscope.files import write_json
from leukoscope.inference.classifier import load
from leukoscope.machine import describe_machine
from leukoscope.studies.detection import REACH_UM, as_row, common_scale, score_pictures
from leukoscope.studies.detection_report import by_resolution, detection_figures, label_figures


def measure(data: Path, bundle: Path | None, um_per_px: float | None, reach_um: float) -> tuple[dict[str, Any], Any]:
    """All figures, and the pictures' scores as they are and at one scale."""
    manifest = read_dataset(data, reader="allidb")
    classifier = load(bundle, threads=1)
    leak = resolution_leak(manifest)
    plain = score_pictures(classifier, manifest, um_per_px=um_per_px, reach_um=reach_um)
    target = common_scale(plain)
    # Where one scale is given for all pictures, they have it already.
    if target is None or um_per_px is not None:
        even = []
    else:
        even = score_pictures(classifier, manifest, target=target, reach_um=reach_um)
    figures: dict[str, Any] = {
        "version": __version__,
        "machine": describe_machine(),
        "data": manifest.name,
        "fingerprint": manifest.fingerprint(),
        "model": classifier.bundle.facts.name,
        "reach_um": reach_um,
        "notes": [*caveats(manifest), *([] if leak is None else [leak.sentence()])],
        "as_it_is": {"detection": detection_figures(plain), "label": label_figures(plain)},
        "by_resolution": by_resolution(plain),
        "one_scale": None,
    }
    if even:
        parts = {"detection": detection_figures(even), "label": label_figures(even)}
        figures["one_scale"] = {"um_per_px": round(target or 0, 4), **parts}
    return figures, {"as_it_is": [as_row(s) for s in plain], "one_scale": [as_row(s) for s in even]}


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--um-per-px", type=float)
    parser.add_argument("--reach-um", type=float, default=REACH_UM)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--table", type=Path)
    args = parser.parse_args()
    figures, table = measure(args.data, args.bundle, args.um_per_px, args.reach_um)
    write_json(args.out, figures)
    if args.table:
        write_json(args.table, table)
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
