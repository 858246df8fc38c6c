"""Whole slides, which stay where they are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    op.create_table(
        "slide",
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("changed", sa.BigInteger(), nullable=False),
        sa.Column("about", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run_.id"], name=op.f("fk_slide_run_id")),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_slide")),
    )


def downgrade() -> None:
    """From this revision."""
    op.drop_table("slide")
