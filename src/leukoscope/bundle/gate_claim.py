"""What a bundle's gate promises and what it does not, in sentences for people."""

from __future__ import annotations

from leukoscope.bundle.gate_facts import GateFacts
from leukoscope.data.whose import whose

NOT_CHECKED = "Picture quality is not checked: every readable picture gets an answer, whatever it shows."


def gate_claim(gate: GateFacts | None) -> str:
    """Which pictures are turned down, and on what that was fitted.

    >>> gate_claim(None) == NOT_CHECKED
    True
    """
    if gate is None:
        return NOT_CHECKED
    where = f"{gate.pictures:,} pictures of {whose(gate.groups)} of {gate.data}"
    looks = (
        f"The network's embedding is not compared: {gate.no_embedding}."
        if gate.embedding is None
        else "What the network sees is compared with them too"
        + (
            f", its limit set on those of {whose(gate.groups_held_out)} that no weight was trained on."
            if gate.groups_held_out
            else "; no group was held out for its limit, so it may turn down more."
        )
    )
    return (
        f"Pictures unlike those of the fit are referred, with the reason: limits of size, outline, sharpness, exposure "
        f"and stain are fitted on {where}. {looks} {100 * gate.turned_down:.1f} % of those are turned "
        f"down; the aim for new patients is at most {100 * gate.level:.3g} %."
    )
