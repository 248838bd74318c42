"""Column for the settings with which a night began."""

import sqlalchemy as sa
from alembic import op

revision = "store_0006"
down_revision = "store_0005"


def upgrade() -> None:
    op.add_column("night", sa.Column("settings", sa.JSON(), nullable=False, server_default="{}"))


def downgrade() -> None:
    op.drop_column("night", "settings")
