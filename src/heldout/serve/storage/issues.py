"""Issues of the digest: which were made and up to when, and what was new between two times."""

from __future__ import annotations

from sqlalchemy import Connection, delete, func, select

from heldout.serve.storage.database import insert_unless
from heldout.serve.storage.tables import fetched, state, verdicts

_PREFIX = "issue:"  # rows of the table `state`: the value is the second up to which it tells


def until(connection: Connection, name: str) -> float | None:
    """Return the time up to which an issue tells what is new; None: it was not made yet."""
    found = connection.execute(select(state.c.value).where(state.c.name == _PREFIX + name)).scalar()
    return None if found is None else float(found)


def latest(connection: Connection, period: str, before: float) -> float | None:
    """Return up to when the last issue of a period told, of those before a time; None: none."""
    mine = state.c.name.like(f"{_PREFIX}{period}-%") & (state.c.value < before)
    found = connection.execute(select(func.max(state.c.value)).where(mine)).scalar()
    return None if found is None else float(found)


def open_issue(connection: Connection, name: str, until: float) -> bool:
    """Note that an issue is made; False when another sender was first."""
    made = insert_unless(connection, state).values(name=_PREFIX + name, value=int(until))
    # What comes back is counted, since the number of rows is not known on PostgreSQL.
    back = made.on_conflict_do_nothing().returning(state.c.name)
    return connection.execute(back).first() is not None


def new_fetched(
    connection: Connection, since: float, until: float, most: int
) -> tuple[list[str], int]:
    """Return the newest of the papers that were fetched between two times, and their number."""
    lately = (fetched.c.fetched_at > since) & (fetched.c.fetched_at <= until)
    total = connection.execute(select(func.count()).select_from(fetched).where(lately))
    keys = connection.execute(
        select(fetched.c.arxiv)
        .where(lately)
        .order_by(fetched.c.published.desc(), fetched.c.arxiv.desc())
        .limit(most)
    )
    return [str(key) for key in keys.scalars()], int(total.scalar_one())


def first_seen(connection: Connection) -> tuple[float, dict[str, float]]:
    """Return when this page saw its first record, and the first record of each paper."""
    rows = connection.execute(
        select(verdicts.c.slug, func.min(verdicts.c.seen_at)).group_by(verdicts.c.slug)
    )
    found = {str(slug): float(at) for slug, at in rows}
    return min(found.values(), default=0.0), found


def tidy(connection: Connection, before: float) -> None:
    """Forget issues that tell of a time long past."""
    mine = state.c.name.like(f"{_PREFIX}%") & (state.c.value < before)
    connection.execute(delete(state).where(mine))
