"""Script that Alembic runs: it applies one history on the connection it is given."""

from alembic import context

from connectors.sql.tables import LedgerTable, StoreTable

history = context.config.attributes["history"]
# Store and ledger may share a database, so each history has a version table of its own.
context.configure(
    connection=context.config.attributes["connection"],
    target_metadata={"store": StoreTable, "ledger": LedgerTable}[history].metadata,
    version_table=f"alembic_version_{history}",
)
with context.begin_transaction():
    context.run_migrations()
