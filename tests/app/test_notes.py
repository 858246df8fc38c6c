"""What a reader types and where they are stays while the page around it changes: other pictures, keys, languages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from app_page import answers, exported, sees

Opener = Callable[..., Any]
#: The storage gives no frame until `open_gate()`; how often it was asked is in `asked_for`.
GATE = """async () => {
  const { Session } = await import("/session.mjs"), given = Session.prototype.pixels;
  const gate = new Promise((resolve) => { globalThis.open_gate = resolve; });
  globalThis.asked_for = 0;
  Session.prototype.pixels = async function (id) {
    globalThis.asked_for++;
    await gate;
    return given.call(this, id);
  };
}"""
#: Until the page has done what is already in its line: a redraw that was asked for has been drawn.
SETTLED = "() => new Promise((done) => setTimeout(() => requestAnimationFrame(() => requestAnimationFrame(done)), 100))"


def reloaded(page: Any) -> None:
    page.wait_for_selector("html[data-saving='0']", state="attached")
    page.reload()
    page.wait_for_selector("html[data-state=ready]", state="attached")


def test_a_note_outlives_a_redraw_that_was_asked_for_before_it(site: Path, opened: Opener, cells: list[Path]) -> None:
    page = opened(site)
    answers(page, cells[:1])
    expect(page.locator("#cell canvas")).to_have_attribute("width", "340")
    page.evaluate(GATE)
    page.keyboard.press("b")  # the redraw of the label waits for the frame, where it asks for it
    page.locator("textarea").press_sequentially("smud")
    page.evaluate("open_gate()")
    page.evaluate(SETTLED)
    expect(page.locator("textarea")).to_be_focused()
    page.keyboard.type("ged")
    expect(page.locator("textarea")).to_have_value("smudged")
    expect(page.locator("[data-label=blast][aria-pressed=true]")).to_have_count(1)
    reloaded(page)  # stored with each letter: the note was never left
    expect(page.locator("textarea")).to_have_value("smudged")
    assert exported(page)["cells"][0]["label"] == "blast"


@pytest.mark.parametrize("what", ["picture", "language", "heat"])
def test_nothing_that_happens_interrupts_a_word(site: Path, opened: Opener, cells: list[Path], what: str) -> None:
    page = opened(site)
    answers(page, cells[:1])
    page.locator("textarea").press_sequentially("beside the fea")
    page.evaluate("""() => {
      document.querySelector("textarea").setSelectionRange(3, 3);
      globalThis.typed = document.querySelector("textarea");
    }""")
    if what == "picture":
        page.evaluate(
            """async (content) => {
              const data = new DataTransfer(), bytes = Uint8Array.from(content);
              data.items.add(new File([bytes], "other.png", { type: "image/png" }));
              dispatchEvent(new ClipboardEvent("paste", { clipboardData: data }));
            }""",
            list(cells[1].read_bytes()),
        )
        expect(page.locator(".tile")).to_have_count(2, timeout=60_000)
    else:
        page.evaluate(f"document.getElementById('{what}').click()")
    page.evaluate(SETTLED)
    assert page.evaluate("document.activeElement === globalThis.typed && typed.selectionStart === 3")
    expect(page.locator("textarea")).to_have_value("beside the fea")
    expect(page.locator(".tile").first).to_have_attribute("aria-selected", "true")  # the reader is where they were
    page.keyboard.type("ide")
    reloaded(page)
    page.locator(".tile").first.click()
    expect(page.locator("textarea")).to_have_value("besideide the fea")


def test_the_first_of_several_is_shown_and_later_ones_take_no_cell_away(
    site: Path, opened: Opener, cells: list[Path]
) -> None:
    page = opened(site)
    # The worker is asked for one after the other: the second waits until the test lets it go.
    page.evaluate("""() => {
      const { postMessage } = Worker.prototype, held = [];
      globalThis.let_go = () => { held.shift()(); };
      Worker.prototype.postMessage = function (...given) { held.push(() => postMessage.apply(this, given)); };
      globalThis.holds = held;
    }""")
    page.set_input_files("#files", [str(path) for path in cells])
    for count in (1, 2, 3):
        page.wait_for_function("holds.length === 1", timeout=60_000)
        page.evaluate("let_go()")
        expect(page.locator(".tile")).to_have_count(count, timeout=60_000)
        expect(page.locator(".tile").first).to_have_attribute("aria-selected", "true")
        sees(page, "#cell .name", "cell-0.png")
    sees(page, "#state", "3 pictures taken in")
    page.keyboard.press("n")  # and the reader goes on from there
    sees(page, "#cell .name", "cell-1.png")
    page.locator("[data-label=blast]").focus()
    page.keyboard.press("Enter")
    sees(page, "#cell .name", "cell-2.png")
    expect(page.locator("[data-label=blast]")).to_be_focused()  # the key under the hand stays there
    page.wait_for_selector("html[data-saving='0']", state="attached")
    assert [each["label"] for each in exported(page)["cells"]] == ["normal", "blast", None]


def test_two_windows_keep_the_cells_of_both(site: Path, opened: Opener, cells: list[Path]) -> None:
    page = opened(site)
    other = page.context.new_page()
    other.goto(page.home)
    other.wait_for_selector("html[data-state=ready]", state="attached")
    answers(page, cells[:1])
    answers(other, cells[1:2])
    reloaded(page)
    expect(page.locator(".tile")).to_have_count(2)
    assert [each["name"] for each in exported(page)["cells"]] == ["cell-0.png", "cell-1.png"]


def test_what_was_cleared_does_not_come_back(site: Path, opened: Opener, cells: list[Path]) -> None:
    page = opened(site)
    answers(page, cells[:1])
    page.once("dialog", lambda dialog: dialog.accept())
    page.evaluate("""() => {
      const note = document.querySelector("textarea");
      note.value = "a name";
      note.dispatchEvent(new Event("input", { bubbles: true }));
      document.getElementById("clear").click();
    }""")
    page.wait_for_selector("#work", state="hidden")
    answers(page, cells[1:2])  # written after what was removed
    reloaded(page)
    expect(page.locator(".tile")).to_have_count(1)
    assert [(each["name"], each["note"]) for each in exported(page)["cells"]] == [("cell-1.png", "")]
