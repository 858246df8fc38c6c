"""The last number of a case's pictures is found without counting them."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    op.create_index("ix_case_picture_number", "case_picture", ["case_id", "number"])


def downgrade() -> None:
    """From this revision."""
    op.drop_index("ix_case_picture_number", "case_picture")
