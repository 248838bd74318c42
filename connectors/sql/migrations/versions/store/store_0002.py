"""Column for the time at which a dead letter was sent again."""

import sqlalchemy as sa
from alembic import op

revision = "store_0002"
down_revision = "store_0001"


def upgrade() -> None:
    op.add_column("dead_letter", sa.Column("replayed_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("dead_letter", "replayed_at")
