"""Deliveries: one row for each subscriber and issue, which goes through these states.

    waiting -> sending -> handing over -> sent
                  |            |
                  +-> failed   +-> waiting or failed, only when the server has said no

A sender claims a row (sending) by compare-and-set, under its name and for a time. It commits
"handing over" when the server has the whole text but not yet the final dot that makes it a mail;
that commit is compare-and-set too, so of two senders that hold one row at most one gets to the dot.
A row that stays in "handing over" is never claimed again by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, func, or_, select, update

from heldout.serve.storage.database import insert_unless
from heldout.serve.storage.tables import deliveries, subscribers

HANDING = "handing over"
OPEN = ("waiting", "sending", HANDING)
"""States from which a delivery can still come to another one."""
_LOOKED_AT = 20  # rows at the head of the queue, of which other senders may have taken some
_LONGEST_ERROR = 500
_CHUNK = 500


@dataclass(frozen=True)
class Delivery:
    """A message that is to be sent, or may have been."""

    id: int
    """Number."""
    subscriber: int
    """Number of the subscriber."""
    email: str
    """Address."""
    issue: str
    """daily-2026-11-22, weekly-2026-W47 or confirm-1."""
    state: str
    """waiting, sending, handing over, sent or failed."""
    attempts: int
    """Times that it was claimed."""
    message_id: str
    """Of the mail, the same at every attempt."""
    owner: str
    """Sender that has claimed it."""
    due_at: float
    """When it may be claimed: the next attempt, or the end of a claim."""
    changed_at: float
    """UTC seconds since 1970."""
    error: str
    """What the server said last."""


def enlist(
    connection: Connection, issue: str, period: str, now: float, message_id: Callable[[int], str]
) -> int:
    """Make a row for everybody who gets an issue, as far as there is none; return how many."""
    who = (subscribers.c.period == period) & (subscribers.c.state == "confirmed")
    numbers = connection.execute(select(subscribers.c.id).where(who)).scalars().all()
    made = 0
    for start in range(0, len(numbers), _CHUNK):
        rows = [
            {"subscriber": n, "issue": issue, "state": "waiting", "due_at": now, "changed_at": now,
             "message_id": message_id(n)}
            for n in numbers[start : start + _CHUNK]
        ]  # fmt: skip
        new = insert_unless(connection, deliveries).values(rows).on_conflict_do_nothing()
        new = new.returning(deliveries.c.id)
        made += len(connection.execute(new).all())
    return made


def claim(
    connection: Connection, owner: str, now: float, lease_s: float, issues: str = "%"
) -> Delivery | None:
    """Take the delivery that is due longest; None when nothing is due.

    Args:
        connection: to write with.
        owner: name of the sender.
        now: UTC seconds since 1970.
        lease_s: after so long others may take it.
        issues: pattern of names, such as "confirm-%".
    """
    due = and_(
        deliveries.c.state.in_(("waiting", "sending")), deliveries.c.due_at <= now,
        deliveries.c.issue.like(issues),
    )  # fmt: skip
    found = connection.execute(
        _wanted().where(due).order_by(deliveries.c.due_at, deliveries.c.id).limit(_LOOKED_AT)
    ).all()
    for row in found:
        same = and_(
            deliveries.c.id == row.id, deliveries.c.state == row.state,
            deliveries.c.owner == row.owner, deliveries.c.attempts == row.attempts,
            deliveries.c.due_at <= now,
        )  # fmt: skip
        taken = connection.execute(
            update(deliveries)
            .where(same)
            .values(state="sending", owner=owner, due_at=now + lease_s, changed_at=now,
                    attempts=row.attempts + 1)
        )  # fmt: skip
        if taken.rowcount == 1:
            held = {"state": "sending", "owner": owner, "attempts": row.attempts + 1}
            return Delivery(**{**row._mapping, **held})
    return None


def free(connection: Connection, gone: Callable[[str], bool], now: float) -> int:
    """Let go what senders hold that are gone, without waiting for the end of their claim."""
    held = connection.execute(_wanted().where(deliveries.c.state == "sending")).all()
    ids = [row.id for row in held if gone(row.owner)]
    for row in (r for r in held if r.id in ids):
        connection.execute(
            update(deliveries).where(_held(row), deliveries.c.due_at > now).values(due_at=now)
        )
    return len(ids)


def hand_over(connection: Connection, delivery: Delivery, now: float) -> bool:
    """Note that the final dot comes next; False when another sender or the visitor took it away."""
    return _moved(connection, _held(delivery), state=HANDING, changed_at=now, error="")


def sent(connection: Connection, delivery: Delivery, now: float) -> bool:
    """Note that the server has taken the mail."""
    return _moved(connection, _held(delivery, HANDING), state="sent", changed_at=now, error="")


def later(
    connection: Connection, delivery: Delivery, now: float, due_at: float, error: str,
    counted: bool = True,
) -> bool:  # fmt: skip
    """Note that the server has not taken the mail, and when to try again.

    Args:
        connection: to write with.
        delivery: as claimed.
        now: UTC seconds since 1970.
        due_at: when it may be claimed again.
        error: what the server said.
        counted: whether the attempt counts; not when the server had nothing against the mail.
    """
    attempts = delivery.attempts if counted else delivery.attempts - 1
    held = or_(_held(delivery), _held(delivery, HANDING))
    return _moved(connection, held, state="waiting", owner="", due_at=due_at, changed_at=now,
                  error=error[:_LONGEST_ERROR], attempts=attempts)  # fmt: skip


def fail(connection: Connection, delivery: Delivery, now: float, error: str) -> bool:
    """Give a delivery up."""
    held = or_(_held(delivery), _held(delivery, HANDING))
    return _moved(connection, held, state="failed", changed_at=now, error=error[:_LONGEST_ERROR])


def doubt(connection: Connection, delivery: Delivery, error: str) -> bool:
    """Note why it is not known whether the server has taken the mail."""
    return _moved(connection, _held(delivery, HANDING), error=error[:_LONGEST_ERROR])


def handing_over(connection: Connection) -> list[Delivery]:
    """Return what is being handed over, or was when its sender died, oldest first."""
    wanted = _wanted().where(deliveries.c.state == HANDING).order_by(deliveries.c.id)
    return [Delivery(**row._mapping) for row in connection.execute(wanted)]


def resend(connection: Connection, chosen: Sequence[Delivery], now: float) -> int:
    """Queue again what was being handed over, as the operator wants; return how many."""
    changes = {"state": "waiting", "owner": "", "due_at": now, "changed_at": now, "attempts": 0}
    again = "sent again by hand"
    return sum(_moved(connection, _held(d, HANDING), error=again, **changes) for d in chosen)


def counts(connection: Connection, issue: str) -> dict[str, int]:
    """Return how many deliveries of an issue are in each state."""
    wanted = select(deliveries.c.state, func.count()).where(deliveries.c.issue == issue)
    rows = connection.execute(wanted.group_by(deliveries.c.state))
    return {str(state): int(count) for state, count in rows}


def next_due(connection: Connection, issues: str = "%") -> float | None:
    """Return when the next delivery is due, or a claim ends; None: nothing waits."""
    open_ = deliveries.c.state.in_(("waiting", "sending")) & deliveries.c.issue.like(issues)
    found = connection.execute(select(func.min(deliveries.c.due_at)).where(open_)).scalar()
    return None if found is None else float(found)


def refusals(connection: Connection, subscriber: int, most: int) -> int:
    """Return how many of a subscriber's last deliveries were given up, counted from the newest."""
    over = deliveries.c.state.in_(("sent", "failed"))
    rows = connection.execute(
        select(deliveries.c.state)
        .where(deliveries.c.subscriber == subscriber, over)
        .order_by(deliveries.c.id.desc())
        .limit(most)
    )
    count = 0
    for (state,) in rows:
        if state != "failed":
            break
        count += 1
    return count


def tidy(connection: Connection, before: float) -> int:
    """Forget deliveries that came to their end before a time."""
    over = deliveries.c.state.not_in(OPEN) & (deliveries.c.changed_at < before)
    return int(connection.execute(deliveries.delete().where(over)).rowcount)


def _wanted() -> Any:
    names = ("id", "subscriber", "issue", "state", "attempts", "message_id", "owner", "due_at",
             "changed_at", "error")  # fmt: skip
    columns = [deliveries.c[name] for name in names]
    joined = deliveries.join(subscribers, subscribers.c.id == deliveries.c.subscriber)
    return select(*columns, subscribers.c.email).select_from(joined)


def _held(delivery: Delivery | Row[Any], state: str = "sending") -> ColumnElement[bool]:
    # The number of attempts tells two claims by one sender apart.
    return and_(
        deliveries.c.id == delivery.id, deliveries.c.state == state,
        deliveries.c.owner == delivery.owner, deliveries.c.attempts == delivery.attempts,
    )  # fmt: skip


def _moved(connection: Connection, which: ColumnElement[bool], **changes: Any) -> bool:
    return connection.execute(update(deliveries).where(which).values(**changes)).rowcount == 1
