"""The databases the contract tests run on: SQLite, and PostgreSQL (a private server, or NIGHTSHIFT_TEST_POSTGRES)."""

import os
import uuid
from pathlib import Path

import sqlalchemy

from tests import services

DATABASES = ("sqlite", "postgresql")


def fresh_url(database: str, folder: Path) -> str:
    """The address of an empty database."""
    if database == "sqlite":
        return f"sqlite:///{folder}/nightshift.db"
    return _fresh_postgres(os.environ.get("NIGHTSHIFT_TEST_POSTGRES") or services.postgres().url)


def _fresh_postgres(server: str) -> str:
    name = f"nightshift_{uuid.uuid4().hex}"
    engine = sqlalchemy.create_engine(
        sqlalchemy.make_url(server).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return sqlalchemy.make_url(server).set(database=name).render_as_string(hide_password=False)
