"""A page of a single paper, which is made in no time, and ways to ask for it."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from starlette.testclient import TestClient

from heldout.serve.items import Item, Library
from heldout.serve.site import Site
from heldout.serve.storage import comments, votes

PAPER = "/papers/data_diet"
ORIGIN = "http://127.0.0.1:8000"
ITEM = Item("data_diet", "Data diet", "2021-07-15", "2107.07075", "Less data.", package="data")
LIBRARY = Library({ITEM.key: ITEM}, {ITEM.arxiv: ITEM.key})
SECRET = "test secret 0123456789"


def token(client: TestClient) -> str:
    """The token of the paper's page, as a browser would send it with a form."""
    return re.findall(r'name="form_token" value="([0-9a-f]{32})"', client.get(PAPER).text)[0]


def post(client: TestClient, path: str, data: dict[str, str], **more: Any) -> Any:
    return client.post(path, data=data, follow_redirects=False, **more)


def comments_of(site: Site) -> list[comments.Comment]:
    with site.database.read() as connection:
        return comments.listed(connection)


def counts(site: Site) -> tuple[int, int]:
    """How many comments there are, and how many votes for the paper."""
    with site.database.read() as connection:
        voted = votes.count(connection, ["data_diet"])
        return len(comments.listed(connection)), sum(voted.values())


def asked(app: Any, body: Any, path: str = "/", method: str = "POST", **more: str) -> list[dict]:
    """What an application sends when it is called as a server would."""
    sent: list[dict] = []
    named = {"host": "127.0.0.1:8000", "content-type": "application/x-www-form-urlencoded", **more}
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1",
        "method": method, "path": path, "raw_path": path.encode(), "query_string": b"",
        "root_path": "", "scheme": "http", "client": ("192.0.2.1", 1), "server": ("127.0.0.1", 1),
        "headers": [(k.encode(), v.encode("latin-1")) for k, v in named.items()],
    }  # fmt: skip

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, body, send))
    return sent


async def nothing() -> dict:
    """A body of no bytes."""
    return {"type": "http.request", "body": b"", "more_body": False}
