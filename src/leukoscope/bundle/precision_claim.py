"""What the model card of an 8-bit bundle says about that."""

from __future__ import annotations

from leukoscope.bundle.schema import BundleFacts
from leukoscope.data.whose import listed, whose


def precision_claim(facts: BundleFacts) -> list[str]:
    """Heading and text of an 8-bit bundle; nothing for others."""
    made = facts.quantised
    if made is None:
        return []
    files = ", ".join(f"{name} `{digest[:16]}`" for name, digest in made.files.items())
    return [
        "## 8-bit weights",
        (
            f"This is the 8-bit form of {made.parent} ({files}). The weights of {made.convolutions} of its "
            "convolutions are kept in 8 bits; slope and offset of its logit were fitted to the float bundle's on "
            f"{made.pictures} cells of {made.data} from {whose(made.groups)} that the network was trained "
            f"on: {listed(made.groups)}. Threshold, "
            "probabilities, band, gate and subject rule are those of the float bundle and were not fitted again. The "
            "float bundle's figures are not repeated here: they were measured with another graph."
        ),
    ]
