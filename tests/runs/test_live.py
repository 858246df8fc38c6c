"""The page that shows how a run learns: from the log of its epochs, loaded anew while it goes on."""

from __future__ import annotations

import json
import re
from pathlib import Path

from leukoscope.runs.live import LivePage


def log(folder: Path, *aucs: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {"epoch": at, "loss": 0.5, "learning_rate": 0.1, "val_loss": 0.6, "val_auc": auc, "seconds": 2.0}
        for at, auc in enumerate(aucs, 1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_it_asks_to_be_loaded_anew_until_all_is_finished(tmp_path: Path) -> None:
    live = LivePage(tmp_path, {"one": tmp_path / "one", "two": tmp_path / "two"}, "Two runs")
    log(tmp_path / "one", 0.71, 0.8125)
    live.draw()
    page = (tmp_path / "curves.html").read_text()
    assert '<meta http-equiv="refresh" content="5">' in page
    assert "0.8125" in page
    assert re.search(r"two</th><td colspan=\"\d\">not begun", page)
    assert page.count("<svg") == 2  # AUC and loss
    assert not re.search(r'(?:src|href)="(?!#|data:)', page)  # nothing is asked of elsewhere
    log(tmp_path / "two", 0.9)
    with (tmp_path / "two" / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2, "lo')  # damaged: as if it were not there
    live.draw(finished=True)
    page = (tmp_path / "curves.html").read_text()
    assert 'http-equiv="refresh"' not in page
    assert "Finished." in page
    assert "not begun" in page


def test_members_of_an_ensemble_have_curves_of_their_own(tmp_path: Path) -> None:
    log(tmp_path / "run" / "members" / "0", 0.6)
    log(tmp_path / "run" / "members" / "1", 0.7)
    LivePage(tmp_path, {"run": tmp_path / "run"}, "An ensemble").draw()
    page = (tmp_path / "curves.html").read_text()
    assert "run, member 1" in page
    assert "run, member 2" in page


def test_drawing_takes_a_small_part_of_the_time(tmp_path: Path, monkeypatch) -> None:
    now = [0.0]

    def slow(*_: object, **__: object) -> str:
        now[0] += 1.0
        return "page"

    monkeypatch.setattr("leukoscope.runs.live.time.monotonic", lambda: now[0])
    monkeypatch.setattr("leukoscope.runs.live.learning_page", slow)
    live = LivePage(tmp_path, {}, "x")
    for _ in range(100):
        now[0] += 0.5  # an epoch
        live.draw()
    drawn = now[0] - 50
    assert 3 <= drawn <= 50 / 10 + 1
