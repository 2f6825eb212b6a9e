"""Many clients of one page, in a process of their own: a plan on standard input, times on output.

Each client holds one connection and sends its next request when the last answer is whole, after a
pause that is drawn exponentially (none: the server is saturated). Plain sockets and a reader that
knows just enough HTTP/1.1, since the clients share the machine with the server.

    plan: {"port", "clients", "pause_s", "seconds", "warm_s", "seed", "requests": [[kind, path]]}
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import resource
import sys
import time
from typing import Any

_HEAD = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: text/html\r\n"
    "Accept-Encoding: gzip\r\nCookie: {cookie}\r\nUser-Agent: heldout-benchmark\r\n\r\n"
)


class Client:
    """One connection."""

    def __init__(self, plan: dict[str, Any], number: int) -> None:
        self.plan, self.random = plan, random.Random(f"{plan['seed']} {number}")
        self.cookie = "none=1"
        self.found: list[tuple[str, float, float, int, int]] = []

    async def run(self, start: float) -> None:
        end = start + self.plan["warm_s"] + self.plan["seconds"]
        await self.connect()
        requests, pause = self.plan["requests"], self.plan["pause_s"]
        at = self.random.randrange(len(requests))
        if pause:
            await asyncio.sleep(self.random.random() * pause)  # not all at once
        while (now := time.perf_counter()) < end:
            kind, path = requests[at % len(requests)]
            at += 1
            try:
                served, status, size = await self.ask(path)
            except (ConnectionError, asyncio.IncompleteReadError):
                # The server ends connections that rest for five seconds; a browser tries again.
                await self.connect()
                served, status, size = await self.ask(path)
            took = time.perf_counter() - now
            if now >= start + self.plan["warm_s"]:
                self.found.append((kind, took, served, status, size))
            if pause:
                await asyncio.sleep(self.random.expovariate(1 / pause))
        self.writer.close()

    async def connect(self) -> None:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.plan["port"])

    async def ask(self, path: str) -> tuple[float, int, int]:
        asked = _HEAD.format(path=path, port=self.plan["port"], cookie=self.cookie)
        self.writer.write(asked.encode())
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        status, length, served = int(head[9:12]), 0, float("nan")
        for line in head.split("\r\n")[1:]:
            name, _, value = line.partition(": ")
            if name == "content-length":
                length = int(value)
            elif name == "server-timing":
                served = float(value.rpartition("=")[2]) / 1000
            elif name == "set-cookie" and value.startswith("heldout_visitor="):
                self.cookie = value.partition(";")[0]
        if length:
            await self.reader.readexactly(length)
        return served, status, length


async def _all(plan: dict[str, Any]) -> list[tuple[str, float, float, int, int]]:
    clients = [Client(plan, n) for n in range(plan["clients"])]
    start = time.perf_counter()
    await asyncio.gather(*(c.run(start) for c in clients))
    return [one for c in clients for one in c.found]


def main() -> None:
    """Carry the plan out."""
    plan = json.loads(sys.stdin.readline())
    gc.disable()
    start = time.perf_counter()
    found = asyncio.run(_all(plan))
    used = resource.getrusage(resource.RUSAGE_SELF)
    busy = (used.ru_utime + used.ru_stime) / (time.perf_counter() - start)
    json.dump({"busy": busy, "answers": found}, sys.stdout)


if __name__ == "__main__":
    main()
