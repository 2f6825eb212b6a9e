"""The two threads of a search: one keeps its words up to date, the other its vectors."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from heldout.core.errors import HeldoutError
from heldout.serve.search import rows
from heldout.serve.search.meaning import EncoderError

if TYPE_CHECKING:
    from heldout.serve.search.engine import Engine

_log = logging.getLogger(__name__)
_POLL_S = 2.0
_WHOLE_S = 300.0  # how often all rows are looked at, for texts that were changed in place
_AGAIN_S = 30.0
_SETTLE_S = 2.0  # the first pages come before the model


def follow(engine: Engine) -> None:
    """Bring the index up to date whenever papers have come, until the engine has ended."""
    seen: tuple[int, int, int] | None = None
    looked = 0.0
    while not engine.ended.is_set():
        pause = _POLL_S
        try:
            now = _now(engine, seen)
            # After a vote or a comment there are as many papers; a text that was changed in place
            # can wait.
            old = time.monotonic() - looked >= _WHOLE_S
            if now and (seen is None or seen[1:] != now[1:] or old):
                seen, looked = now, time.monotonic()
                engine.update_words()
        except (HeldoutError, OSError, ValueError) as error:
            # Busy elsewhere, or out of reach: search goes on with what it has.
            _log.info("The search index is not up to date: %s", error)
            seen, pause = None, _AGAIN_S
            engine.index.reload()
        engine.ended.wait(pause)


def learn(engine: Engine) -> None:
    """Load the model, and encode what has no vector, until the engine has ended."""
    last: dict[int, int] | None = {}
    pause = _AGAIN_S
    engine.ended.wait(_SETTLE_S)
    while not engine.ended.is_set():
        if engine.encoder is None and not engine.load_encoder():
            engine.ended.wait(pause)
            pause = min(2 * pause, 3600.0)
            continue
        try:
            if engine.known is not last:
                now = engine.known
                engine.update_vectors()
                last = now
            pause = _AGAIN_S
            engine.ended.wait(_POLL_S)
        except EncoderError as error:
            engine.lost(error)
            engine.ended.wait(_AGAIN_S)
        except (HeldoutError, OSError) as error:
            _log.warning("Search by meaning is not up to date: %s", error)
            engine.ended.wait(_AGAIN_S)


def _now(engine: Engine, seen: tuple[int, int, int] | None) -> tuple[int, int, int] | None:
    # What changes with the papers, asked for only when anything has changed.
    generation = engine.database.generation()
    return None if seen and seen[0] == generation else (generation, *rows.size(engine.database))
