"""The home folder: names and places of everything that a loop keeps on disk."""

from pathlib import Path

STORE, LEDGER, REGISTRY = "store.db", "ledger.db", "mlflow.db"
"""Names of the embedded databases' files."""
USER_KEY = "user.key"
"""File with the key of the users' pseudonyms."""

JOBS, CANDIDATES, SNAPSHOTS = "jobs", "candidates", "snapshots"
DOCS = "data_docs"
"""Pages of the expectation suite, a folder for each snapshot."""
DOWNLOADS = "versions"
"""Adapters fetched from the registry, a folder for each version."""
REFERENCE = "cache/reference"
"""Log-probabilities of the champions, which a training computes once."""
ANSWERS = "cache/answers"
"""Answers of a model to held-out prompts, a file for each fingerprint."""
NIGHTS = "nights"

MANIFEST = "manifest.json"
"""Inputs and results of a training, in the folder of its job and of its candidate."""
STEPS = "steps.jsonl"
"""Metrics of each optimiser step, in the folder of a job."""
SHOWN_ANSWERS = "answers.json"
"""Answers that a night's page shows, in the folder of a candidate."""


def job_folder(home: Path, job_id: str) -> Path:
    """Folder of a job: checkpoints, steps, and the manifest of the last candidate that it made."""
    return home / JOBS / job_id


def candidate_folder(home: Path, candidate_id: str) -> Path:
    """Folder of a candidate's adapter, manifest and answers."""
    return home / CANDIDATES / candidate_id


def snapshot_folder(home: Path, snapshot_id: str) -> Path:
    """Folder of a snapshot's tables and manifest."""
    return home / SNAPSHOTS / snapshot_id


def docs_folder(home: Path, snapshot_id: str) -> Path:
    """Folder of the pages of a snapshot's validation."""
    return home / DOCS / snapshot_id


def page(home: Path, night_id: str) -> Path:
    """The file with a night's page."""
    return home / NIGHTS / night_id / "report.html"
