"""First tables of the ledger; triggers keep its rows from being changed or deleted, even by mistake."""

import sqlalchemy as sa
from alembic import op

revision = "ledger_0001"
down_revision = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
UTC = sa.DateTime(timezone=True)

SQLITE = tuple(
    f"""
    CREATE TRIGGER promotion_no_{change} BEFORE {change} ON promotion
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END
    """
    for change in ("update", "delete")
)
POSTGRESQL = (
    """
    CREATE FUNCTION promotion_is_append_only() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'the ledger is append-only'; END $$
    """,
    """
    CREATE TRIGGER promotion_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON promotion
    FOR EACH STATEMENT EXECUTE FUNCTION promotion_is_append_only()
    """,
)


def upgrade() -> None:
    op.create_table(
        "promotion",
        sa.Column("sequence", BIG, autoincrement=False, nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("from_version", sa.Integer(), nullable=False),
        sa.Column("to_version", sa.Integer(), nullable=False),
        sa.Column("adapter_sha256", sa.String(), nullable=True),
        sa.Column("decision_id", sa.String(), nullable=True),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("recorded_at", UTC, nullable=False),
        sa.Column("previous_hash", sa.String(), nullable=False),
        sa.Column("entry_hash", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_promotion"),
    )
    refuse_changes = {"sqlite": SQLITE, "postgresql": POSTGRESQL}[op.get_bind().dialect.name]
    for statement in refuse_changes:
        op.execute(statement)


def downgrade() -> None:
    op.drop_table("promotion")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION promotion_is_append_only")
