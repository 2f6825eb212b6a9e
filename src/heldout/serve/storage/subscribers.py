"""Subscribers: asked for, confirmed, left; and how many confirmation mails an address may get.

A row is pending, confirmed, left, or aside (mail to it was refused for good several times in a
row). Of an address that left only a keyed hash stays, so that its links still work and the bounds
on mail to it outlive the leaving.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, func, or_, select, update

from heldout.serve.storage.database import insert_unless
from heldout.serve.storage.tables import deliveries, subscribers

HOUR_S, DAY_S = 3600.0, 86400.0
PER_WEEK = 3
"""Confirmation mails that one address gets in seven days; of them one in an hour."""
PER_HOUR = 200
"""Confirmation mails to all addresses together in an hour."""
KEPT_S = 8 * DAY_S
"""How long an address stays that was never confirmed: longer than its link and its bounds."""
_LEFT = "left:"


@dataclass(frozen=True)
class Subscriber:
    """An address and what it gets."""

    id: int
    """Number in its links."""
    email: str
    """In lower case; of one that left, "left:" and a keyed hash."""
    period: str
    """daily or weekly."""
    state: str
    """pending, confirmed, left or aside."""
    nonce: str
    """In the link that confirms; another one makes old links void."""


def ask(
    connection: Connection, email: str, period: str, mark: str, now: float, message_id: str
) -> bool:
    """Note that someone asked for mail to an address, and queue a confirmation within the bounds.

    Args:
        connection: to write with.
        email: checked and in lower case.
        period: daily or weekly; of an address that is confirmed it changes nothing.
        mark: keyed hash of the address.
        now: UTC seconds since 1970.
        message_id: of the confirmation mail.

    Returns:
        Whether a mail was queued; visitors must not learn it.
    """
    row = _locked(connection, email, mark)
    if row is None:
        made = insert_unless(connection, subscribers).values(
            email=email, period=period, state="pending", nonce=_nonce(), created_at=now
        )
        connection.execute(made.on_conflict_do_nothing(index_elements=["email"]))
        row = _locked(connection, email, mark)
    if row is None or not _may_mail(connection, row, now):
        return False
    asked = int(row.asked) + 1
    changes: dict[str, Any] = {"asked": asked, "asked_at": now}
    if row.state != "confirmed":
        changes |= {"email": email, "period": period, "state": "pending"}
    if row.state == "left":
        changes |= {"nonce": _nonce(), "created_at": now, "confirmed_at": None}
    connection.execute(update(subscribers).where(subscribers.c.id == row.id).values(**changes))
    queued = insert_unless(connection, deliveries).values(
        subscriber=row.id, issue=f"confirm-{asked}", state="waiting", due_at=now,
        message_id=message_id, changed_at=now,
    )  # fmt: skip
    back = queued.on_conflict_do_nothing().returning(deliveries.c.id)
    return connection.execute(back).first() is not None


def asked_lately(connection: Connection, now: float) -> int:
    """Return how many confirmation mails were queued or sent within the hour."""
    return _confirmations(connection, deliveries.c.changed_at > now - HOUR_S)


def by_id(connection: Connection, number: int) -> Subscriber | None:
    """Return a subscriber; None: there is none."""
    row = connection.execute(select(subscribers).where(subscribers.c.id == number)).first()
    return None if row is None else _subscriber(row)


def confirm(connection: Connection, number: int, nonce: str, now: float) -> Subscriber | None:
    """Confirm a subscription; None when the link was made for another one, or is void.

    Twice is as good as once.
    """
    mine = (subscribers.c.id == number) & (subscribers.c.nonce == nonce)
    waiting = subscribers.c.state.in_(("pending", "aside"))
    connection.execute(
        update(subscribers).where(mine, waiting).values(state="confirmed", confirmed_at=now)
    )
    row = connection.execute(
        select(subscribers).where(mine, subscribers.c.state == "confirmed")
    ).first()
    return None if row is None else _subscriber(row)


def leave(connection: Connection, number: int, mark: str) -> None:
    """End a subscription: its address is forgotten, and what waits for it is not sent.

    Confirmations that were sent stay, without the address, so that it can still be told how many
    there were.
    """
    connection.execute(
        delete(deliveries).where(
            deliveries.c.subscriber == number,
            or_(deliveries.c.issue.not_like("confirm-%"), deliveries.c.state != "sent"),
        )
    )
    connection.execute(
        update(subscribers)
        .where(subscribers.c.id == number)
        .values(email=f"{_LEFT}{mark}", state="left", nonce=_nonce(), confirmed_at=None)
    )


def change(connection: Connection, number: int, period: str) -> bool:
    """Change how often mail is sent; False for one that is not confirmed."""
    mine = (subscribers.c.id == number) & (subscribers.c.state == "confirmed")
    made = connection.execute(update(subscribers).where(mine).values(period=period))
    return made.rowcount == 1


def set_aside(connection: Connection, number: int) -> None:
    """Send no more digests to an address that refuses them, until it is confirmed again."""
    mine = (subscribers.c.id == number) & (subscribers.c.state == "confirmed")
    connection.execute(update(subscribers).where(mine).values(state="aside"))


def tidy(connection: Connection, now: float) -> int:
    """Forget addresses that were never confirmed, and return how many."""
    last = func.coalesce(subscribers.c.asked_at, subscribers.c.created_at)
    old = (subscribers.c.state == "pending") & (last < now - KEPT_S)
    return int(connection.execute(delete(subscribers).where(old)).rowcount)


def counts(connection: Connection) -> dict[str, int]:
    """Return how many subscribers are in each state."""
    rows = connection.execute(
        select(subscribers.c.state, func.count()).group_by(subscribers.c.state)
    )
    return {str(state): int(count) for state, count in rows}


def mark_in(subscriber: Subscriber) -> str | None:
    """Return the keyed hash that stayed of an address that left; None: it is still here.

    >>> mark_in(Subscriber(1, "left:ab", "daily", "left", ""))
    'ab'
    """
    left = subscriber.email.startswith(_LEFT)
    return subscriber.email.removeprefix(_LEFT) if left else None


def _may_mail(connection: Connection, row: Row[Any], now: float) -> bool:
    if row.asked_at is not None and row.asked_at > now - HOUR_S:
        return False
    lately = deliveries.c.changed_at > now - 7 * DAY_S
    mine = (deliveries.c.subscriber == row.id) & lately
    return _confirmations(connection, mine) < PER_WEEK


def _confirmations(connection: Connection, which: Any) -> int:
    wanted = select(func.count()).select_from(deliveries)
    found = connection.execute(wanted.where(which, deliveries.c.issue.like("confirm-%")))
    return int(found.scalar_one())


def _locked(connection: Connection, email: str, mark: str) -> Row[Any] | None:
    # PostgreSQL: of two who ask for one address at once, the second waits here for the first.
    # Should the address be here twice, as one that left under another secret, the living row wins.
    same = subscribers.c.email.in_((email, f"{_LEFT}{mark}"))
    order = (subscribers.c.state == "left", subscribers.c.id)
    return connection.execute(
        select(subscribers).where(same).order_by(*order).with_for_update()
    ).first()


def _nonce() -> str:
    return secrets.token_hex(16)


def _subscriber(row: Row[Any]) -> Subscriber:
    return Subscriber(int(row.id), row.email, row.period, row.state, row.nonce)
