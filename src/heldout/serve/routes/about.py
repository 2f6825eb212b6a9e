"""How verdicts are made, what makes a paper trend, and what is stored."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from heldout.papers.verdict import FEWEST_SEEDS, LEVEL
from heldout.serve import feed
from heldout.serve.measured import RULE
from heldout.serve.site import site_of
from heldout.serve.web.templating import page

router = APIRouter(include_in_schema=False)


@router.get("/about")
def about(request: Request) -> Response:
    """Show the page."""
    return page(
        site_of(request), "about.html.jinja", kept=True, rule=RULE, fewest=FEWEST_SEEDS,
        level=f"{100 * LEVEL:g} %", half_life=feed.HALF_LIFE_DAYS, weights=feed.WEIGHTS,
        seen_days=feed.SEEN_DAYS,
    )  # fmt: skip
