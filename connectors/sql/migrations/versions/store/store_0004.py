"""Removal of indexes that no query used and that slowed every insert down."""

from alembic import op

revision = "store_0004"
down_revision = "store_0003"

UNUSED = {
    "interaction": ("conversation_id", "occurred_at", "user_key"),
    "feedback": ("interaction_id", "occurred_at", "user_key"),
}


def upgrade() -> None:
    for table, columns in UNUSED.items():
        for column in columns:
            op.drop_index(f"ix_{table}_{column}", table)


def downgrade() -> None:
    for table, columns in UNUSED.items():
        for column in columns:
            op.create_index(f"ix_{table}_{column}", table, [column])
