"""The sentences that `words` fills in, in one table per language. Only what stands in braces is filled in.

`n` and `b` are percentiles among normal and blast cells, `v` is the measured value, `only` is the word of that name
where both percentiles are below the middle. A translation needs every key of `ENGLISH`, with the same braces.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_THAN: Final = "than {only}{n} % of normal and {b} % of blast cells"

ENGLISH: Final[Mapping[str, str]] = MappingProxyType(
    {
        # One clause per measurement.
        "cell_diameter": f"the cell is larger {_THAN} (diameter {{v}} px)",
        "cell_roundness": f"its outline is rounder {_THAN} (roundness {{v}})",
        "cell_elongation": f"it is longer for its width {_THAN} (ratio {{v}})",
        "cell_solidity": f"its outline has fewer dents {_THAN} (solidity {{v}})",
        "cell_irregularity": f"its outline is less regular {_THAN} (irregularity {{v}})",
        "nucleus_area": f"its nucleus is larger {_THAN} (area {{v}} px)",
        "nucleus_share": f"its nucleus fills more of the cell {_THAN} (share {{v}})",
        "nucleus_roundness": f"its nucleus is rounder {_THAN} (roundness {{v}})",
        "nucleus_solidity": f"its nucleus has fewer dents {_THAN} (solidity {{v}})",
        "nucleus_irregularity": f"its nucleus is less regular {_THAN} (irregularity {{v}})",
        "chromatin_density": f"its chromatin stains darker {_THAN} (optical density {{v}})",
        "chromatin_entropy": f"its chromatin is more mixed {_THAN} (entropy {{v}} bit)",
        "chromatin_contrast": f"its chromatin is grainier {_THAN} (fine contrast {{v}} %)",
        "chromatin_clumping": f"its chromatin is more clumped {_THAN} (coarse contrast {{v}} %)",
        "nucleolus_candidates": f"it has more pale spots like nucleoli {_THAN} (count {{v}})",
        "cytoplasm_basophilia": f"its cytoplasm is bluer {_THAN} (basophilia {{v}})",
        "only": "only ",
        # Joining clauses.
        "comma": ", ",
        "and": " and ",
        # First sentence. A decision comes first; what speaks against it is granted, never hidden.
        "decision blast": "Decision blast",
        "decision normal": "Decision normal",
        "decision refer": "Referred to a person",
        "facts": "{decision}: {facts}.",
        "facts against": "{decision}, {facts}.",
        "no facts": "{decision}: no measured feature is clearly more usual among one kind of cell.",
        "although": "although {facts}",
        "usual blast": "{facts}, which is more usual among blast cells",
        "usual normal": "{facts}, which is more usual among normal cells",
        "usual none": "{facts}, which is unusual among both",
        "join": "; ",
        # Second sentence: where the heat map lies.
        "map parts": "{nucleus} % in the nucleus, {cytoplasm} % in the cytoplasm and {outside} % outside the cell",
        "map cell": "{cell} % in the cell and {outside} % outside it",
        "map both": "The heat map has its evidence for blast {blast}, and for normal {normal}; "
        "the cell covers {cover} % of the frame{notes}.",
        "map blast": "The heat map holds evidence for blast alone, {blast}; "
        "the cell covers {cover} % of the frame{notes}.",
        "map normal": "The heat map holds evidence for normal alone, {normal}; "
        "the cell covers {cover} % of the frame{notes}.",
        "map none": "The heat map holds no evidence.",
        "note against blast": ", although more of the map speaks for normal",
        "note against normal": ", although more of the map speaks for blast",
        "note outside": ", and most of what supports the decision lies outside the cell: read the map with care",
        # Why the gate turns a picture down; `limit` is where unusual begins.
        "turned down": "the picture is not fit to be judged: {reasons}",
        "turned down first": "No decision, {reason}.",
        "gate too small": "the cell is too small for the scale of the training cells "
        "({v} px across, usual from {limit})",
        "gate too large": "the cell is too large for the scale of the training cells "
        "({v} px across, usual up to {limit})",
        "gate ragged": "its outline is ragged, as where segmentation failed (solidity {v}, usual from {limit})",
        "gate cut straight": "the cell is cut off along a straight line "
        "(over {v} of its diameter, usual up to {limit})",
        "gate cut by the border": "the cell is cut off by the border of the picture "
        "(over {v} of its diameter, usual up to {limit})",
        "gate second object": "the picture shows more than one object "
        "(the second has {v} of the largest one's area, usual up to {limit})",
        "gate two bodies": "the outline holds more than one cell "
        "(a second disc of {v} of the radius fits in, usual up to {limit})",
        "gate blurred": "it is blurred (sharpness {v}, usual from {limit})",
        "gate noisy": "it is noisy or over-sharpened (sharpness {v}, usual up to {limit})",
        "gate flat": "it shows no structure (contrast {v} levels, usual from {limit})",
        "gate harsh": "its contrast is too high (contrast {v} levels, usual up to {limit})",
        "gate too dark": "it is too dark (grey level {v}, usual from {limit})",
        "gate too bright": "it is too bright (grey level {v}, usual up to {limit})",
        "gate clipped": "its bright parts are clipped (share {v}, usual up to {limit})",
        "gate no nucleus": "nothing in it stains as a nucleus (optical density {v}, usual from {limit})",
        "gate foreign stain": "its colours differ from the stain of the training cells "
        "(distance {v}, usual up to {limit})",
        "gate foreign look": "the network sees something unlike the training cells (distance {v}, usual up to {limit})",
        "gate unknown": "its {measure} cannot be measured",
        "unreadable": "No answer: the picture could not be read.",
    }
)

LANGUAGES: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType({"en": ENGLISH})
