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
        "unreadable": "No answer: the picture could not be read.",
    }
)

LANGUAGES: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType({"en": ENGLISH})
