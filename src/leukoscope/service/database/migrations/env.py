"""Run by Alembic: the steps go through the connection that `migrate` opened."""

from __future__ import annotations

from alembic import context

from leukoscope.service.database.tables import Base

if hasattr(context, "config"):  # it is run by Alembic, not merely imported
    context.configure(
        connection=context.config.attributes["connection"], target_metadata=Base.metadata, render_as_batch=True,
        transactional_ddl=False,
    )  # fmt: skip
    context.run_migrations()
