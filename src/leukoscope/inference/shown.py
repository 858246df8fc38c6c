"""An answer in a notebook: the cell, its heat map and the decision, as HTML that stands alone."""

from __future__ import annotations

from base64 import b64encode
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leukoscope.inference.answer import Answer
from leukoscope.inference.overlay import encode
from leukoscope.text import RESEARCH_USE, decodable


def html_of(answer: Answer) -> str:
    """The answer as a piece of HTML; pictures only where the network was asked."""
    told = "" if answer.probability is None else f", probability of blast {answer.probability:.3f}"
    why = answer.error or answer.reason
    lines = [f"<b>{escape(answer.decision)}</b>{told}", escape(decodable(answer.name))]
    lines += [escape(why)] if why else []
    lines.append(f"<small>{escape(RESEARCH_USE)}</small>")
    pictures = ""
    if answer.frame is not None and answer.heatmap is not None:
        pictures = "".join(
            _image(each, word) for each, word in ((answer.frame, "cell"), (answer.overlay(), "heat map"))
        )
    return f"<div>{pictures}<p>{'<br>'.join(lines)}</p></div>"


def _image(picture: NDArray[np.uint8], word: str) -> str:
    data = b64encode(encode(picture, Path("a.png"))).decode()
    return f'<img alt="{word}" width="160" src="data:image/png;base64,{data}">'
