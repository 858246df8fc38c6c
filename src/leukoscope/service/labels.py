"""What a reader can call a cell, and what that means for the statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Label:
    """One lane of the workbench.

    Attributes:
        name: as stored.
        words: as shown.
        key: of the keyboard, which labels and goes on to the next cell.
        counts: whether the cell is one of the white cells of which shares are counted.
        blast: whether it is a blast for the statement.
        offered: whether it is a lane now; one that was read stays known for ever.
    """

    name: str
    words: str
    key: str
    counts: bool = True
    blast: bool = False
    offered: bool = True

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        return asdict(self)


#: Where the lanes of a laboratory are kept, and the act that changes them.
LANES: Final = "lanes"
LANES_CHANGED: Final = "lanes.changed"

DEFAULT_LABELS: Final = (
    Label("blast", "Blast", "b", blast=True),
    Label("normal", "Normal", "n"),
    Label("neutrophil", "Neutrophil", "1"),
    Label("lymphocyte", "Lymphocyte", "2"),
    Label("monocyte", "Monocyte", "3"),
    Label("eosinophil", "Eosinophil", "4"),
    Label("basophil", "Basophil", "5"),
    Label("immature granulocyte", "Immature granulocyte", "6"),
    Label("erythroblast", "Erythroblast", "7", counts=False),
    Label("smudge", "Smudge cell", "8", counts=False),
    Label("artefact", "Artefact", "9", counts=False),
    Label("not classed", "Not classed", "0", counts=False),
)

#: What the other keys of the review page do. No key may stand here and at a label.
COMMAND_KEYS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "u": "undo the last reading, again and again",
        "ArrowRight": "next cell",
        "ArrowLeft": "previous cell",
        "ArrowDown": "the cell below",
        "ArrowUp": "the cell above",
        "j": "next cell that was not read",
        "x": "add the cell to the chosen ones, or take it out",
        "a": "choose all cells on the screen",
        "Escape": "choose none; close what is open; from a field back to the cells",
        "Home": "the first cell; in a field: the whole of it",
        "Enter": "take the suggestion that is shown",
        "h": "heat map on or off",
        "p": "place of the cell in its field, and back; there arrows move, + and - zoom",
        "o": "neighbours of the cell",
        "s": "sort in another order",
        "+": "larger cells",
        "-": "smaller cells",
        "?": "this list",
    }
)


def label_table(labels: Sequence[Label] = DEFAULT_LABELS) -> Mapping[str, Label]:
    """The labels by name.

    >>> label_table()["smudge"].counts
    False
    """
    return MappingProxyType({each.name: each for each in labels})
