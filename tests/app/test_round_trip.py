"""Labels from the app to the workbench and back, each in Chromium: labelled there, signed here, taken back there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import expect

from app_page import answers, exported, sees
from browser_client import Visitor, served
from leukoscope.datasets.synthetic import render_cell

PASSWORD = "a long password"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_what_was_labelled_in_the_app_is_signed_in_the_workbench_and_returns(
    browser: Any, site: Path, tmp_path: Path
) -> None:
    labels = ["blast", "normal", "blast"]
    paths = []
    for seed, label in enumerate(labels):
        paths.append(tmp_path / f"cell-{seed}.png")
        Image.fromarray(render_cell(seed, label)).save(paths[-1])  # type: ignore[arg-type]
    Image.fromarray(render_cell(9, "normal")).save(tmp_path / "elsewhere.png")
    with served(tmp_path / "workbench", "--app", str(site)) as (port, said):
        home = f"http://127.0.0.1:{port}/"
        anna = Visitor(browser, home, PASSWORD)
        page = anna.page
        page.goto(f"{home}#/first/{said[-1].rsplit('/', 1)[1].strip()}")
        page.fill("[name=login]", "anna")
        page.fill("[name=name]", "Anna")
        page.fill("[name=password]", PASSWORD)
        page.click("text=Make the account")
        page.wait_for_selector("text=New case")
        case = anna.new_case("A 1", "P 1", paths)

        pocket = anna.context.new_page()
        pocket.goto(f"{home}app/")
        pocket.wait_for_selector("html[data-state=ready]", state="attached")
        answers(pocket, [*paths, tmp_path / "elsewhere.png"])
        pocket.locator(".tile").first.click()
        pocket.keyboard.type("bnbn")
        expect(pocket.locator(".tile", has_text="·")).to_have_count(4)
        pocket.wait_for_selector("html[data-saving='0']", state="attached")
        with pocket.expect_download() as waiting:
            pocket.click("#export")
        waiting.value.save_as(tmp_path / "session.json")

        anna.open(case)
        (tmp_path / "other.json").write_text("no session", encoding="utf-8")
        page.click("text=From the app")
        page.set_input_files("dialog input[type=file]", str(tmp_path / "other.json"))
        page.click("text=Take the labels")
        sees(page, "dialog [role=alert]", "no session of the app")
        for _ in range(2):  # the same file again changes nothing
            page.set_input_files("dialog input[type=file]", str(tmp_path / "session.json"))
            page.click("text=Take the labels")
            page.wait_for_selector("text=3 labels taken; of 1 pictures some were left")
            page.wait_for_selector("dialog", state="detached")
            acts = anna.api(f"/cases/{case}/readings")["acts"]
            assert sorted(act["label"] for act in acts) == sorted(labels)
            page.wait_for_selector(".grid:focus")
            page.click("text=From the app")
        page.keyboard.press("Escape")
        anna.finish()
        anna.sign()
        found = anna.api(f"/cases/{case}/report.json")
        assert found["content"]["after"]["counts"] == {"blast": 2, "normal": 1}

        # And back: what was signed comes into an app that holds the pictures, and was never labelled.
        page.click("nav >> text=Models")
        page.click("text=Export what was signed")
        link = page.wait_for_selector("a >> text=review.json", timeout=120_000)
        review = page.request.get(f"{home}{link.get_attribute('href')[2:]}").body()
        (tmp_path / "review.json").write_bytes(review)
        context = browser.new_context()
        pocket = context.new_page()
        pocket.goto(f"{home}app/")
        pocket.wait_for_selector("html[data-state=ready]", state="attached")
        answers(pocket, [tmp_path / "elsewhere.png", *paths])
        pocket.locator(".tile").nth(1).click()
        pocket.keyboard.press("n")  # this one was signed as a blast
        sees(pocket, "#cell .name", "cell-1.png")
        pocket.set_input_files("#labels-file", str(tmp_path / "review.json"))
        sees(pocket, "#back-said", "review.json: 2 labels and 0 notes taken; 0 cells say the same as here; 0 are not")
        sees(pocket, "#conflicts", "cell-0.png: here “Normal”, in the file “Blast”")
        assert [each["label"] for each in exported(pocket)["cells"]] == [None, "normal", "normal", "blast"]
        context.close()
        assert anna.faults == []
        anna.context.close()
