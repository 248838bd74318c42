"""First tables of the store: captured events, the embedded log, and the results of nights."""

import sqlalchemy as sa
from alembic import op

revision = "store_0001"
down_revision = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
UTC = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "interaction",
        sa.Column("sequence", BIG, autoincrement=False, nullable=False),
        sa.Column("interaction_id", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("occurred_at", UTC, nullable=False),
        sa.Column("conversation_id", sa.String(), nullable=False),
        sa.Column("messages", sa.JSON(), nullable=False),
        sa.Column("response", sa.JSON(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("parent_id", sa.String(), nullable=True),
        sa.Column("user_key", sa.String(), nullable=True),
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("sampling", sa.JSON(), nullable=True),
        sa.Column("token_logprobs", sa.JSON(), nullable=True),
        sa.Column("verifiers", sa.JSON(), nullable=False),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_interaction"),
        sa.UniqueConstraint("interaction_id", "source", name="uq_interaction_interaction_id_source"),
    )
    op.create_index("ix_interaction_conversation_id", "interaction", ["conversation_id"])
    op.create_index("ix_interaction_occurred_at", "interaction", ["occurred_at"])
    op.create_index("ix_interaction_user_key", "interaction", ["user_key"])
    op.create_table(
        "feedback",
        sa.Column("sequence", BIG, autoincrement=False, nullable=False),
        sa.Column("feedback_id", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("occurred_at", UTC, nullable=False),
        sa.Column("interaction_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("value", sa.Float(), nullable=True),
        sa.Column("text", sa.String(), nullable=True),
        sa.Column("other_interaction_id", sa.String(), nullable=True),
        sa.Column("whole_conversation", sa.Boolean(), nullable=False),
        sa.Column("revises", sa.String(), nullable=True),
        sa.Column("retracted", sa.Boolean(), nullable=False),
        sa.Column("user_key", sa.String(), nullable=True),
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_feedback"),
        sa.UniqueConstraint("feedback_id", "source", name="uq_feedback_feedback_id_source"),
    )
    op.create_index("ix_feedback_interaction_id", "feedback", ["interaction_id"])
    op.create_index("ix_feedback_occurred_at", "feedback", ["occurred_at"])
    op.create_index("ix_feedback_user_key", "feedback", ["user_key"])
    op.create_table(
        "dead_letter",
        sa.Column("sequence", BIG, autoincrement=False, nullable=False),
        sa.Column("letter_id", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("position", BIG, nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_dead_letter"),
        sa.UniqueConstraint("letter_id", name="uq_dead_letter_letter_id"),
    )
    op.create_table(
        "ingest_offset",
        sa.Column("topic", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("next", BIG, nullable=False),
        sa.PrimaryKeyConstraint("topic", "number", name="pk_ingest_offset"),
    )
    op.create_table(
        "counter",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("last", BIG, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_counter"),
    )
    op.create_table(
        "event_log",
        sa.Column("topic", sa.String(), nullable=False),
        sa.Column("offset", BIG, autoincrement=False, nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("topic", "offset", name="pk_event_log"),
    )
    op.create_table(
        "lease",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("acquired_at", UTC, nullable=False),
        sa.Column("expires_at", UTC, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_lease"),
    )
    op.create_table(
        "night",
        sa.Column("night_id", sa.String(), nullable=False),
        sa.Column("as_of", UTC, nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("champion_version", sa.Integer(), nullable=False),
        sa.Column("outputs", sa.JSON(), nullable=False),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=True),
        sa.Column("started_at", UTC, nullable=False),
        sa.Column("finished_at", UTC, nullable=True),
        sa.PrimaryKeyConstraint("night_id", name="pk_night"),
    )
    op.create_table(
        "snapshot",
        sa.Column("snapshot_id", sa.String(), nullable=False),
        sa.Column("as_of", UTC, nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.Column("curation", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("snapshot_id", name="pk_snapshot"),
    )
    op.create_table(
        "candidate",
        sa.Column("candidate_id", sa.String(), nullable=False),
        sa.Column("snapshot_id", sa.String(), nullable=False),
        sa.Column("parent_version", sa.Integer(), nullable=False),
        sa.Column("adapter_sha256", sa.String(), nullable=False),
        sa.Column("parent_sha256", sa.String(), nullable=True),
        sa.Column("base_fingerprint", sa.String(), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("candidate_id", name="pk_candidate"),
    )
    op.create_index("ix_candidate_snapshot_id", "candidate", ["snapshot_id"])
    op.create_table(
        "evidence",
        sa.Column("evidence_id", sa.String(), nullable=False),
        sa.Column("candidate_id", sa.String(), nullable=False),
        sa.Column("candidate_sha256", sa.String(), nullable=False),
        sa.Column("champion_version", sa.Integer(), nullable=False),
        sa.Column("champion_sha256", sa.String(), nullable=True),
        sa.Column("anchor_version", sa.Integer(), nullable=False),
        sa.Column("suites", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("evidence_id", name="pk_evidence"),
    )
    op.create_index("ix_evidence_candidate_id", "evidence", ["candidate_id"])
    op.create_table(
        "decision",
        sa.Column("decision_id", sa.String(), nullable=False),
        sa.Column("evidence_id", sa.String(), nullable=False),
        sa.Column("candidate_id", sa.String(), nullable=False),
        sa.Column("champion_version", sa.Integer(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("tests", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("decision_id", name="pk_decision"),
    )
    op.create_index("ix_decision_candidate_id", "decision", ["candidate_id"])


def downgrade() -> None:
    for table in (
        "decision",
        "evidence",
        "candidate",
        "snapshot",
        "night",
        "lease",
        "event_log",
        "counter",
        "ingest_offset",
        "dead_letter",
        "feedback",
        "interaction",
    ):
        op.drop_table(table)
