"""The command as such: help, laziness, exit codes, tracebacks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import click
import pytest

from leukoscope import __version__, cli
from leukoscope.errors import LeukoscopeError


def child(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "leukoscope", *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        **options,
    )  # type: ignore[call-overload, no-any-return]


def test_help_lists_every_verb_and_imports_none() -> None:
    code = (
        "import sys\nsys.argv = ['leukoscope', '--help']\n"
        "from leukoscope.cli import main\n"
        "try: main()\nexcept SystemExit as end: print('exit', end.code)\n"
        "print(sorted({'numpy', 'cv2', 'onnxruntime', 'pydantic', 'torch', 'jinja2'} & set(sys.modules)))\n"
        "print([name for name in sys.modules if name.startswith('leukoscope.cli.') and '._' not in name])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-3:] == ["exit 0", "[]", "[]"]
    for verb in ("demo", "predict", "data", "train", "evaluate", "export", "models", "doctor"):
        assert f"\n  {verb} " in done.stdout


def test_the_help_of_no_verb_waits_for_what_its_work_needs() -> None:
    code = (
        "import sys\nfrom leukoscope.cli import VERBS, main\n"
        "for verb in VERBS: main.get_command(None, verb)\n"
        "print(sorted({'numpy', 'cv2', 'onnxruntime', 'PIL', 'pydantic', 'torch', 'jinja2'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_server_itself_loads_nothing_that_runs_a_graph() -> None:
    """Its children do; what it loads stays in memory beside theirs."""
    code = (
        "import sys, leukoscope.service.app, leukoscope.service.serve\n"
        "print(sorted({'onnxruntime', 'onnx', 'scipy', 'sklearn', 'torch', 'reportlab'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_misspelt_verb_is_answered_with_all(run) -> None:
    told = run("prdict")
    assert told.exit_code == 2
    assert "No such command 'prdict'; use one of predict, " in told.stderr
    assert all(verb in told.stderr for verb in cli.VERBS)


@pytest.mark.parametrize("verb", list(cli.VERBS))
def test_each_verb_has_help_and_says_the_same_in_short(run, verb: str) -> None:
    if find_spec(cli.VERBS[verb][0]) is None:
        pytest.skip(f"{verb} is not part of this installation")
    result = run(verb, "--help")
    assert result.exit_code == 0
    assert f"Usage: leukoscope {verb}" in result.output


def test_version_and_module(run) -> None:
    assert run("--version").output == f"leukoscope, version {__version__}\n"
    done = child("--version")
    assert (done.returncode, done.stdout) == (0, f"leukoscope, version {__version__}\n")


@pytest.mark.parametrize("arguments", [["nonsense"], ["predict"], ["predict", "x", "--format", "pdf"], ["--nonsense"]])
def test_wrong_usage_is_2(run, arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert "Usage:" in result.stderr


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch):
    """Replace a verb by one that raises what it is told."""

    def put(error: BaseException) -> None:
        @click.command()
        def doctor() -> None:
            raise error

        monkeypatch.setattr("leukoscope.cli.doctor.doctor", doctor)

    return put


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (LeukoscopeError("is empty", path="a\nb\x1b", remedy="fill it"), 2, "error: a b\\x1b: is empty; fill it\n"),
        (OSError(28, "No space left on device", "x"), 2, "error: x: No space left on device\n"),
        (
            ZeroDivisionError("by zero"),
            70,
            "error: unexpected ZeroDivisionError: by zero; for the traceback run: leukoscope --debug ...\n",
        ),
        (KeyboardInterrupt(), 130, "\ninterrupted\n"),
    ],
)
def test_each_kind_of_error_has_its_code_and_one_line(run, failing, error, code: int, line: str) -> None:
    failing(error)
    result = run("doctor")
    assert (result.exit_code, result.stderr) == (code, line)


def test_debug_keeps_the_traceback(run, failing, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(LeukoscopeError("is empty"))
    assert isinstance(run("--debug", "doctor", debug=True).exception, LeukoscopeError)
    monkeypatch.setenv("LEUKOSCOPE_DEBUG", "1")
    done = child("predict", "x", "--bundle", "nowhere", env=os.environ)
    assert "Traceback" in done.stderr
    monkeypatch.setenv("LEUKOSCOPE_DEBUG", "0")
    assert run("doctor").exit_code == 2


def test_a_closed_pipe_is_quiet(small_bundle: Path, cells: Path) -> None:
    command = [sys.executable, "-m", "leukoscope", "predict", *[str(cells)] * 2, "--bundle", str(small_bundle)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) != 0
    assert errors == b""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def _hearing() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_is_130(small_bundle: Path, tmp_path: Path, cells: Path) -> None:
    """Interrupted while a batch is read from a great many pictures."""
    command = [sys.executable, "-m", "leukoscope", "predict", "--bundle", str(small_bundle), "--batch-size", "1"]
    many = tmp_path / "many"
    many.mkdir()
    for i in range(20_000):  # enough that the batch outlasts a busy machine
        (many / f"{i}.png").symlink_to(cells / "red.png")
    process = subprocess.Popen(
        [*command, str(many)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=_hearing,  # noqa: PLW1509  (a job in the background is deaf to it)
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()  # the header: the batch has begun
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.strip() == "interrupted"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("kind", ["table", "csv"])
def test_a_full_standard_output_is_one_line(small_bundle: Path, cells: Path, kind: str) -> None:
    command = [sys.executable, "-m", "leukoscope", "predict", str(cells), "--bundle", str(small_bundle)]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*command, "--format", kind], check=False, stdout=full, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (2, "error: No space left on device\n")
