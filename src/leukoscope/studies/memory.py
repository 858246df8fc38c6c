"""Peak memory of running a bundle, each in a fresh process that loads only ONNX Runtime and the graph."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from leukoscope.errors import BundleError
from leukoscope.studies.cost import Subject


def peak_memory(subject: Subject, batch: int, *, threads: int = 1) -> float:
    """Peak resident memory in MiB of a process that loads the graph and answers ``batch`` frames once, on one thread.

    It includes Python, NumPy and ONNX Runtime: about 60 MiB whatever the network.

    Raises:
        BundleError: the process failed.
    """
    size = subject.bundle.facts.preparation.frame_size
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "model.onnx"
        graph.write_bytes(subject.bundle.graph)
        command = [sys.executable, "-c", _SCRIPT, str(graph), str(size), str(batch), str(threads)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        why = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
        raise BundleError(f"{subject.name} cannot be run in a process of its own ({why})")
    return float(json.loads(done.stdout)["mib"])


def peaks(subject: Subject, batches: Sequence[int]) -> dict[int, float]:
    """Peak memory by batch."""
    return {batch: peak_memory(subject, batch) for batch in batches}


_SCRIPT = """
import json, resource, sys
import numpy as np, onnxruntime as ort
graph, size, batch, threads = sys.argv[1], *map(int, sys.argv[2:])
options = ort.SessionOptions()
options.intra_op_num_threads = threads
options.inter_op_num_threads = 1
session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
session.run(None, {"frames": np.zeros((batch, size, size, 3), np.uint8)})
try:  # what getrusage tells on Linux also holds the parent, whose memory the child had until it became Python
    lines = open("/proc/self/status").read().splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**10
except (OSError, StopIteration):
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
print(json.dumps({"mib": peak}))
"""
