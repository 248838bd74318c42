"""Everything heavy that a command may need, imported: `tests.forked` forks from a process that has done so."""

from importlib import import_module

for name in (
    "great_expectations",
    "mlflow",
    "peft",
    "torch",
    "transformers",
    "connectors.expectations",
    "connectors.mlflow.registry",
    "connectors.sql.ledger",
    "connectors.sql.log",
    "connectors.sql.store",
    "loop.cli.main",
    "loop.models.language",
    "loop.nights.nightly",
    "loop.training",
):
    import_module(name)
