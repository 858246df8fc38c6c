"""What a workbench is told at its start, and the bounds that it keeps."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from leukoscope.child import Bounds

MEBI: Final = 1 << 20
LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of what comes in.

    Attributes:
        picture_bytes: of one file.
        picture_pixels: of one picture, checked before it is decoded.
        case_pictures: pictures of one case; ``case_bytes`` their files together.
        json_bytes: of a request that is no picture.
        disk_reserve: share of the disk that is left free.
        decode_seconds: after which a decoder is ended.
        child_bytes: address space of a process that decodes.
        requests_per_second: of one session.
    """

    picture_bytes: int = 64 * MEBI
    picture_pixels: int = 100_000_000
    case_pictures: int = 10_000
    case_bytes: int = 8 << 30
    json_bytes: int = MEBI
    disk_reserve: float = 0.05
    decode_seconds: float = 60.0
    child_bytes: int = 6 << 30
    requests_per_second: float = 200.0

    def child(self, seconds: float) -> Bounds:
        """Of a process that decodes, and yields to the server."""
        return Bounds(seconds, self.child_bytes, niceness=5)


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """Where a workbench lives and listens.

    Attributes:
        data: its one folder: database, pictures, keys.
        database: URL of a PostgreSQL database; None: SQLite in ``data``.
        host, port, root_path: where it listens, and the path under which a proxy shows it.
        bundle: folder of the bundle that answers first; None: the package's own.
        watch: a folder whose subfolders become cases.
        pocket: folder of a built app, served under `/app/`.
    """

    data: Path
    database: str | None = None
    host: str = "127.0.0.1"
    port: int = 8765
    root_path: str = ""
    bundle: Path | None = None
    watch: Path | None = None
    pocket: Path | None = None
    slides: Path | None = None
    limits: Limits = field(default_factory=Limits)

    @property
    def url(self) -> str:
        """Of the database, for SQLAlchemy."""
        if self.database is None:
            return f"sqlite:///{(self.data / 'workbench.sqlite').as_posix()}"
        return self.database.replace("postgresql://", "postgresql+psycopg://", 1)

    @property
    def chain_key(self) -> Path:
        """The key of the chain, outside of the database."""
        return self.data / "chain.key"

    @property
    def anchors(self) -> Path:
        """Heads of the chain, a line for each signature."""
        return self.data / "anchors.log"

    @property
    def store(self) -> Path:
        """Pictures by the SHA-256 of their bytes."""
        return self.data / "store"

    @property
    def derived(self) -> Path:
        """What was drawn from pictures: small cells, heat maps."""
        return self.data / "derived"

    @property
    def bundles(self) -> Path:
        """Bundles made here."""
        return self.data / "bundles"

    @property
    def exports(self) -> Path:
        """Readings handed out."""
        return self.data / "exports"
