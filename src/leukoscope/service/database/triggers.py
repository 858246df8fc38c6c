"""Rules that the database itself keeps, whoever writes to it: what only grows, and what is signed.

What only grows is refused every UPDATE and DELETE. A signed case takes no picture, no answer, no reading, no
completion and no adjudication; it opens again only by an amendment with a reason, as its next version. The one change
that a signed case allows is that its subject is erased: pseudonym, order number, names of files.
"""

from __future__ import annotations

from typing import Final

#: Only grow: an update or a delete is refused.
GROWING: Final = (
    "event", "reading", "withdrawal", "completion", "adjudication", "signature", "amendment", "run_",
)  # fmt: skip
#: Take nothing for a case that is signed.
SEALED: Final = ("case_picture", "run_", "reading", "completion", "adjudication")
#: What a subject is called after it was erased.
ERASED: Final = "erased"

_CASE = ("id", "readers", "blind", "target", "state", "version", "um_per_px", "created_by", "created")
_PICTURE = ("case_id", "picture", "number", "source", "added_by", "added")
_CELL = (
    "id", "run_id", "case_id", "picture", "number", "place", "x", "y", "w", "h", "logit", "probability", "doubt",
    "strength", "decision", "reason", "gate", "words",
)  # fmt: skip


def trigger_statements(dialect: str) -> list[str]:
    """The statements that make the rules, for `sqlite` or `postgresql`."""
    return _sqlite() if dialect == "sqlite" else _postgresql()


def _same(columns: tuple[str, ...], distinct: str) -> str:
    """Whether no column of these changes."""
    return " AND ".join(f"OLD.{name} {distinct} NEW.{name}" for name in columns)


def _erasing(*columns: str) -> str:
    """Further conditions: these columns stay or are erased."""
    return "".join(f" AND NEW.{name} IN (OLD.{name}, '{ERASED}')" for name in columns)


def _reopened() -> str:
    return (
        "NEW.state = 'open' AND NEW.version = OLD.version + 1 AND EXISTS (SELECT 1 FROM amendment "
        "WHERE amendment.case_id = OLD.id AND amendment.from_version = OLD.version)"
    )


def _sqlite() -> list[str]:
    cell, case = f"{_same(_CELL, 'IS')} AND NEW.embedding IS NULL", _same(_CASE, "IS") + _erasing("subject", "order_no")

    def rule(name: str, when: str, condition: str, words: str) -> str:
        told = f"WHEN {condition} " if condition else ""
        return f"CREATE TRIGGER {name} BEFORE {when} {told}BEGIN SELECT RAISE(ABORT, '{words}'); END"

    grows = [
        rule(f"{table}_no_{act.lower()}", f"{act} ON {table}", "", f"{table} only grows")
        for table in GROWING
        for act in ("UPDATE", "DELETE")
    ]
    sealed = [
        rule(f"{table}_sealed", f"INSERT ON {table}", _is_signed("NEW.case_id"), "the case is signed")
        for table in SEALED
    ]
    picture = f"NOT ({_same(_PICTURE, 'IS')}{_erasing('name')})"
    signed = f"OLD.state = 'signed' AND NOT ({_reopened()}) AND NOT ({case})"
    return [
        *grows,
        *sealed,
        rule("withdrawal_sealed", "INSERT ON withdrawal", _is_signed(_OF_READING), "the case is signed"),
        rule("case_signed", "UPDATE ON case_", signed, "the case is signed"),
        rule("case_no_delete", "DELETE ON case_", "", "case_ only grows"),
        rule("cell_fixed", "UPDATE ON cell", f"NOT ({cell})", "answers are never overwritten"),
        rule("cell_no_delete", "DELETE ON cell", "", "cell only grows"),
        rule("case_picture_fixed", "UPDATE ON case_picture", picture, "case_picture only grows"),
        rule("case_picture_no_delete", "DELETE ON case_picture", "", "case_picture only grows"),
    ]


def _postgresql() -> list[str]:
    same = "IS NOT DISTINCT FROM"
    case = _same(_CASE, same) + _erasing("subject", "order_no")
    cell = f"{_same(_CELL, same)} AND NEW.embedding IS NULL"

    def function(name: str, condition: str, words: str, told: str = "") -> str:
        body = f"IF {condition} THEN RAISE EXCEPTION '{words}'{told}; END IF; RETURN NEW;"
        return f"CREATE FUNCTION {name}() RETURNS trigger AS $$ BEGIN {body} END $$ LANGUAGE plpgsql"

    def rule(name: str, when: str, runs: str, each: str = "FOR EACH ROW ") -> str:
        return f"CREATE TRIGGER {name} BEFORE {when} {each}EXECUTE FUNCTION {runs}()"

    signed = f"OLD.state = 'signed' AND NOT ({_reopened()}) AND NOT ({case})"
    stays = [(table, "UPDATE OR DELETE") for table in GROWING]
    stays += [(table, "DELETE") for table in ("case_", "case_picture", "cell")]
    return [
        function("only_grows", "TRUE", "% only grows", ", TG_TABLE_NAME"),
        function("sealed", _is_signed("NEW.case_id"), "the case is signed"),
        function("withdrawal_sealed", _is_signed(_OF_READING), "the case is signed"),
        function("case_signed", signed, "the case is signed"),
        function("cell_fixed", f"NOT ({cell})", "answers are never overwritten"),
        function("case_picture_fixed", f"NOT ({_same(_PICTURE, same)}{_erasing('name')})", "case_picture only grows"),
        *(rule(f"{table}_only_grows", f"{acts} ON {table}", "only_grows") for table, acts in stays),
        *(rule(f"{table}_no_truncate", f"TRUNCATE ON {table}", "only_grows", "") for table, _ in stays),
        *(rule(f"{table}_sealed", f"INSERT ON {table}", "sealed") for table in SEALED),
        rule("withdrawal_sealed", "INSERT ON withdrawal", "withdrawal_sealed"),
        rule("case_signed", "UPDATE ON case_", "case_signed"),
        rule("cell_fixed", "UPDATE ON cell", "cell_fixed"),
        rule("case_picture_fixed", "UPDATE ON case_picture", "case_picture_fixed"),
    ]


_OF_READING = "(SELECT case_id FROM reading WHERE id = NEW.reading)"


def _is_signed(case_id: str) -> str:
    return f"(SELECT state FROM case_ WHERE id = {case_id}) = 'signed'"  # noqa: S608  (columns of ours)


def drop_statements(dialect: str) -> list[str]:
    """The statements that take the rules away, for a migration downwards."""
    if dialect == "sqlite":
        return [f"DROP TRIGGER IF EXISTS {each.split()[2]}" for each in _sqlite()]
    names = ("only_grows", "sealed", "withdrawal_sealed", "case_signed", "cell_fixed", "case_picture_fixed")
    return [f"DROP FUNCTION IF EXISTS {name}() CASCADE" for name in names]
