"""SQLite and PostgreSQL: the store, the ledger, the embedded log and their tables."""
