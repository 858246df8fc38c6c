"""The report of a case laid out on pages, without anything that changes from one time to the next."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle, getSampleStyleSheet
from reportlab.lib.units import mm
from reportlab.platypus import Image, Paragraph, SimpleDocTemplate, Spacer, Table

from leukoscope.text import RESEARCH_USE


def laid_out(
    title: str, lines: Sequence[tuple[str, str]], cells: Sequence[tuple[str | None, str, str]], foot: str
) -> bytes:
    """See `answers.document`."""
    styles = getSampleStyleSheet()
    small = ParagraphStyle("small", parent=styles["BodyText"], fontSize=8.5, leading=11)
    bold = ParagraphStyle("bold", parent=small, fontName="Helvetica-Bold")
    story: list[Any] = [
        Paragraph(title, styles["Title"]),
        Paragraph(f"<b>{RESEARCH_USE}</b>", small),
        Spacer(1, 4 * mm),
    ]
    rows = [[Paragraph(_safe(head), bold), Paragraph(_safe(words), small)] for head, words in lines]
    story += [
        Table(rows, colWidths=[42 * mm, 128 * mm], style=[("VALIGN", (0, 0), (-1, -1), "TOP")]),
        Spacer(1, 5 * mm),
    ]
    if cells:
        pictures = [_pictured(*each, small) for each in cells]
        story.append(Paragraph("The cells of highest probability by the model, and what they were called", bold))
        strips = [pictures[start : start + 5] for start in range(0, len(pictures), 5)]
        story.append(Table(strips, colWidths=[34 * mm] * len(strips[0])))
    file = BytesIO()
    document = SimpleDocTemplate(
        file, pagesize=A4, invariant=1, title=title, author="Leukoscope", leftMargin=20 * mm, rightMargin=20 * mm,
        topMargin=18 * mm, bottomMargin=20 * mm,
    )  # fmt: skip

    def footer(canvas: Any, page: Any) -> None:
        canvas.saveState()
        canvas.setFont("Helvetica", 7.5)
        canvas.drawString(20 * mm, 12 * mm, f"{RESEARCH_USE}  {foot}")
        canvas.drawRightString(190 * mm, 12 * mm, f"page {page.page}")
        canvas.restoreState()

    document.build(story, onFirstPage=footer, onLaterPages=footer)
    return file.getvalue()


def _pictured(path: str | None, label: str, model: str, style: ParagraphStyle) -> list[Any]:
    words = Paragraph(f"{_safe(label)}<br/>{_safe(model)}", style)
    if path is None:
        return [Spacer(30 * mm, 30 * mm), words]
    return [Image(BytesIO(Path(path).read_bytes()), 30 * mm, 30 * mm), words]


def _safe(text: str) -> str:
    """Text as the paragraphs of a PDF take it: no markup, only signs that its built-in fonts have."""
    shown = text.encode("cp1252", "replace").decode("cp1252")
    return shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
