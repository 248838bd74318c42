"""Column for the aliases of interactions."""

import sqlalchemy as sa
from alembic import op

revision = "store_0003"
down_revision = "store_0002"


def upgrade() -> None:
    op.add_column("interaction", sa.Column("aliases", sa.JSON(), nullable=False, server_default="[]"))


def downgrade() -> None:
    op.drop_column("interaction", "aliases")
