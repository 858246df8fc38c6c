import math

import pytest

from leukoscope.cli._show import Terminal
from leukoscope.progress import SILENT
from leukoscope.workers import workers
from recorded import Recorded


@pytest.mark.parametrize("jobs", [1, 2])
def test_shared_work_shows_each_stage_with_its_calls(jobs: int) -> None:
    progress = Recorded()
    with workers(jobs, progress) as run:
        assert run("roots", math.sqrt, [(4.0,), (9.0,), (16.0,)]) == [2.0, 3.0, 4.0]
        assert run("nothing to do", math.sqrt, []) == []
    assert (progress.stages, progress.steps) == ([("roots", 3)], [1, 2, 3])


def test_a_terminal_shows_label_and_lines_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with Terminal().stage("reading", 2) as advance:
        advance(2)
    Terminal().say("a line")
    out, err = capsys.readouterr()
    assert out == ""
    assert "reading" in err
    assert err.endswith("a line\n")


def test_silence_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with SILENT.stage("reading", 2) as advance:
        advance(2)
    SILENT.say("a line")
    assert capsys.readouterr() == ("", "")
