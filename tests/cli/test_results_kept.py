"""No verb replaces the results of another run in silence, and each that answers says once what it is not for."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from PIL import Image

from bundle_factory import disc, make_bundle
from command_tree import VERBS
from leukoscope import cli
from leukoscope.cli import main
from leukoscope.cli._results import keeps_results
from leukoscope.files import settle, together
from leukoscope.text import RESEARCH_USE

#: What is known as a result in --out: a file of that name in the folder, or --out itself is the file.
KNOWN_BY = {
    "adapt": "bundle.json", "calibrate": "bundle.json", "subjects": "bundle.json", "export": "bundle.json",
    "federate bundle": "bundle.json", "federate pool": "pooled.json", "federate summary": "", "federate train": "",
    "federate combine": "", "pretrain": "", "archive collect": "", "archive report": "", "data index": "",
    "data combine": "", "data audit": "audit.json", "audit explanations": "explanations.json",
    "audit shortcuts": "shortcuts.json", "compare": "comparison.json", "reproduce paper": "reproduction.json",
    "evaluate": "metrics.json", "field": "summary.json",
}  # fmt: skip
#: Verbs whose results say themselves which run they are of; refused by their own tests, demo below.
BY_THEIR_RESULTS = {"predict", "demo", "crossval", "pull"}
#: Verbs that go on where they were, add to what is there, or refuse any other folder, without a way to replace.
NEVER_REPLACE = {"train", "slide", "archive plan", "dicom get", "data cut", "app build"}
#: Verbs that answer for cells, or report how good answers are.
ANSWER = {
    "predict", "demo", "field", "slide", "archive run", "archive status", "archive collect", "archive report",
    "dicom put", "federate pool", "evaluate", "compare", "crossval", "reproduce paper", "audit explanations",
    "audit shortcuts", "train", "adapt",
}  # fmt: skip


def test_every_verb_with_out_is_in_a_table() -> None:
    with_out = {name for name, each in VERBS.items() if any(each.name == "out" for each in each.params)}
    assert with_out == KNOWN_BY.keys() | BY_THEIR_RESULTS | NEVER_REPLACE
    replacing = {name for name, each in VERBS.items() if any(each.name == "replace" for each in each.params)}
    assert replacing == KNOWN_BY.keys() | BY_THEIR_RESULTS


def needed(command: click.Command, folder: Path) -> Iterator[str]:
    """Arguments that let a verb start: something for whatever it must have."""
    for each in command.params:
        if each.required and each.name != "out":
            kind = each.type
            path = folder if isinstance(kind, click.Path) and not kind.file_okay else folder / "given.csv"
            yield from [path] if isinstance(each, click.Argument) else [each.opts[0], path]


@pytest.mark.parametrize("name", sorted(KNOWN_BY))
def test_what_another_run_wrote_is_kept(name: str, run, tmp_path: Path) -> None:
    (tmp_path / "given.csv").write_text("path,label\n")
    out = tmp_path / "out"
    held = out / KNOWN_BY[name] if KNOWN_BY[name] else out
    held.parent.mkdir(exist_ok=True)
    held.write_text("{}")
    words = [*name.split(), *needed(VERBS[name], tmp_path), "--out", out]
    refused = run(*words)
    assert refused.exit_code == 2
    assert "out: holds the results of another run (it is not known which); choose another --out" in refused.stderr
    assert held.read_text() == "{}"


def test_the_same_command_goes_over_its_own_results(run, small_bundle: Path, tmp_path: Path) -> None:
    for name, colour in (("blast/a/1", (200, 30, 90)), ("blast/b/1", (210, 30, 80)), ("normal/c/1", (10, 250, 10))):
        path = tmp_path / "data" / f"{name}.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(disc(colour)).save(path)
    out, how = tmp_path / "out", ["--bundle", small_bundle, "--data", tmp_path / "data"]
    first = run("evaluate", *how, "--out", out)
    assert first.exit_code == 0, first.output
    before = (out / "metrics.json").read_text()
    assert "by-hand" in before
    other = make_bundle(tmp_path / "other", name="another")
    for_another = ["evaluate", "--bundle", other, "--data", tmp_path / "data", "--out", out]
    refused = run(*for_another)
    assert "holds the results of another run (`evaluate` of something else)" in refused.stderr
    assert (out / "metrics.json").read_text() == before
    assert run(*for_another, "--replace").exit_code == 0
    assert "by-hand" not in (out / "metrics.json").read_text()
    assert run(*for_another, "--threads", 1).exit_code == 0  # its own by now, and threads change no figure


def test_fields_of_another_folder_are_not_shown_in_place(run, cells: Path, small_bundle: Path, tmp_path: Path) -> None:
    out, how = tmp_path / "out", ["--bundle", small_bundle, "--um-per-px", 0.1, "--out", tmp_path / "out"]
    assert run("field", cells, *how).exit_code == 0
    Image.open(cells / "red.png").save(cells / "third.png")
    assert run("field", cells, *how).exit_code == 0  # the folder has grown
    assert json.loads((out / "summary.json").read_text())["pictures"] == 3
    refused = run("field", cells / "red.png", *how)
    assert (refused.exit_code, "holds the results of another run" in refused.stderr) == (2, True)
    refused = run("predict", cells, "--bundle", small_bundle, "--out", out)  # another verb's summary.json
    assert (refused.exit_code, "holds the results of another run" in refused.stderr) == (2, True)
    assert json.loads((out / "summary.json").read_text())["pictures"] == 3


def test_a_gallery_is_not_replaced_by_another(
    run, cells: Path, small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for verb, how in (("demo", []), ("predict", ["--format", "html"])):  # each into its default folder
        assert run(verb, cells, *how, "--bundle", small_bundle).exit_code == 0
        other = [verb, cells / "red.png", *how, "--bundle", small_bundle]
        assert "holds the results of another run (2 pictures, model by-hand)" in run(*other).stderr
        assert run(*other, "--replace").exit_code == 0


def test_the_notice_is_said_by_the_verbs_that_answer() -> None:
    says = {name for name, each in VERBS.items() if getattr(each.callback, "research_use", False)}
    assert says == ANSWER
    sources = Path(cli.__file__).parent.glob("*.py")
    by_hand = {path.name for path in sources if "RESEARCH_USE" in path.read_text(encoding="utf-8")}
    assert by_hand == {"_show.py"}  # nowhere a second time


def test_the_notice_is_one_line(cells: Path, small_bundle: Path, tmp_path: Path) -> None:
    def lines(*words: object) -> list[str]:
        done = CliRunner().invoke(main, [str(each) for each in words])
        assert done.exit_code in {0, 1}, done.output
        assert "diagnosis" not in done.stdout
        return [line for line in done.stderr.splitlines() if "diagnosis" in line]

    how = ["--bundle", small_bundle]
    assert lines("predict", cells, *how) == [RESEARCH_USE]
    assert lines("predict", cells, *how, "--by", "patient") == [RESEARCH_USE]
    assert lines("predict", cells, *how, "--quiet") == []
    assert lines("demo", cells, *how, "--out", tmp_path / "demo") == [RESEARCH_USE]
    (cells / "text.png").write_text("no picture")  # exit code 1
    assert lines("field", cells, *how, "--by", "patient", "--out", tmp_path / "field") == [RESEARCH_USE]


def test_a_run_whose_files_wait_for_their_places_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full as a finished generation moves to its places: the same command takes it for its own."""

    @click.command()
    @click.option("--out", type=click.Path(path_type=Path))
    @keeps_results("report.json")
    def verb(out: Path) -> None:
        with together(out) as folder:
            (folder / "report.json").write_text("{}")

    call = ["--out", str(tmp_path / "out")]
    with monkeypatch.context() as full:
        full.setattr("leukoscope.files.settle", _full)
        assert isinstance(CliRunner().invoke(verb, call).exception, OSError)
    settle(tmp_path / "out")  # as whoever reads it does
    assert (tmp_path / "out" / "report.json").exists()
    assert CliRunner().invoke(verb, call).exit_code == 0


def _full(folder: Path) -> None:
    if any(Path(folder).glob(".generation")):
        raise OSError(errno.ENOSPC, "no space", str(folder))
