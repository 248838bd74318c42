"""The home folder: where everything lies that a loop keeps on disk."""

from pathlib import Path

STORE, LEDGER, REGISTRY = "store.db", "ledger.db", "mlflow.db"
"""Files of the embedded databases."""
USER_KEY = "user.key"
"""File with the key of the users' pseudonyms."""

JOBS, CANDIDATES, SNAPSHOTS = "jobs", "candidates", "snapshots"
DOCS = "data_docs"
"""Pages of the expectation suite, a folder for each snapshot."""
DOWNLOADS = "versions"
"""Adapters fetched from the registry, a folder for each version."""
REFERENCE = "cache/reference"
"""The champions' log-probabilities, which a training computes once."""
ANSWERS = "cache/answers"
"""What a model answered held-out prompts, by its fingerprint."""
NIGHTS = "nights"

MANIFEST = "manifest.json"
"""What a job or a candidate was made from, in its folder."""
STEPS = "steps.jsonl"
"""Metrics of each optimiser step, in a job's folder."""
SHOWN_ANSWERS = "answers.json"
"""Answers that a night's page shows, in a candidate's folder."""


def job_folder(home: Path, job_id: str) -> Path:
    """Where a job trains: checkpoints, steps, and the manifest of the last thing it made."""
    return home / JOBS / job_id


def candidate_folder(home: Path, candidate_id: str) -> Path:
    """Where a candidate's adapter, manifest and answers lie."""
    return home / CANDIDATES / candidate_id


def snapshot_folder(home: Path, snapshot_id: str) -> Path:
    """Where a snapshot's tables and manifest lie."""
    return home / SNAPSHOTS / snapshot_id


def docs_folder(home: Path, snapshot_id: str) -> Path:
    """Where the pages of a snapshot's validation lie."""
    return home / DOCS / snapshot_id


def page(home: Path, night_id: str) -> Path:
    """The file with a night's page."""
    return home / NIGHTS / night_id / "report.html"
