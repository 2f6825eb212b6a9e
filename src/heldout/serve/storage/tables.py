"""The tables. Papers of the library and their records are files, and are not here.

Times are UTC, in seconds since 1970, so that both databases compare them alike. A `paper` is the
key of a paper on the feed: a slug of the library's, or an arXiv number without version.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

NAMES = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}
metadata = MetaData(naming_convention=NAMES)


def _id() -> Column[int]:
    # SQLite counts up only for INTEGER; PostgreSQL's keys should not end at two billion.
    return Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True)


state = Table(
    "state",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("value", BigInteger, nullable=False),
)
"""Counters: "generation" goes up with every change that a visitor could see."""

fetched = Table(
    "fetched",
    metadata,
    _id(),
    Column("arxiv", String(40), nullable=False, unique=True),
    Column("version", Integer, nullable=False),
    Column("title", Text, nullable=False),
    Column("abstract", Text, nullable=False),
    Column("authors", Integer, nullable=False),
    Column("names", Text, nullable=False, server_default=""),
    Column("organization", Text, nullable=False, server_default=""),
    Column("categories", Text, nullable=False, server_default=""),
    Column("published", String(10), nullable=False),
    Column("source", String(20), nullable=False),
    Column("fetched_at", Float, nullable=False),
    Index("ix_fetched_published_arxiv", "published", "arxiv"),
)
"""Papers that were read from arXiv or the Hugging Face feed; `published` is YYYY-MM-DD."""

votes = Table(
    "votes",
    metadata,
    _id(),
    Column("paper", String(80), nullable=False),
    Column("voter", String(64), nullable=False),
    Column("at", Float, nullable=False),
    UniqueConstraint("paper", "voter"),
    Index("ix_votes_at", "at"),
)
"""One for each paper and voter."""

comments = Table(
    "comments",
    metadata,
    _id(),
    Column("paper", String(80), nullable=False),
    Column("name", String(60), nullable=False),
    Column("text", Text, nullable=False),
    Column("author", String(64), nullable=False),
    Column("state", String(10), nullable=False),
    Column("at", Float, nullable=False),
    Index("ix_comments_paper_at", "paper", "at"),
)
"""Markdown as it was written; `state` is shown, held or removed."""

subscribers = Table(
    "subscribers",
    metadata,
    _id(),
    Column("email", String(254), nullable=False, unique=True),
    Column("period", String(10), nullable=False),
    Column("state", String(12), nullable=False),
    Column("nonce", String(32), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("confirmed_at", Float),
    Column("asked_at", Float),
    Column("asked", Integer, nullable=False, server_default="0"),
)
"""`email` in lower case; `period` daily or weekly; `state` pending, confirmed or left; `nonce` is
in every link of theirs, and a new one makes old links void; `asked` counts confirmation mails."""

deliveries = Table(
    "deliveries",
    metadata,
    _id(),
    Column("subscriber", ForeignKey("subscribers.id", ondelete="CASCADE"), nullable=False),
    Column("issue", String(20), nullable=False),
    Column("state", String(12), nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("due_at", Float, nullable=False),
    Column("owner", String(40), nullable=False, server_default=""),
    Column("message_id", String(120), nullable=False),
    Column("error", Text, nullable=False, server_default=""),
    Column("changed_at", Float, nullable=False),
    UniqueConstraint("subscriber", "issue"),
    Index("ix_deliveries_state_due_at", "state", "due_at"),
)
"""One for each subscriber and issue ("daily-2026-11-22", "weekly-2026-W47", "confirm-1")."""

jobs = Table(
    "jobs",
    metadata,
    _id(),
    Column("slug", String(80), nullable=False),
    Column("claim", String(80), nullable=False, server_default=""),
    Column("scale", String(10), nullable=False),
    Column("state", String(12), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("finished_at", Float),
    Column("cancel", Integer, nullable=False, server_default="0"),
    Column("pid", Integer),
    Column("result", Text, nullable=False, server_default=""),
    Index("ix_jobs_state_created_at", "state", "created_at"),
    Index("ix_jobs_slug_created_at", "slug", "created_at"),
)
"""Runs that visitors asked for: queued, running, done, failed, cancelled or interrupted."""

job_lines = Table(
    "job_lines",
    metadata,
    _id(),
    Column("job", ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("text", Text, nullable=False),
    Column("at", Float, nullable=False),
    UniqueConstraint("job", "number"),
)
"""What a run has said, line by line from 0."""

verdicts = Table(
    "verdicts",
    metadata,
    _id(),
    Column("slug", String(80), nullable=False),
    Column("claim", String(80), nullable=False),
    Column("verdict", String(20), nullable=False),
    Column("code_hash", String(80), nullable=False),
    Column("version", String(40), nullable=False),
    Column("value", Float),
    Column("low", Float),
    Column("high", Float),
    Column("n", Integer, nullable=False, server_default="0"),
    Column("scale", String(10), nullable=False),
    Column("seen_at", Float, nullable=False),
    UniqueConstraint("slug", "claim", "code_hash", "verdict", name="uq_verdicts_record"),
    Index("ix_verdicts_seen_at", "seen_at"),
)
"""Every record that was ever shown here, so that a page can tell how a verdict has changed."""
