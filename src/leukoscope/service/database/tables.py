"""The tables. Times are UTC text, identifiers are text that sorts by time, pictures are files and never rows."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

_NAMES = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}
_ID, _AT, _SHA = String(36), String(24), String(64)


class Base(DeclarativeBase):
    """All tables of a workbench."""

    metadata = MetaData(naming_convention=_NAMES)


class UserRow(Base):
    """An account; never deleted, only closed. ``roles`` are words with commas between."""

    __tablename__ = "user_"
    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    login: Mapped[str] = mapped_column(String(100), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    password_hash: Mapped[str] = mapped_column(String(300))
    roles: Mapped[str] = mapped_column(String(100))
    created: Mapped[str] = mapped_column(_AT)
    closed_at: Mapped[str | None] = mapped_column(_AT)
    failed: Mapped[int] = mapped_column(Integer, default=0)
    locked_until: Mapped[str | None] = mapped_column(_AT)


class SessionRow(Base):
    """A log-in, by the SHA-256 of its token."""

    __tablename__ = "session_"
    token_sha256: Mapped[str] = mapped_column(_SHA, primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("user_.id"), index=True)
    created: Mapped[str] = mapped_column(_AT)
    seen: Mapped[str] = mapped_column(_AT)
    expires: Mapped[str] = mapped_column(_AT)
    address: Mapped[str] = mapped_column(String(64))
    agent: Mapped[str] = mapped_column(String(200))


class BucketRow(Base):
    """Tries of one address at the door."""

    __tablename__ = "bucket"
    key: Mapped[str] = mapped_column(String(100), primary_key=True)
    tokens: Mapped[float] = mapped_column(Float)
    at: Mapped[float] = mapped_column(Float)


class SettingRow(Base):
    """What is set for the whole workbench."""

    __tablename__ = "setting"
    key: Mapped[str] = mapped_column(String(100), primary_key=True)
    value: Mapped[str] = mapped_column(Text)
    changed_by: Mapped[str | None] = mapped_column(_ID)
    changed_at: Mapped[str] = mapped_column(_AT)


class BundleRow(Base):
    """A bundle that was known here. ``digest``: SHA-256 of its `bundle.json`. State: trial, active, retired."""

    __tablename__ = "bundle"
    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    digest: Mapped[str] = mapped_column(_SHA, unique=True)
    name: Mapped[str] = mapped_column(String(200))
    version: Mapped[str] = mapped_column(String(50))
    state: Mapped[str] = mapped_column(String(10))
    path: Mapped[str] = mapped_column(Text)
    parent: Mapped[str | None] = mapped_column(_ID)
    created: Mapped[str] = mapped_column(_AT)
    note: Mapped[str] = mapped_column(Text, default="")


class CaseRow(Base):
    """One patient's sample to be reviewed. State: open, complete, signed."""

    __tablename__ = "case_"
    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    order_no: Mapped[str] = mapped_column(String(100), index=True)
    subject: Mapped[str] = mapped_column(String(100), index=True)
    readers: Mapped[int] = mapped_column(Integer)
    blind: Mapped[int] = mapped_column(Integer)
    target: Mapped[int] = mapped_column(Integer)
    state: Mapped[str] = mapped_column(String(10), index=True)
    version: Mapped[int] = mapped_column(Integer)
    fixed_set: Mapped[int] = mapped_column(Integer, default=0)
    um_per_px: Mapped[float | None] = mapped_column(Float)
    created_by: Mapped[str] = mapped_column(ForeignKey("user_.id"))
    created: Mapped[str] = mapped_column(_AT)


class PictureRow(Base):
    """A file by the SHA-256 of its bytes. ``erased_at``: its bytes are gone, its digest stays for the chain."""

    __tablename__ = "picture"
    sha256: Mapped[str] = mapped_column(_SHA, primary_key=True)
    bytes: Mapped[int] = mapped_column(BigInteger)
    media: Mapped[str] = mapped_column(String(40))
    width: Mapped[int] = mapped_column(Integer)
    height: Mapped[int] = mapped_column(Integer)
    created: Mapped[str] = mapped_column(_AT)
    erased_at: Mapped[str | None] = mapped_column(_AT)


class CasePictureRow(Base):
    """A picture of a case, under the name that it had."""

    __tablename__ = "case_picture"
    case_id: Mapped[str] = mapped_column(ForeignKey("case_.id"), primary_key=True)
    picture: Mapped[str] = mapped_column(ForeignKey("picture.sha256"), primary_key=True, index=True)
    name: Mapped[str] = mapped_column(String(300))
    number: Mapped[int] = mapped_column(Integer)
    source: Mapped[str] = mapped_column(String(10))
    added_by: Mapped[str] = mapped_column(_ID)
    added: Mapped[str] = mapped_column(_AT)
    __table_args__ = (Index("ix_case_picture_number", "case_id", "number"),)


class RunRow(Base):
    """One picture of one case asked of one bundle: what the machine says lives under it and is never overwritten."""

    __tablename__ = "run_"
    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("case_.id"), index=True)
    picture: Mapped[str] = mapped_column(ForeignKey("picture.sha256"))
    bundle_id: Mapped[str] = mapped_column(ForeignKey("bundle.id"))
    software: Mapped[str] = mapped_column(String(50))
    kind: Mapped[str] = mapped_column(String(10))
    um_per_px: Mapped[float | None] = mapped_column(Float)
    warnings: Mapped[str] = mapped_column(Text)
    error: Mapped[str | None] = mapped_column(Text)
    finished: Mapped[str] = mapped_column(_AT)


class SlideRow(Base):
    """A whole slide that was asked of, by its run: where its file lies, which is never copied.

    ``size`` and ``changed``: of the file, by which it is known again. ``about``: canonical JSON with the scale, how it
    was read, and its windows.
    """

    __tablename__ = "slide"
    run_id: Mapped[str] = mapped_column(ForeignKey("run_.id"), primary_key=True)
    path: Mapped[str] = mapped_column(Text)
    size: Mapped[int] = mapped_column(BigInteger)
    changed: Mapped[int] = mapped_column(BigInteger)
    about: Mapped[str] = mapped_column(Text)


class CellRow(Base):
    """One cell with the machine's answer. ``place`` orders the cells of a case as they lie in its pictures.

    ``doubt``: how probable it is that a reader calls it otherwise, by the bundle's own probability; ``strength``: the
    probability, -1 where there is none.
    """

    __tablename__ = "cell"
    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("run_.id"))
    case_id: Mapped[str] = mapped_column(ForeignKey("case_.id"))
    picture: Mapped[str] = mapped_column(String(64))
    number: Mapped[int] = mapped_column(Integer)
    place: Mapped[int] = mapped_column(BigInteger)
    x: Mapped[int | None] = mapped_column(Integer)
    y: Mapped[int | None] = mapped_column(Integer)
    w: Mapped[int | None] = mapped_column(Integer)
    h: Mapped[int | None] = mapped_column(Integer)
    logit: Mapped[float | None] = mapped_column(Float)
    probability: Mapped[float | None] = mapped_column(Float)
    doubt: Mapped[float] = mapped_column(Float)
    strength: Mapped[float] = mapped_column(Float)
    decision: Mapped[str] = mapped_column(String(10))
    reason: Mapped[str | None] = mapped_column(Text)
    gate: Mapped[str] = mapped_column(String(12))
    words: Mapped[str | None] = mapped_column(Text)
    embedding: Mapped[bytes | None] = mapped_column(LargeBinary)
    __table_args__ = (
        UniqueConstraint("run_id", "number", name="uq_cell_run_number"),
        Index("ix_cell_case_place", "case_id", "place"),
        Index("ix_cell_case_doubt", "case_id", "doubt", "place"),
        Index("ix_cell_case_gate", "case_id", "gate", "place"),
        Index("ix_cell_case_strength", "case_id", "strength", "place"),
    )


class ReadingRow(Base):
    """One key of one reader. Never updated, never deleted; ``seq`` is its event in the chain."""

    __tablename__ = "reading"
    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, unique=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("case_.id"))
    version: Mapped[int] = mapped_column(Integer)
    cell_id: Mapped[str] = mapped_column(ForeignKey("cell.id"), index=True)
    reader: Mapped[str] = mapped_column(ForeignKey("user_.id"))
    label: Mapped[str] = mapped_column(String(40))
    seen: Mapped[int] = mapped_column(Integer)
    ms: Mapped[int | None] = mapped_column(Integer)
    at: Mapped[str] = mapped_column(_AT)
    __table_args__ = (Index("ix_reading_case_seq", "case_id", "seq"),)


class WithdrawalRow(Base):
    """A reading taken back by its reader: an event of its own."""

    __tablename__ = "withdrawal"
    reading: Mapped[str] = mapped_column(ForeignKey("reading.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, unique=True)
    by: Mapped[str] = mapped_column(_ID)
    at: Mapped[str] = mapped_column(_AT)


class CompletionRow(Base):
    """A reader has read a version of a case to its end."""

    __tablename__ = "completion"
    case_id: Mapped[str] = mapped_column(ForeignKey("case_.id"), primary_key=True)
    version: Mapped[int] = mapped_column(Integer, primary_key=True)
    reader: Mapped[str] = mapped_column(ForeignKey("user_.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, unique=True)
    at: Mapped[str] = mapped_column(_AT)


class AdjudicationRow(Base):
    """What a cell is called on which two readers differ."""

    __tablename__ = "adjudication"
    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, unique=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("case_.id"), index=True)
    cell_id: Mapped[str] = mapped_column(ForeignKey("cell.id"))
    label: Mapped[str] = mapped_column(String(40))
    by: Mapped[str] = mapped_column(ForeignKey("user_.id"))
    reason: Mapped[str] = mapped_column(Text)
    at: Mapped[str] = mapped_column(_AT)


class SignatureRow(Base):
    """A version of a case as it was signed. ``content``: the canonical JSON of which ``content_sha256`` is."""

    __tablename__ = "signature"
    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, unique=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("case_.id"), index=True)
    version: Mapped[int] = mapped_column(Integer)
    user_id: Mapped[str] = mapped_column(ForeignKey("user_.id"))
    printed_name: Mapped[str] = mapped_column(String(200))
    meaning: Mapped[str] = mapped_column(String(40))
    content: Mapped[str] = mapped_column(Text)
    content_sha256: Mapped[str] = mapped_column(_SHA)
    head: Mapped[str] = mapped_column(_SHA)
    at: Mapped[str] = mapped_column(_AT)
    __table_args__ = (UniqueConstraint("case_id", "version", name="uq_signature_case_version"),)


class AmendmentRow(Base):
    """Why a signed case was opened again."""

    __tablename__ = "amendment"
    case_id: Mapped[str] = mapped_column(ForeignKey("case_.id"), primary_key=True)
    from_version: Mapped[int] = mapped_column(Integer, primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, unique=True)
    reason: Mapped[str] = mapped_column(Text)
    by: Mapped[str] = mapped_column(ForeignKey("user_.id"))
    at: Mapped[str] = mapped_column(_AT)


class JobRow(Base):
    """Work that waits or runs. State: waiting, running, done, failed. ``body``: canonical JSON."""

    __tablename__ = "job"
    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    kind: Mapped[str] = mapped_column(String(12))
    case_id: Mapped[str | None] = mapped_column(_ID, index=True)
    subject: Mapped[str] = mapped_column(String(64))
    body: Mapped[str] = mapped_column(Text, default="{}")
    state: Mapped[str] = mapped_column(String(10), index=True)
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    claimed_until: Mapped[str | None] = mapped_column(_AT)
    error: Mapped[str | None] = mapped_column(Text)
    result: Mapped[str | None] = mapped_column(Text)
    created: Mapped[str] = mapped_column(_AT)
    by: Mapped[str] = mapped_column(_ID)


class RequestRow(Base):
    """The answer to a request that named a key, so that it can be sent again. ``what``: a digest of the request."""

    __tablename__ = "request_"
    key: Mapped[str] = mapped_column(_SHA, primary_key=True)
    what: Mapped[str] = mapped_column(_SHA)
    status: Mapped[int] = mapped_column(Integer)
    answer: Mapped[str] = mapped_column(Text)
    at: Mapped[str] = mapped_column(_AT, index=True)


class EventRow(Base):
    """One link of the chain; see `chain`."""

    __tablename__ = "event"
    seq: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False
    )
    at: Mapped[str] = mapped_column(_AT)
    actor: Mapped[str] = mapped_column(String(36))
    action: Mapped[str] = mapped_column(String(40))
    subject: Mapped[str] = mapped_column(String(64))
    body: Mapped[str] = mapped_column(Text)
    prev: Mapped[str] = mapped_column(_SHA)
    hash: Mapped[str] = mapped_column(_SHA, unique=True)
