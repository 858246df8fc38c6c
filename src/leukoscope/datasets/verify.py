"""Whether the files of a data set are the published ones."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path, PurePosixPath

from leukoscope.datasets.pictures import is_picture, list_pictures
from leukoscope.errors import DataError
from leukoscope.files import sha256_of
from leukoscope.progress import SILENT, Progress
from leukoscope.tables import read_rows


@dataclass(frozen=True, slots=True)
class VerificationReport:
    """Paths as the table writes them, sorted.

    Attributes:
        ok: size and SHA-256 agree.
        missing: in the table, not on disk.
        altered: on disk with another size or SHA-256.
        re_encoded: not on disk, but a picture of the same name with another suffix is; its pixels are not verified.
        extra: pictures on disk that the table does not know, relative to the same folder.
    """

    ok: tuple[str, ...]
    missing: tuple[str, ...]
    altered: tuple[str, ...]
    re_encoded: tuple[str, ...]
    extra: tuple[str, ...]

    def fine(self, *, partial: bool = False) -> bool:
        """Whether nothing is wrong; with ``partial``, missing and re-encoded files are allowed, but not all missing."""
        if partial:
            return bool(self.ok or self.re_encoded) and not (self.altered or self.extra)
        return not (self.missing or self.altered or self.re_encoded or self.extra)


def verify_checksums(
    root: str | PathLike[str], table_csv: str | PathLike[str], *, progress: Progress = SILENT
) -> VerificationReport:
    """Compare the files under a folder with a table of checksums.

    Args:
        root: the folder that the table's paths are relative to, or the one folder that they all start with.
        table_csv: CSV file with the columns path, sha256 and size in bytes. Sizes are compared first: reading stops
            there for a file of another size.
        progress: shows how many files of the table are compared.

    Raises:
        DataError: the table is unusable or the folder does not exist.
    """
    base, table = Path(root), Path(table_csv)
    if not base.is_dir():
        raise DataError("is not a folder", path=base)
    expected = _read_table(table)
    heads = {PurePosixPath(path).parts[0] for path in expected}
    scanned = base
    if heads == {base.resolve().name} and not (base / base.resolve().name).is_dir():
        base = base.resolve().parent
        scanned = base / next(iter(heads))
    on_disk = {path.relative_to(base).as_posix() for path in list_pictures(scanned, deep=True)}
    stems = {path.rpartition(".")[0] for path in on_disk if path not in expected}
    found: dict[str, list[str]] = {"ok": [], "missing": [], "altered": [], "re_encoded": []}
    with progress.stage("comparing files", len(expected)) as advance:
        for path, (digest, size) in sorted(expected.items()):
            found[_compare(base / path, digest, size, path.rpartition(".")[0] in stems)].append(path)
            advance(1)
    known_stems = {path.rpartition(".")[0] for path in found["re_encoded"]}
    extra = sorted(p for p in on_disk if p not in expected and p.rpartition(".")[0] not in known_stems)
    return VerificationReport(**{name: tuple(paths) for name, paths in found.items()}, extra=tuple(extra))


def _compare(path: Path, digest: str, size: int, other_suffix: bool) -> str:
    try:
        if path.stat().st_size == size and sha256_of(path) == digest:
            return "ok"
    except FileNotFoundError:
        return "re_encoded" if other_suffix and is_picture(path) else "missing"
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})", path=path) from error
    return "altered"


def _read_table(table: Path) -> dict[str, tuple[str, int]]:
    _, rows = read_rows(table, ("path", "sha256", "size"))
    expected: dict[str, tuple[str, int]] = {}
    for line, row in rows:
        path, digest, size = row["path"], row["sha256"].lower(), row["size"]
        if not path or path.startswith("/") or ".." in PurePosixPath(path).parts or path in expected:
            raise DataError(f"line {line}: the path {path!r} is empty, repeated or leads out of the folder", path=table)
        if len(digest) != 64 or set(digest) - set("0123456789abcdef") or not (size.isascii() and size.isdigit()):
            raise DataError(f"line {line}: not a SHA-256 in hex and a size in bytes", path=table)
        expected[path] = (digest, int(size))
    if not expected:
        raise DataError("lists no files", path=table)
    return expected
