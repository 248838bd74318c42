"""The databases the contract tests run on: SQLite, and the PostgreSQL server NIGHTSHIFT_TEST_POSTGRES names."""

import os
import uuid
from pathlib import Path

import pytest
import sqlalchemy

POSTGRES = os.environ.get("NIGHTSHIFT_TEST_POSTGRES")
NO_POSTGRES = pytest.mark.skipif(not POSTGRES, reason="NIGHTSHIFT_TEST_POSTGRES names no PostgreSQL server")
DATABASES = ("sqlite", pytest.param("postgresql", marks=NO_POSTGRES))


def fresh_url(database: str, folder: Path) -> str:
    """The address of an empty database."""
    return f"sqlite:///{folder}/nightshift.db" if database == "sqlite" else _fresh_postgres(str(POSTGRES))


def _fresh_postgres(server: str) -> str:
    name = f"nightshift_{uuid.uuid4().hex}"
    engine = sqlalchemy.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return sqlalchemy.make_url(server).set(database=name).render_as_string(hide_password=False)
