"""Access to MLflow for the registry: safe settings before its import, quiet logs, its failures as our errors."""

import os
import re
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from loop.errors import IntegrityError, NotFoundError, UnreachableError, UsageError
from loop.files import place_first
from loop.imports import collector_off

if TYPE_CHECKING:
    from mlflow import MlflowClient

SQLITE = "sqlite:///"

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # A pickled model would run its author's code when it is loaded.
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # Otherwise clients fetch large adapters from the server's S3 by themselves, which they may be unable to reach.
    "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",
    "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    # MLflow's own 7 retries of 120 s each would hide for many minutes that a server is away.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "GIT_PYTHON_REFRESH": "quiet",
}
"""Environment variables that MLflow reads when it is imported; those that the operator has set stay as they are."""

_ERRORS = {
    "RESOURCE_DOES_NOT_EXIST": (NotFoundError, "see `nightshift history` and the registry's page"),
    "INVALID_PARAMETER_VALUE": (UsageError, "use a name or value that MLflow accepts"),
}
_UNREACHABLE = (
    UnreachableError,
    "see that MLFLOW_TRACKING_URI is right and the server runs and lets you in, then repeat",
)


def connect(uri: str) -> "MlflowClient":
    """A client for an MLflow server, or for a SQLite file that is made when absent.

    Raises UsageError for other addresses, UnreachableError for a file it cannot open.
    """
    if not uri.startswith((SQLITE, "http://", "https://")):
        raise UsageError(
            f"{without_credentials(uri)} is no address of an MLflow registry",
            "use sqlite:///path, or the http(s) address of an MLflow server in front of any other database",
        )
    _make_safe()
    # Importing MLflow takes 1.4 s, its SQL store 1 s more. Lighter ways were tried and do not help:
    # mlflow.tracking.client and mlflow.store import as much, since each begins with the package, which imports genai,
    # models and data; the flag for mlflow-tracing (IS_TRACING_SDK_ONLY) saves 0.3 s with a server and breaks the SQL
    # store, whose tables need genai; mlflow-skinny has no SQL store. Only the garbage collector's fifth can be saved.
    with warnings.catch_warnings(), collector_off():
        # A warning about MLflow's own table mapping, given when its SQL store is first opened.
        warnings.filterwarnings("ignore", message="The ``noload`` loader strategy", category=DeprecationWarning)
        from mlflow import MlflowClient

        with explained(uri):
            if uri.startswith(SQLITE):
                _make_whole(Path(uri.removeprefix(SQLITE)))
            return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _make_whole(file: Path) -> None:
    """Make MLflow's database, unless `file` exists.

    MLflow makes its tables in many transactions and refuses a file that has only some of them. So they are made in a
    file aside: a process that is killed meanwhile leaves no file, and of two that start together one's file stays.
    """
    from mlflow import MlflowClient

    if file.exists():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=file.parent, prefix=".mlflow-") as aside:
        made, whole = Path(aside) / "made.db", Path(aside) / "whole.db"
        MlflowClient(tracking_uri=f"{SQLITE}{made.absolute()}").search_experiments(max_results=1)
        # SQLite itself makes the copy, because MLflow's connection pool still holds the first file open.
        with closing(sqlite3.connect(made)) as connection:
            connection.execute("VACUUM INTO ?", (str(whole),))
        place_first(whole, file)


@contextmanager
def explained(uri: str) -> Iterator[None]:
    """Turn MLflow's exceptions into NotFoundError, UsageError, UnreachableError or IntegrityError."""
    _make_safe()
    with collector_off():
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import DatabaseError

    shown = without_credentials(uri)
    try:
        yield
    except MlflowException as error:
        kind, remedy = _ERRORS.get(error.error_code, _UNREACHABLE)
        if "out-of-date database schema" in error.message:
            remedy = f"keep a copy of the database, then run `mlflow db upgrade {shown}`"
        raise kind(f"MLflow at {shown} says: {error.message.replace(uri, shown)}", remedy) from error
    except DatabaseError as error:
        raise IntegrityError(
            f"the database of MLflow at {shown} cannot be used: {error.orig}", "restore it from a backup"
        ) from error


def without_credentials(uri: str) -> str:
    """`uri` as it may be printed, without user and password."""
    return re.sub(r"://[^/@]*@", "://", uri)


def _make_safe() -> None:
    """Set the environment; it has to run before the first import of MLflow, wherever that is."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
