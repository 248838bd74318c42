"""Run by Alembic: applies one history on the connection it is given; each history keeps its own version table."""

from alembic import context

from connectors.sql.tables import LedgerTable, StoreTable

history = context.config.attributes["history"]
context.configure(
    connection=context.config.attributes["connection"],
    target_metadata={"store": StoreTable, "ledger": LedgerTable}[history].metadata,
    version_table=f"alembic_version_{history}",
)
with context.begin_transaction():
    context.run_migrations()
