"""Labels and notes that come back into the app: what is taken, what is told, and what is never replaced in silence."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import expect

from app_page import answers, exported, in_spanish, sees
from leukoscope.app.site import PAGES

Opener = Callable[..., Any]
ONE, TWO, FIELD, ELSEWHERE = ("1" * 64, "2" * 64, "f" * 64, "e" * 64)
#: What a session holds: two cells on black, one of them given twice, and three cells of a field.
RECORDS = [
    {"id": 1, "sha256": ONE, "place": None, "label": None, "note": "", "bundle": "d", "answer": {"probability": 0.5}},
    {"id": 2, "sha256": TWO, "place": None, "label": "blast", "note": "mine", "bundle": "d", "answer": None},
    {"id": 3, "sha256": ONE, "place": None, "label": None, "note": "", "bundle": "d", "answer": {"probability": 0.5}},
    {"id": 4, "sha256": FIELD, "place": [0, 0, 40, 40], "label": None, "note": "", "bundle": "d",
     "answer": {"probability": 0.25}},
    {"id": 5, "sha256": FIELD, "place": [100, 0, 40, 40], "label": None, "note": "", "bundle": "d",
     "answer": {"probability": None}},
    {"id": 6, "sha256": FIELD, "place": [106, 4, 40, 40], "label": None, "note": "", "bundle": "d",
     "answer": {"probability": 0.75}},
]  # fmt: skip


def session(*cells: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"format": "leukoscope-app-session", "format_version": 1, "cells": list(cells)} | more


def review(*cells: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"format": "leukoscope-review", "version": 1, "bundle_digest": "d", "cells": list(cells)} | more


def in_node(given: list[Any]) -> list[dict[str, Any]]:
    """What the page's own module makes of files, each beside RECORDS: numbers of records, or the fault's words."""
    script = f"""
      const {{ compared, read }} = await import("file://{PAGES / "labels.mjs"}"), found = [];
      const [texts, records] = JSON.parse(await new Response(process.stdin).text());
      for (const text of texts)
        try {{
          const {{ fresh, same, left, conflicts }} = compared(await read(new Blob([text])), records);
          const each = ({{ record, label, note }}) => [record.id, label, note];
          found.push({{ fresh: fresh.map(each), same, left, conflicts: conflicts.map(each) }});
        }} catch (error) {{ found.push({{ fault: error.message }}); }}
      console.log(JSON.stringify(found));"""
    texts = [each if isinstance(each, str) else json.dumps(each) for each in given]
    done = subprocess.run(
        ["node", "--input-type=module", "-e", script], input=json.dumps([texts, RECORDS]), capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    answer: list[dict[str, Any]] = json.loads(done.stdout)
    return answer


def test_a_label_finds_its_cell_or_is_left() -> None:
    blast, unsure = {"label": "blast"}, {"path": "a.png", "label": "unsure"}
    cases: list[tuple[dict[str, Any], dict[str, Any]]] = [
        # The same picture, which was given twice.
        (session({"sha256": ONE, **blast}), {"fresh": [[1, "blast", None], [3, "blast", None]]}),
        (session({"sha256": ONE, "label": None, "note": "a\r\nb"}), {"fresh": [[1, None, "a\nb"], [3, None, "a\nb"]]}),
        (session({"sha256": TWO, **blast, "note": "mine"}), {"same": 1}),
        (session({"sha256": TWO, "label": "normal"}), {"conflicts": [[2, "normal", None]]}),
        (session({"sha256": TWO, "label": "blast", "note": "theirs"}), {"conflicts": [[2, None, "theirs"]]}),
        (session({"sha256": ELSEWHERE, **blast}, {"sha256": None, **blast}, {"sha256": ONE}), {"left": 2}),
        # The file says two things of one cell: the first is taken, the second told.
        (session({"sha256": FIELD, "place": [1, 1, 40, 40], **blast}, {"sha256": FIELD, "place": [0, 0, 40, 40],
         "label": "normal"}), {"fresh": [[4, "blast", None]], "conflicts": [[4, "normal", None]]}),
        (session({"sha256": FIELD, "place": [103, 2, 40, 40], **blast}), {"left": 1}),  # two lie there
        (session({"sha256": FIELD, "place": None, **blast}), {"left": 1}),
        # A review: by number where the same bundle gave the same answer; what is unsure there is "other" here.
        (review({"sha256": ONE, **unsure}), {"fresh": [[1, "other", None], [3, "other", None]]}),
        (review({"path": "a.png", "sha256": TWO, "label": "blast", "note": "blast"}), {"same": 1}),
        (review({"sha256": FIELD, "cell": 3, "probability": 0.75, **blast}), {"fresh": [[6, "blast", None]]}),
        (review({"sha256": FIELD, "cell": 3, "probability": 0.7501, **blast}), {"left": 1}),
        (review({"sha256": FIELD, "cell": 2, "probability": None, **blast}), {"left": 1}),
        (review({"sha256": FIELD, "cell": 9, "probability": 0.75, **blast}), {"left": 1}),
        (review({"sha256": FIELD, "cell": 3, "probability": 0.75, **blast}, bundle_digest="another"), {"left": 1}),
    ]  # fmt: skip
    nothing = {"fresh": [], "same": 0, "left": 0, "conflicts": []}
    for (given, right), found in zip(cases, in_node([given for given, _ in cases]), strict=True):
        assert found == nothing | right, given


def test_what_is_no_such_file_is_told_and_nothing_is_taken() -> None:
    bad: list[tuple[Any, str]] = [
        ("", "no session of this app and no review"), ("{", "damaged or of another kind"), ("null", "no session that"),
        ("[1]", "no session that"), ({"format": "leukoscope-experiment"}, "no session that this app exported"),
        (session(format_version=2), "has version 2"), (review(version=3), "has version 3"),
        (session() | {"cells": "all"}, "at cells)"), (session({"sha256": ONE}, "x"), "at cells 2: object"),  # type: ignore[arg-type]
        (session({"sha256": "../../etc"}), "at cells 1: sha256"), (session({"place": [1, 2, 3]}), "at cells 1: place"),
        (session({"sha256": ONE, "label": "constructor"}), "at cells 1: label"),
        (session({"sha256": ONE, "note": ["a"]}), "at cells 1: note"), (review({"cell": "1"}), "at cells 1: cell"),
    ]  # fmt: skip
    for (given, why), found in zip(bad, in_node([given for given, _ in bad]), strict=True):
        assert why in found["fault"], given


def test_labels_come_back_into_another_browser(site: Path, opened: Opener, cells: list[Path], tmp_path: Path) -> None:
    first = opened(site)
    answers(first, cells)
    first.keyboard.press("b")
    sees(first, "#cell .name", "cell-1.png")
    first.keyboard.press("n")
    sees(first, "#cell .name", "cell-2.png")
    first.fill("textarea", "beside the $& edge")
    (tmp_path / "session.json").write_text(json.dumps(exported(first)), encoding="utf-8")

    page = opened(site)  # a browser of its own: nothing of the first is there
    answers(page, cells[1:])
    page.keyboard.press("o")  # the second cell is another one here
    sees(page, "#cell .name", "cell-2.png")
    (tmp_path / "other.json").write_text("{", encoding="utf-8")
    page.set_input_files("#labels-file", str(tmp_path / "other.json"))
    told = sees(page, "#back-said", "damaged or of another kind")
    page.click("#language")
    why = in_spanish(told.removeprefix("Nothing was taken: ").removesuffix("."))
    sees(page, "#back-said", f"No se ha tomado nada: {why}.")
    page.click("#language")
    page.set_input_files("#labels-file", str(tmp_path / "session.json"))
    sees(page, "#back-said", "session.json: 0 labels and 1 notes taken; 0 cells say the same as here; 1 are not in")
    expect(page.locator("textarea")).to_have_value("beside the $& edge")
    sees(page, "#back-said", "1 cells say something else here, and were left as they are")
    sees(page, "#conflicts", "cell-1.png: here “Other”, in the file “Normal”")
    assert [each["label"] for each in exported(page)["cells"]] == ["other", None]
    page.click("#keep-mine")
    page.wait_for_selector("#back", state="hidden")
    page.set_input_files("#labels-file", str(tmp_path / "session.json"))
    sees(page, "#conflicts", "cell-1.png")
    page.click("#take-theirs")
    sees(page, "#back-said", "1 cells now say what the file says.")
    page.wait_for_selector("html[data-saving='0']", state="attached")
    page.reload()
    page.wait_for_selector("html[data-state=ready]", state="attached")
    assert [(each["label"], each["note"]) for each in exported(page)["cells"]] == [
        ("normal", ""), (None, "beside the $& edge")
    ]  # fmt: skip
