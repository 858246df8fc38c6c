"""The table of answers: checks, and CSV there and back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leukoscope.errors import DataError, LeukoscopeError
from leukoscope.metrics.scores import Scores


def table(**changes: object) -> Scores:
    columns: dict[str, object] = {
        "path": ("a.png", "b.png"),
        "label": [0, 1],
        "probability": [0.2, 0.9],
        "logit": [-1.0, 2.0],
        "subject": ["1", None],
        "group": ["g", "h"],
    }
    return Scores(**{**columns, **changes})  # type: ignore[arg-type]


def test_columns_are_typed_and_cannot_be_changed() -> None:
    scores = table()
    assert (scores.label.dtype, scores.probability.dtype) == (np.int64, np.float64)
    assert scores.subject.tolist() == ["1", ""]
    with pytest.raises(ValueError, match="read-only"):
        scores.label[0] = 1


def test_the_callers_array_stays_writable_and_apart() -> None:
    mine = np.array([0.2, 0.9])
    scores = table(probability=mine)
    mine[0] = 0.7
    assert scores.probability[0] == 0.2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"path": (), "label": [], "probability": [], "logit": [], "subject": [], "group": []}, "no rows"),
        ({"label": [0, 2]}, r"label is neither 0 nor 1: 2.0 for picture 'b.png' \(row 2\)"),
        ({"label": [0, np.nan]}, "label is neither"),
        ({"label": [0.5, 1]}, "label is neither"),
        ({"probability": [0.2, np.nan]}, "probability is not in"),
        ({"probability": [-1e-9, 0.3]}, "probability is not in"),
        ({"probability": [0.2, 1.0000001]}, "probability is not in"),
        ({"logit": [np.inf, 0]}, "logit is not finite"),
        ({"logit": ["x", 0]}, "logit holds something that is no number"),
        ({"logit": [1.0]}, r"logit has shape \(1,\), but there are 2 paths"),
        ({"label": [[0, 1], [1, 0]]}, r"label has shape \(2, 2\)"),
        ({"group": ["g", ""]}, "group is empty"),
        ({"group": ["g", None]}, "group is empty"),
        ({"path": ("a.png", "a.png")}, "'a.png' is in the table twice"),
        ({"subject": ["1", "1"]}, "subject '1' is in the groups 'g' and 'h'"),
    ],
)
def test_bad_columns_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        table(**changes)


def test_take_by_index_and_by_mask() -> None:
    scores = table()
    assert scores.take([1, 0]).path == ("b.png", "a.png")
    assert scores.take(scores.label == 1).group.tolist() == ["h"]


text = st.text(min_size=1, max_size=8).filter(lambda name: "\0" not in name)
finite = st.floats(allow_nan=False, allow_infinity=False)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(
            text, st.integers(0, 1), st.floats(0, 1), finite, st.text(max_size=5).filter(lambda s: "\0" not in s)
        ),
        min_size=1,
        max_size=6,
        unique_by=lambda row: row[0],
    )
)
def test_csv_gives_the_same_table_back(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple]) -> None:
    path, label, probability, logit, subject = zip(*rows, strict=True)
    group = ["g" + name for name in subject]
    before = Scores(path, label, probability, logit, subject, group)  # type: ignore[arg-type]
    file = tmp_path_factory.mktemp("csv") / "predictions.csv"
    before.write_csv(file)
    after = Scores.read_csv(file)
    assert after.path == before.path
    for name in ("label", "probability", "logit", "subject", "group"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))


def test_a_file_name_that_is_no_utf8_survives(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    table(path=(name, "b.png")).write_csv(tmp_path / "t.csv")
    assert Scores.read_csv(tmp_path / "t.csv").path[0] == name


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no column path"),
        (b"path,label\na,1\n", "no column probability"),
        (b"\xff\xd8\xff\xe0 a picture", "no column path"),
        (b"path,label,probability,logit,subject,group\n", "no rows"),
        (b"path,label,probability,logit,subject,group\na,1,0.5,0,s\n", "line 2: 5 cells where the header names 6"),
        (b"path,label,probability,logit,subject,group\na,1,0.5,0,s,g,extra\n", "line 2: 7 cells"),
        (b'path,label,probability,logit,subject,group\n"a,1,0.5,0,s,g\n', "not CSV"),
        (b"path,label,probability,logit,subject,group\na,1,high,0,s,g\n", "no number"),
        (b"path,label,probability,logit,subject,group\na,1,1.5,0,s,g\n", "probability is not in"),
    ],
)
def test_a_damaged_file_is_one_clear_line(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "predictions.csv"
    file.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        Scores.read_csv(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        Scores.read_csv(tmp_path / "none.csv")


def test_a_process_killed_while_writing_leaves_the_old_table(tmp_path: Path) -> None:
    file = tmp_path / "predictions.csv"
    table().write_csv(file)
    code = f"""
import os, signal
from pathlib import Path
from leukoscope.metrics.scores import Scores
old = Path.write_bytes
def half(self, data):
    old(self, data[: len(data) // 2])
    os.kill(os.getpid(), signal.SIGKILL)
Path.write_bytes = half
Scores(("new.png",), [1], [0.5], [0.0], ["s"], ["g"]).write_csv({str(file)!r})
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert Scores.read_csv(file).path == ("a.png", "b.png")


def test_an_unwritable_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LeukoscopeError, match="cannot be written"):
        table().write_csv(tmp_path / "file" / "predictions.csv")
