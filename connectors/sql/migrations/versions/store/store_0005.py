"""Columns for the job of a candidate, and for the adapters that a decision is about."""

import sqlalchemy as sa
from alembic import op

revision = "store_0005"
down_revision = "store_0004"

JOB = "UPDATE candidate SET job_id = candidate_id"
"""Job of an older candidate: its own id, which was that of the job."""
SHA256 = """UPDATE decision SET
    candidate_sha256 = (SELECT e.candidate_sha256 FROM evidence AS e WHERE e.evidence_id = decision.evidence_id),
    champion_sha256 = (SELECT e.champion_sha256 FROM evidence AS e WHERE e.evidence_id = decision.evidence_id)
WHERE evidence_id IN (SELECT evidence_id FROM evidence)"""


def upgrade() -> None:
    op.add_column("candidate", sa.Column("job_id", sa.String(), nullable=False, server_default=""))
    op.add_column("evidence", sa.Column("anchor_sha256", sa.String(), nullable=True))
    op.add_column("decision", sa.Column("candidate_sha256", sa.String(), nullable=False, server_default=""))
    op.add_column("decision", sa.Column("champion_sha256", sa.String(), nullable=True))
    op.execute(JOB)
    op.execute(SHA256)
    op.create_index("ix_candidate_job_id", "candidate", ["job_id"])


def downgrade() -> None:
    op.drop_index("ix_candidate_job_id", "candidate")
    op.drop_column("decision", "champion_sha256")
    op.drop_column("decision", "candidate_sha256")
    op.drop_column("evidence", "anchor_sha256")
    op.drop_column("candidate", "job_id")
