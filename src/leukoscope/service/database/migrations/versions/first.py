"""The first tables, and the rules that the database keeps."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from leukoscope.service.database.triggers import drop_statements, trigger_statements

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    op.create_table(
        "bucket",
        sa.Column("key", sa.String(length=100), nullable=False),
        sa.Column("tokens", sa.Float(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_bucket")),
    )
    op.create_table(
        "bundle",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("version", sa.String(length=50), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("parent", sa.String(length=36), nullable=True),
        sa.Column("created", sa.String(length=24), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bundle")),
        sa.UniqueConstraint("digest", name=op.f("uq_bundle_digest")),
    )
    op.create_table(
        "event",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("at", sa.String(length=24), nullable=False),
        sa.Column("actor", sa.String(length=36), nullable=False),
        sa.Column("action", sa.String(length=40), nullable=False),
        sa.Column("subject", sa.String(length=64), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("prev", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_event")),
        sa.UniqueConstraint("hash", name=op.f("uq_event_hash")),
    )
    op.create_table(
        "job",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=12), nullable=False),
        sa.Column("case_id", sa.String(length=36), nullable=True),
        sa.Column("subject", sa.String(length=64), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("claimed_until", sa.String(length=24), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("created", sa.String(length=24), nullable=False),
        sa.Column("by", sa.String(length=36), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job")),
    )
    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_job_case_id"), ["case_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_job_state"), ["state"], unique=False)

    op.create_table(
        "picture",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("media", sa.String(length=40), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("created", sa.String(length=24), nullable=False),
        sa.Column("erased_at", sa.String(length=24), nullable=True),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_picture")),
    )
    op.create_table(
        "setting",
        sa.Column("key", sa.String(length=100), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("changed_by", sa.String(length=36), nullable=True),
        sa.Column("changed_at", sa.String(length=24), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_setting")),
    )
    op.create_table(
        "user_",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("login", sa.String(length=100), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("password_hash", sa.String(length=300), nullable=False),
        sa.Column("roles", sa.String(length=100), nullable=False),
        sa.Column("created", sa.String(length=24), nullable=False),
        sa.Column("closed_at", sa.String(length=24), nullable=True),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("locked_until", sa.String(length=24), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user_")),
        sa.UniqueConstraint("login", name=op.f("uq_user__login")),
    )
    op.create_table(
        "case_",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("order_no", sa.String(length=100), nullable=False),
        sa.Column("subject", sa.String(length=100), nullable=False),
        sa.Column("readers", sa.Integer(), nullable=False),
        sa.Column("blind", sa.Integer(), nullable=False),
        sa.Column("target", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("fixed_set", sa.Integer(), nullable=False),
        sa.Column("um_per_px", sa.Float(), nullable=True),
        sa.Column("created_by", sa.String(length=36), nullable=False),
        sa.Column("created", sa.String(length=24), nullable=False),
        sa.ForeignKeyConstraint(["created_by"], ["user_.id"], name=op.f("fk_case__created_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_case_")),
    )
    with op.batch_alter_table("case_", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_case__order_no"), ["order_no"], unique=False)
        batch_op.create_index(batch_op.f("ix_case__state"), ["state"], unique=False)
        batch_op.create_index(batch_op.f("ix_case__subject"), ["subject"], unique=False)

    op.create_table(
        "session_",
        sa.Column("token_sha256", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.String(length=36), nullable=False),
        sa.Column("created", sa.String(length=24), nullable=False),
        sa.Column("seen", sa.String(length=24), nullable=False),
        sa.Column("expires", sa.String(length=24), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("agent", sa.String(length=200), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["user_.id"], name=op.f("fk_session__user_id")),
        sa.PrimaryKeyConstraint("token_sha256", name=op.f("pk_session_")),
    )
    with op.batch_alter_table("session_", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_session__user_id"), ["user_id"], unique=False)

    op.create_table(
        "amendment",
        sa.Column("case_id", sa.String(length=36), nullable=False),
        sa.Column("from_version", sa.Integer(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("by", sa.String(length=36), nullable=False),
        sa.Column("at", sa.String(length=24), nullable=False),
        sa.ForeignKeyConstraint(["by"], ["user_.id"], name=op.f("fk_amendment_by")),
        sa.ForeignKeyConstraint(["case_id"], ["case_.id"], name=op.f("fk_amendment_case_id")),
        sa.PrimaryKeyConstraint("case_id", "from_version", name=op.f("pk_amendment")),
        sa.UniqueConstraint("seq", name=op.f("uq_amendment_seq")),
    )
    op.create_table(
        "case_picture",
        sa.Column("case_id", sa.String(length=36), nullable=False),
        sa.Column("picture", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=300), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(length=10), nullable=False),
        sa.Column("added_by", sa.String(length=36), nullable=False),
        sa.Column("added", sa.String(length=24), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["case_.id"], name=op.f("fk_case_picture_case_id")),
        sa.ForeignKeyConstraint(["picture"], ["picture.sha256"], name=op.f("fk_case_picture_picture")),
        sa.PrimaryKeyConstraint("case_id", "picture", name=op.f("pk_case_picture")),
    )
    with op.batch_alter_table("case_picture", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_case_picture_picture"), ["picture"], unique=False)

    op.create_table(
        "completion",
        sa.Column("case_id", sa.String(length=36), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("reader", sa.String(length=36), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.String(length=24), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["case_.id"], name=op.f("fk_completion_case_id")),
        sa.ForeignKeyConstraint(["reader"], ["user_.id"], name=op.f("fk_completion_reader")),
        sa.PrimaryKeyConstraint("case_id", "version", "reader", name=op.f("pk_completion")),
        sa.UniqueConstraint("seq", name=op.f("uq_completion_seq")),
    )
    op.create_table(
        "run_",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("case_id", sa.String(length=36), nullable=False),
        sa.Column("picture", sa.String(length=64), nullable=False),
        sa.Column("bundle_id", sa.String(length=36), nullable=False),
        sa.Column("software", sa.String(length=50), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("um_per_px", sa.Float(), nullable=True),
        sa.Column("warnings", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("finished", sa.String(length=24), nullable=False),
        sa.ForeignKeyConstraint(["bundle_id"], ["bundle.id"], name=op.f("fk_run__bundle_id")),
        sa.ForeignKeyConstraint(["case_id"], ["case_.id"], name=op.f("fk_run__case_id")),
        sa.ForeignKeyConstraint(["picture"], ["picture.sha256"], name=op.f("fk_run__picture")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run_")),
    )
    with op.batch_alter_table("run_", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_run__case_id"), ["case_id"], unique=False)

    op.create_table(
        "signature",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("case_id", sa.String(length=36), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.String(length=36), nullable=False),
        sa.Column("printed_name", sa.String(length=200), nullable=False),
        sa.Column("meaning", sa.String(length=40), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("content_sha256", sa.String(length=64), nullable=False),
        sa.Column("head", sa.String(length=64), nullable=False),
        sa.Column("at", sa.String(length=24), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["case_.id"], name=op.f("fk_signature_case_id")),
        sa.ForeignKeyConstraint(["user_id"], ["user_.id"], name=op.f("fk_signature_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_signature")),
        sa.UniqueConstraint("case_id", "version", name="uq_signature_case_version"),
        sa.UniqueConstraint("seq", name=op.f("uq_signature_seq")),
    )
    with op.batch_alter_table("signature", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_signature_case_id"), ["case_id"], unique=False)

    op.create_table(
        "cell",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("case_id", sa.String(length=36), nullable=False),
        sa.Column("picture", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=False),
        sa.Column("x", sa.Integer(), nullable=True),
        sa.Column("y", sa.Integer(), nullable=True),
        sa.Column("w", sa.Integer(), nullable=True),
        sa.Column("h", sa.Integer(), nullable=True),
        sa.Column("logit", sa.Float(), nullable=True),
        sa.Column("probability", sa.Float(), nullable=True),
        sa.Column("doubt", sa.Float(), nullable=False),
        sa.Column("strength", sa.Float(), nullable=False),
        sa.Column("decision", sa.String(length=10), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("gate", sa.String(length=12), nullable=False),
        sa.Column("words", sa.Text(), nullable=True),
        sa.Column("embedding", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(["case_id"], ["case_.id"], name=op.f("fk_cell_case_id")),
        sa.ForeignKeyConstraint(["run_id"], ["run_.id"], name=op.f("fk_cell_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cell")),
        sa.UniqueConstraint("run_id", "number", name="uq_cell_run_number"),
    )
    with op.batch_alter_table("cell", schema=None) as batch_op:
        batch_op.create_index("ix_cell_case_doubt", ["case_id", "doubt", "place"], unique=False)
        batch_op.create_index("ix_cell_case_gate", ["case_id", "gate", "place"], unique=False)
        batch_op.create_index("ix_cell_case_place", ["case_id", "place"], unique=False)
        batch_op.create_index("ix_cell_case_strength", ["case_id", "strength", "place"], unique=False)

    op.create_table(
        "adjudication",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("case_id", sa.String(length=36), nullable=False),
        sa.Column("cell_id", sa.String(length=36), nullable=False),
        sa.Column("label", sa.String(length=40), nullable=False),
        sa.Column("by", sa.String(length=36), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.String(length=24), nullable=False),
        sa.ForeignKeyConstraint(["by"], ["user_.id"], name=op.f("fk_adjudication_by")),
        sa.ForeignKeyConstraint(["case_id"], ["case_.id"], name=op.f("fk_adjudication_case_id")),
        sa.ForeignKeyConstraint(["cell_id"], ["cell.id"], name=op.f("fk_adjudication_cell_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_adjudication")),
        sa.UniqueConstraint("seq", name=op.f("uq_adjudication_seq")),
    )
    with op.batch_alter_table("adjudication", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_adjudication_case_id"), ["case_id"], unique=False)

    op.create_table(
        "reading",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("case_id", sa.String(length=36), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("cell_id", sa.String(length=36), nullable=False),
        sa.Column("reader", sa.String(length=36), nullable=False),
        sa.Column("label", sa.String(length=40), nullable=False),
        sa.Column("seen", sa.Integer(), nullable=False),
        sa.Column("ms", sa.Integer(), nullable=True),
        sa.Column("at", sa.String(length=24), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["case_.id"], name=op.f("fk_reading_case_id")),
        sa.ForeignKeyConstraint(["cell_id"], ["cell.id"], name=op.f("fk_reading_cell_id")),
        sa.ForeignKeyConstraint(["reader"], ["user_.id"], name=op.f("fk_reading_reader")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reading")),
        sa.UniqueConstraint("seq", name=op.f("uq_reading_seq")),
    )
    with op.batch_alter_table("reading", schema=None) as batch_op:
        batch_op.create_index("ix_reading_case_seq", ["case_id", "seq"], unique=False)
        batch_op.create_index(batch_op.f("ix_reading_cell_id"), ["cell_id"], unique=False)

    op.create_table(
        "withdrawal",
        sa.Column("reading", sa.String(length=36), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.String(length=36), nullable=False),
        sa.Column("at", sa.String(length=24), nullable=False),
        sa.ForeignKeyConstraint(["reading"], ["reading.id"], name=op.f("fk_withdrawal_reading")),
        sa.PrimaryKeyConstraint("reading", name=op.f("pk_withdrawal")),
        sa.UniqueConstraint("seq", name=op.f("uq_withdrawal_seq")),
    )
    for statement in trigger_statements(op.get_bind().dialect.name):
        op.execute(sa.text(statement.replace(":", r"\:")))


def downgrade() -> None:
    """From this revision."""
    for statement in drop_statements(op.get_bind().dialect.name):
        op.execute(statement)
    op.drop_table("withdrawal")
    with op.batch_alter_table("reading", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_reading_cell_id"))
        batch_op.drop_index("ix_reading_case_seq")

    op.drop_table("reading")
    with op.batch_alter_table("adjudication", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_adjudication_case_id"))

    op.drop_table("adjudication")
    with op.batch_alter_table("cell", schema=None) as batch_op:
        batch_op.drop_index("ix_cell_case_strength")
        batch_op.drop_index("ix_cell_case_place")
        batch_op.drop_index("ix_cell_case_gate")
        batch_op.drop_index("ix_cell_case_doubt")

    op.drop_table("cell")
    with op.batch_alter_table("signature", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_signature_case_id"))

    op.drop_table("signature")
    with op.batch_alter_table("run_", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_run__case_id"))

    op.drop_table("run_")
    op.drop_table("completion")
    with op.batch_alter_table("case_picture", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_case_picture_picture"))

    op.drop_table("case_picture")
    op.drop_table("amendment")
    with op.batch_alter_table("session_", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_session__user_id"))

    op.drop_table("session_")
    with op.batch_alter_table("case_", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_case__subject"))
        batch_op.drop_index(batch_op.f("ix_case__state"))
        batch_op.drop_index(batch_op.f("ix_case__order_no"))

    op.drop_table("case_")
    op.drop_table("user_")
    op.drop_table("setting")
    op.drop_table("picture")
    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_job_state"))
        batch_op.drop_index(batch_op.f("ix_job_case_id"))

    op.drop_table("job")
    op.drop_table("event")
    op.drop_table("bundle")
    op.drop_table("bucket")
