"""Candidates on disk, in `<home>/candidates/<candidate_id>/`, each named by the bytes of its adapter.

A training works in the folder of its job, `<home>/jobs/<job_id>/`, where its manifest and its steps stay.
"""

import shutil
from pathlib import Path

from loop.errors import NotFoundError
from loop.files import whole_folder
from loop.hashing import ADAPTER_FILES, is_adapter, require_adapter
from loop.home import MANIFEST, candidate_folder, job_folder
from loop.types import Candidate


def deliver(home: Path, candidate: Candidate) -> None:
    """Move a candidate from the folder of its job to its own, whole or not at all; may be repeated.

    Raises IntegrityError when the folder holds other bytes than the candidate's.
    """
    job, target = job_folder(home, candidate.job_id), candidate_folder(home, candidate.candidate_id)
    if not target.exists():
        # Whole before it has its name: a folder with the candidate's name counts as delivered.
        with whole_folder(target) as building:
            for name in (*ADAPTER_FILES, MANIFEST):
                shutil.copyfile(job / name, building / name)
    # Copied, compared, and only then removed from the job: a kill at any point leaves one whole adapter.
    adapter(home, candidate)
    for name in ADAPTER_FILES:
        (job / name).unlink(missing_ok=True)


def forget_lost(home: Path, job_id: str, made: Candidate) -> None:
    """Let a finished job train again when its candidate is neither in the candidate's folder nor in the job's."""
    job = job_folder(home, job_id)
    if not candidate_folder(home, made.candidate_id).exists() and not is_adapter(job, made.adapter_sha256):
        (job / MANIFEST).unlink()  # by its manifest a job is known as finished


def adapter(home: Path, candidate: Candidate) -> Path:
    """Folder of a candidate's adapter, after a check that its bytes are those that were trained.

    Raises NotFoundError when it is gone, IntegrityError when it was altered.
    """
    folder = candidate_folder(home, candidate.candidate_id)
    again = f"nightshift train {candidate.snapshot_id} --from {candidate.parent_version}"
    if not folder.exists():
        raise NotFoundError(
            f"candidate {candidate.candidate_id} has no files in {folder}: they were pruned or removed",
            f"train it again: {again}",
        )
    remedy = f"remove that folder and train again, what comes out is judged anew: {again}"
    return require_adapter(folder, candidate.adapter_sha256, f"candidate {candidate.candidate_id}", remedy)
