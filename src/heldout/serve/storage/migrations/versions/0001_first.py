"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables."""
    _of_papers()
    _of_jobs()
    _of_mail()
    _of_verdicts()
    op.execute("INSERT INTO state (name, value) VALUES ('generation', 0)")


def _of_papers() -> None:
    op.create_table(
        "comments",
        sa.Column("id", KEY, nullable=False),
        sa.Column("paper", sa.String(length=80), nullable=False),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("author", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_comments")),
    )
    op.create_index("ix_comments_paper_at", "comments", ["paper", "at"], unique=False)
    op.create_table(
        "fetched",
        sa.Column("id", KEY, nullable=False),
        sa.Column("arxiv", sa.String(length=40), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("abstract", sa.Text(), nullable=False),
        sa.Column("authors", sa.Integer(), nullable=False),
        sa.Column("names", sa.Text(), server_default="", nullable=False),
        sa.Column("organization", sa.Text(), server_default="", nullable=False),
        sa.Column("categories", sa.Text(), server_default="", nullable=False),
        sa.Column("published", sa.String(length=10), nullable=False),
        sa.Column("source", sa.String(length=20), nullable=False),
        sa.Column("fetched_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fetched")),
        sa.UniqueConstraint("arxiv", name=op.f("uq_fetched_arxiv")),
    )
    op.create_index("ix_fetched_published_arxiv", "fetched", ["published", "arxiv"], unique=False)


def _of_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", KEY, nullable=False),
        sa.Column("slug", sa.String(length=80), nullable=False),
        sa.Column("claim", sa.String(length=80), server_default="", nullable=False),
        sa.Column("scale", sa.String(length=10), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("started_at", sa.Float(), nullable=True),
        sa.Column("finished_at", sa.Float(), nullable=True),
        sa.Column("cancel", sa.Integer(), server_default="0", nullable=False),
        sa.Column("pid", sa.Integer(), nullable=True),
        sa.Column("result", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    op.create_index("ix_jobs_slug_created_at", "jobs", ["slug", "created_at"], unique=False)
    op.create_index("ix_jobs_state_created_at", "jobs", ["state", "created_at"], unique=False)
    op.create_table(
        "state",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_state")),
    )


def _of_mail() -> None:
    op.create_table(
        "subscribers",
        sa.Column("id", KEY, nullable=False),
        sa.Column("email", sa.String(length=254), nullable=False),
        sa.Column("period", sa.String(length=10), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("nonce", sa.String(length=32), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("confirmed_at", sa.Float(), nullable=True),
        sa.Column("asked_at", sa.Float(), nullable=True),
        sa.Column("asked", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subscribers")),
        sa.UniqueConstraint("email", name=op.f("uq_subscribers_email")),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", KEY, nullable=False),
        sa.Column("subscriber", KEY, nullable=False),
        sa.Column("issue", sa.String(length=20), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("due_at", sa.Float(), nullable=False),
        sa.Column("owner", sa.String(length=40), server_default="", nullable=False),
        sa.Column("message_id", sa.String(length=120), nullable=False),
        sa.Column("error", sa.Text(), server_default="", nullable=False),
        sa.Column("changed_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["subscriber"],
            ["subscribers.id"],
            name=op.f("fk_deliveries_subscriber"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        sa.UniqueConstraint("subscriber", "issue", name=op.f("uq_deliveries_subscriber")),
    )
    op.create_index("ix_deliveries_state_due_at", "deliveries", ["state", "due_at"], unique=False)
    op.create_table(
        "job_lines",
        sa.Column("id", KEY, nullable=False),
        sa.Column("job", KEY, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job"], ["jobs.id"], name=op.f("fk_job_lines_job"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job_lines")),
        sa.UniqueConstraint("job", "number", name=op.f("uq_job_lines_job")),
    )


def _of_verdicts() -> None:
    op.create_table(
        "verdicts",
        sa.Column("id", KEY, nullable=False),
        sa.Column("slug", sa.String(length=80), nullable=False),
        sa.Column("claim", sa.String(length=80), nullable=False),
        sa.Column("verdict", sa.String(length=20), nullable=False),
        sa.Column("code_hash", sa.String(length=80), nullable=False),
        sa.Column("version", sa.String(length=40), nullable=False),
        sa.Column("value", sa.Float(), nullable=True),
        sa.Column("low", sa.Float(), nullable=True),
        sa.Column("high", sa.Float(), nullable=True),
        sa.Column("n", sa.Integer(), server_default="0", nullable=False),
        sa.Column("scale", sa.String(length=10), nullable=False),
        sa.Column("seen_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verdicts")),
        sa.UniqueConstraint("slug", "claim", "code_hash", "verdict", name="uq_verdicts_record"),
    )
    op.create_index("ix_verdicts_seen_at", "verdicts", ["seen_at"], unique=False)
    op.create_table(
        "votes",
        sa.Column("id", KEY, nullable=False),
        sa.Column("paper", sa.String(length=80), nullable=False),
        sa.Column("voter", sa.String(length=64), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_votes")),
        sa.UniqueConstraint("paper", "voter", name=op.f("uq_votes_paper")),
    )
    op.create_index("ix_votes_at", "votes", ["at"], unique=False)


def downgrade() -> None:
    """Remove them."""
    op.drop_table("job_lines")
    op.drop_index("ix_deliveries_state_due_at", table_name="deliveries")
    op.drop_table("deliveries")
    op.drop_index("ix_votes_at", table_name="votes")
    op.drop_table("votes")
    op.drop_index("ix_verdicts_seen_at", table_name="verdicts")
    op.drop_table("verdicts")
    op.drop_table("subscribers")
    op.drop_table("state")
    op.drop_index("ix_jobs_state_created_at", table_name="jobs")
    op.drop_index("ix_jobs_slug_created_at", table_name="jobs")
    op.drop_table("jobs")
    op.drop_index("ix_fetched_published_arxiv", table_name="fetched")
    op.drop_table("fetched")
    op.drop_index("ix_comments_paper_at", table_name="comments")
    op.drop_table("comments")
