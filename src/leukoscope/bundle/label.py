"""What a graph says of itself, for whoever has it without its bundle: name, preparation, that it is no answer alone.

The label is metadata of the ONNX file, which any runtime shows. `bundle.json` holds the graph's SHA-256, so the graph
cannot hold that of `bundle.json`; instead its preparation is compared with the bundle's before it is run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from leukoscope.cells.frame import Preparation

PREPARATION: Final = "leukoscope.preparation"
_METADATA: Final = 14  # `metadata_props` of an onnx.ModelProto; further ones may follow at the end of the file
_NOTICE: Final = (
    "The logit is no answer by itself: the limits of the gate in bundle.json come first (specification: "
    "docs/bundle.md). Research use only: decision support, never a diagnosis."
)


def labelled(graph: bytes, *, name: str, version: str, preparation: Preparation, input_size: int) -> bytes:
    """An ONNX file with its label; one that has a label already stays as it is.

    Args:
        graph: from `leukoscope.bundle.export.graph_bytes`.
        name: of the bundle that it was made for.
        version: of the leukoscope that made it.
        preparation: of the frames that it takes.
        input_size: pixels to which it resizes them.
    """
    if f"{PREPARATION}".encode() in graph:
        return graph
    entries = {
        "leukoscope.name": name,
        "leukoscope.version": version,
        PREPARATION: preparation.model_dump_json(),
        "leukoscope.input_size": str(input_size),
        "leukoscope.notice": _NOTICE,
    }
    return graph + b"".join(
        _message(_METADATA, _message(1, key.encode()) + _message(2, value.encode())) for key, value in entries.items()
    )


def told_otherwise(label: Mapping[str, Any], preparation: Preparation) -> bool:
    """Whether a graph's label tells another preparation than its bundle; a graph without one tells none."""
    return PREPARATION in label and Preparation.model_validate_json(label[PREPARATION]) != preparation


def _message(field: int, content: bytes) -> bytes:
    """A field of bytes of a protocol buffer."""
    size, length = bytearray(), len(content)
    while length > 127:
        size.append(length & 127 | 128)
        length >>= 7
    return bytes([field << 3 | 2, *size, length]) + content
