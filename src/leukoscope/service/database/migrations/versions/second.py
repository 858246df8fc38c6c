"""The last number of a case's pictures is found without counting them; answers to requests that name a key."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    op.create_index("ix_case_picture_number", "case_picture", ["case_id", "number"])
    op.create_table(
        "request_",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("what", sa.String(length=64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("at", sa.String(length=24), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_request_")),
    )
    op.create_index("ix_request__at", "request_", ["at"])


def downgrade() -> None:
    """From this revision."""
    op.drop_table("request_")
    op.drop_index("ix_case_picture_number", "case_picture")
