"""Limits: which address is believed, what a network is, and how often it may do what."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from heldout.serve.settings import Settings
from heldout.serve.web import limits
from heldout.serve.web.limits import LIMITS, Counter, address_of, limited, network_key, network_of


def asked(proxies: int = 0, peer: str = "192.0.2.1", forwarded: tuple[str, ...] = ()) -> Request:
    site: Any = SimpleNamespace(
        settings=Settings(Path("x"), proxies=proxies), secret=b"a secret", parts={}
    )
    app = SimpleNamespace(state=SimpleNamespace(site=site))
    return Request({
        "type": "http", "client": (peer, 1), "app": app,
        "headers": [(b"x-forwarded-for", line.encode()) for line in forwarded],
    })  # fmt: skip


@pytest.mark.parametrize(
    ("proxies", "forwarded", "expected"),
    [
        (0, (), "192.0.2.1"),
        (0, ("203.0.113.5",), "192.0.2.1"),  # nobody of ours has written it
        (1, ("203.0.113.5",), "203.0.113.5"),
        (1, ("1.1.1.1, 203.0.113.5",), "203.0.113.5"),
        (1, ("1.1.1.1", "203.0.113.5"), "203.0.113.5"),  # two lines of one name
        (2, ("1.1.1.1, 203.0.113.5, 10.0.0.1",), "203.0.113.5"),
        (2, ("203.0.113.5",), "192.0.2.1"),  # came around a proxy
        (1, ("203.0.113.5:4711",), "203.0.113.5"),
        (1, ("[2001:db8::1]:4711",), "2001:db8::1"),
        (1, ("2001:db8::1",), "2001:db8::1"),
        (1, ("unknown",), "192.0.2.1"),
        (1, ("",), "192.0.2.1"),
        (1, ("x" * 5000,), "192.0.2.1"),
        (1, (), "192.0.2.1"),
    ],
)
def test_only_our_own_proxies_are_believed(
    proxies: int, forwarded: tuple[str, ...], expected: str
) -> None:
    assert address_of(asked(proxies, forwarded=forwarded)) == expected


def test_a_network_is_an_address_or_a_64() -> None:
    same = ("2001:db8::1", "2001:db8::ffff:0:0:1", "2001:db8:0:0:1::%eth0")
    assert len({network_of(a) for a in same}) == 1
    assert network_of("2001:db8:0:1::1") != network_of("2001:db8::1")
    assert network_of("192.0.2.1") != network_of("192.0.2.2")
    assert network_of("::ffff:192.0.2.1") == "192.0.2.1"


def test_what_is_counted_by_is_no_address_and_changes_each_day() -> None:
    one, day = asked(), 86400.0
    site = one.app.state.site
    key = network_key(site, one, now=10 * day)
    assert key == network_key(site, one, now=10.9 * day) != network_key(site, one, now=11 * day)
    assert len(key) == 32 and set(key) <= set("0123456789abcdef")
    assert key != network_key(site, asked(peer="192.0.2.2"), now=10 * day)
    site.secret = b"another"
    assert key != network_key(site, one, now=10 * day)


@pytest.mark.parametrize("what", LIMITS)
def test_every_limit_refuses_with_a_time_to_wait(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_000_000.0)
    request, (times, seconds) = asked(), LIMITS[what].windows[0]
    for _ in range(times):
        limited(request, what)
    with pytest.raises(HTTPException) as refused:
        limited(request, what)
    assert refused.value.status_code == 429
    wait = int((refused.value.headers or {})["Retry-After"])
    assert wait == seconds
    assert refused.value.detail.startswith(LIMITS[what].says)
    assert "Try again in" in refused.value.detail
    other = asked(peer="192.0.2.9")
    other.app.state.site = request.app.state.site
    limited(other, what)  # nobody else is kept out


def test_the_windows_of_a_limit_grow() -> None:
    for limit in LIMITS.values():
        assert list(limit.windows) == sorted(limit.windows, key=lambda w: w[1])
        assert limit.says.endswith((".", "one."))


def test_a_window_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1_000_000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    counter = Counter()

    def at(moment: float) -> bool:
        now[0] = 1_000_000.0 + moment
        return counter.hit(2, 10, "a") == 0.0

    # A fixed window that began at 10 would let the one at 10.5 pass.
    assert [at(m) for m in (0, 9, 9.5, 10.5, 11, 19.5)] == [True, True, False, True, False, True]


def test_threads_together_pass_as_often_as_one_would() -> None:
    counter = Counter()
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda _: counter.hit(7, 60, "a") == 0.0, range(200)))
    assert sum(made) == 7


def test_addresses_that_have_passed_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_MOST_KEYS", 100)
    counter = Counter()
    for number in range(150):
        counter.hit(1, 60, str(number))
    events = counter.store.events
    for key in list(events):
        events[key] = []  # as the store leaves them when their time is over
    counter.hit(1, 60, "one more")
    assert len(events) == 1


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (1, "a second"),
        (1.5, "2 seconds"),
        (31, "a minute"),
        (61, "2 minutes"),
        (3601, "2 hours"),
        (86400, "24 hours"),
    ],
)
def test_times_are_said_in_words(seconds: float, words: str) -> None:
    said: Callable[[float], str] = limits._words
    assert said(seconds) == words
