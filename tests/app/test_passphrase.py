"""A passphrase over the app's storage: what lies there, who opens it, what changing or forgetting it does."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from app_page import answers, exported, sees
from leukoscope.app.site import PAGES
from leukoscope.cells.frame import frame_cell
from leukoscope.datasets.synthetic import render_cell

Opener = Callable[..., Any]
SECRET, OTHER, NOTE = "four words of mine", "another four words", "smudged, beside the feather edge"
#: All bytes and texts that lie in the database, whatever they are in; bytes as one letter each.
LIES = """async () => {
  const open = indexedDB.open("leukoscope-app"), found = [];
  const database = await new Promise((resolve) => { open.onsuccess = () => resolve(open.result); });
  const walk = async (value) => {
    if (value instanceof Blob) value = await value.arrayBuffer();
    if (value instanceof ArrayBuffer) value = new Uint8Array(value);
    if (ArrayBuffer.isView(value)) {
      const bytes = new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
      for (let i = 0; i < bytes.length; i += 30000) found.push(String.fromCharCode(...bytes.subarray(i, i + 30000)));
    } else if (value && typeof value === "object") for (const [name, inner] of Object.entries(value)) {
      found.push(`|${name}:`);
      await walk(inner);
    } else found.push(unescape(encodeURIComponent(value)));
  };
  for (const name of database.objectStoreNames) {
    const all = database.transaction(name).objectStore(name).getAll();
    await walk(await new Promise((resolve) => { all.onsuccess = () => resolve(all.result); }));
  }
  database.close();
  return btoa(found.join(""));
}"""


def lying(page: Any) -> bytes:
    return base64.b64decode(page.evaluate(LIES))


def in_clear(page: Any, frame: np.ndarray[Any, Any]) -> list[bool]:
    """Whether the note, the name, the answer, the small picture and the frame's pixels can be read in the database."""
    stored = lying(page)
    row = frame[170, 120:160].tobytes()  # through the middle of the cell
    assert len(set(row)) > 20
    return [sign in stored for sign in (NOTE.encode(), b"cell.png", b"logit", b"\x89PNG", row)]


def type_in(page: Any, *, old: str = "", new: str = "", again: str | None = None) -> None:
    if not page.locator("#guarding").is_visible():
        page.click("#guard summary")
    if old:
        page.fill("#old", old)
    page.fill("#new", new)
    page.fill("#again", new if again is None else again)


def labelled(page: Any, folder: Path) -> np.ndarray[Any, Any]:
    """Give a cell, a note and a label; its frame."""
    picture = render_cell(1, "blast")
    Image.fromarray(picture).save(folder / "cell.png")
    answers(page, [folder / "cell.png"])
    page.keyboard.press("b")
    page.fill("textarea", NOTE)
    page.locator("textarea").blur()
    page.wait_for_selector("html[data-saving='0']", state="attached")
    return frame_cell(picture, 340)


def reloaded(page: Any, state: str = "locked") -> None:
    page.reload()
    page.wait_for_selector(f"html[data-state={state}]", state="attached")


def test_nothing_lies_in_clear_and_only_the_passphrase_opens_it(site: Path, opened: Opener, tmp_path: Path) -> None:
    page = opened(site)
    frame = labelled(page, tmp_path)
    assert in_clear(page, frame) == [True] * 5
    type_in(page, new="too short")
    page.click("#guarding button")
    sees(page, "#guarded", "10 characters or more")
    type_in(page, new=SECRET, again=OTHER)
    page.click("#guarding button")
    sees(page, "#guarded", "differ")
    assert in_clear(page, frame) == [True] * 5
    type_in(page, new=SECRET)
    page.click("#guarding button")
    sees(page, "#guarded", "The passphrase is set")
    assert in_clear(page, frame) == [False] * 5
    labelled(page, tmp_path)  # what comes later is sealed, too
    assert in_clear(page, frame) == [False] * 5

    reloaded(page)
    page.wait_for_selector("#intake", state="hidden")
    expect(page.locator(".tile")).to_have_count(0)
    page.fill("#key", OTHER)
    page.keyboard.press("Enter")
    sees(page, "#state", "This is not the passphrase")
    sees(page, "#locked", "cannot be recovered")
    page.fill("#key", SECRET)
    page.keyboard.press("Enter")
    page.wait_for_selector("html[data-state=ready]", state="attached")
    expect(page.locator(".tile")).to_have_count(2)
    sees(page, "#cell h1", "")
    expect(page.locator("textarea")).to_have_value(NOTE)
    expect(page.locator("#cell canvas")).to_have_attribute("width", "340")
    shown = page.evaluate("""() => [...document.querySelector("#cell canvas").getContext("2d")
      .getImageData(120, 170, 40, 1).data].filter((_, i) => i % 4 < 3)""")
    page.keyboard.press("Escape")
    assert len(set(shown)) > 20  # the cell's pixels came back
    assert [each["label"] for each in exported(page)["cells"]] == ["blast", "blast"]


def test_it_is_changed_and_taken_away_by_who_knows_it(site: Path, opened: Opener, tmp_path: Path) -> None:
    page = opened(site)
    type_in_first(page)
    frame = labelled(page, tmp_path)
    type_in(page, old=OTHER, new="a third one of mine")
    page.click("#guarding button")
    sees(page, "#guarded", "This is not the passphrase")
    type_in(page, old=SECRET, new=OTHER)
    page.click("#guarding button")
    sees(page, "#guarded", "The passphrase is set")
    reloaded(page)
    page.fill("#key", SECRET)
    page.keyboard.press("Enter")
    sees(page, "#state", "This is not the passphrase")
    page.fill("#key", OTHER)
    page.keyboard.press("Enter")
    page.wait_for_selector("html[data-state=ready]", state="attached")
    assert in_clear(page, frame) == [False] * 5
    type_in(page, old=SECRET)
    page.click("#unguard")
    sees(page, "#guarded", "This is not the passphrase")
    type_in(page, old=OTHER)
    page.click("#unguard")
    sees(page, "#guarded", "The passphrase is removed")
    assert in_clear(page, frame) == [True] * 5
    reloaded(page, "ready")
    expect(page.locator("textarea")).to_have_value(NOTE)


def type_in_first(page: Any) -> None:
    type_in(page, new=SECRET)
    page.click("#guarding button")
    sees(page, "#guarded", "The passphrase is set")


def test_a_forgotten_one_goes_with_all_that_it_guards(site: Path, opened: Opener, tmp_path: Path) -> None:
    page = opened(site)
    type_in_first(page)
    labelled(page, tmp_path)
    reloaded(page)
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.click("#forgotten")
    assert b"sealed" in lying(page)
    page.once("dialog", lambda dialog: dialog.accept())
    page.click("#forgotten")
    page.wait_for_selector("html[data-state=ready]", state="attached")
    assert lying(page) == b""
    reloaded(page, "ready")
    labelled(page, tmp_path)  # and it works as a new one


def test_a_guard_that_was_broken_off_is_ended_when_it_is_opened(site: Path, opened: Opener, tmp_path: Path) -> None:
    page = opened(site)
    frame = labelled(page, tmp_path)
    # A value that is a function would be called by the driver at once: undefined is given back.
    page.evaluate(
        "() => { IDBObjectStore.prototype.getAllKeys = () => { throw new DOMException('gone', 'AbortError'); }; }"
    )
    type_in(page, new=SECRET)
    page.click("#guarding button")
    sees(page, "#guarded", "AbortError")
    assert in_clear(page, frame) == [True] * 5  # the lock is there, and nothing is lost
    reloaded(page)
    page.fill("#key", SECRET)
    page.keyboard.press("Enter")
    page.wait_for_selector("html[data-state=ready]", state="attached")
    assert in_clear(page, frame) == [False] * 5
    expect(page.locator("textarea")).to_have_value(NOTE)


def test_another_page_without_the_key_writes_nothing_in_clear(site: Path, opened: Opener, tmp_path: Path) -> None:
    page = opened(site)
    other = page.context.new_page()
    other.goto(page.home)
    other.wait_for_selector("html[data-state=ready]", state="attached")
    type_in_first(page)
    frame = labelled(other, tmp_path)
    sees(other, "#state", "cannot be stored")
    assert in_clear(page, frame) == [False] * 5


@pytest.mark.parametrize("word", ["localStorage", "sessionStorage"])
def test_the_key_is_kept_nowhere(word: str) -> None:
    for path in PAGES.glob("*.mjs"):
        if path.name != "app.mjs":
            assert word not in path.read_text(encoding="utf-8"), path.name
    assert (PAGES / "app.mjs").read_text(encoding="utf-8").count("Storage.setItem") == 1  # the language
