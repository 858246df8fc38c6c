import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leukoscope.errors import DataError
from leukoscope.tables import csv_line, csv_text, json_line, read_rows

FORMULAS = ["=cmd|' /C calc'!A0", "+1", "-1+2", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1", "'=1", "''@x"]
HARMLESS = ["a.png", "'s", "", "a=b", "'", "''a", "5-8", " =1"]


@pytest.mark.parametrize("word", FORMULAS)
def test_a_text_that_would_be_a_formula_is_one_no_more_and_is_read_back(word: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(csv_text(("name", "rate"), [(word, -0.5)]).encode())
    [_, (written, rate)] = csv.reader(io.StringIO((tmp_path / "t.csv").read_bytes().decode(), newline=""))
    assert (written, rate) == ("'" + word, "-0.5")  # as any other reader sees it, a spreadsheet too
    assert read_rows(tmp_path / "t.csv", ("name",), exact=True)[1][0][1]["name"] == word


@pytest.mark.parametrize("word", HARMLESS)
def test_other_texts_are_written_as_they_are(word: str) -> None:
    assert next(csv.reader([csv_line([word, 1])])) == [word, "1"]


@pytest.mark.parametrize("quote_words", [False, True])
@given(
    row=st.lists(
        st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=2, max_size=2
    )
)
def test_texts_are_read_back_as_they_were(
    quote_words: bool, row: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("t") / "t.csv"
    file.write_bytes(csv_text(("a", "b", "number"), [(*row, 1)], quote_words=quote_words).encode())
    _, [(_, read)] = read_rows(file, ("a", "b"), exact=True)
    assert [read["a"], read["b"]] == row


def test_cells_of_other_people_are_stripped_and_freed_of_apostrophes(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("# root: pictures\nPicture; Patient\n '-a.png ; 's \n")
    assert read_rows(tmp_path / "t.csv", ("path",)) == ("pictures", [(3, {"path": "-a.png", "subject": "'s"})])


def test_lines_are_counted_with_those_within_cells(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(csv_text(("a", "b"), [("x\ny", 1)]).encode() + b"z\n")
    with pytest.raises(DataError, match="line 4: 1 cells where the header names 2"):
        read_rows(tmp_path / "t.csv", ("a",))


def test_json_lines_stay_lines_for_every_reader() -> None:
    value = {"name": "a\u2028b\u2029c\x85d\x0be\x1cf\n\r", "é": 0.1}
    line = json_line(value)
    assert len(line.splitlines()) == 1
    assert json.loads(line) == value
    assert "é" in line
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_line(float("nan"))
