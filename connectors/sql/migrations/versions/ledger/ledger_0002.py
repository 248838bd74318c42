"""Table with the ledger's id, by which a registry knows whose champions its aliases name."""

import uuid

import sqlalchemy as sa
from alembic import op

revision = "ledger_0002"
down_revision = "ledger_0001"


def upgrade() -> None:
    identity = op.create_table(
        "ledger_identity",
        sa.Column("ledger_id", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("ledger_id", name="pk_ledger_identity"),
    )
    op.bulk_insert(identity, [{"ledger_id": uuid.uuid4().hex}])


def downgrade() -> None:
    op.drop_table("ledger_identity")
