"""What visitors have added to a paper: comments, runs, and how its verdicts have changed.

Rooms that are not there, or have nothing to show, leave their part of the page out.
"""

from __future__ import annotations

from typing import Any

from heldout.serve.items import Item
from heldout.serve.site import Site


def visitors_part(site: Site, item: Item) -> dict[str, Any]:
    """Return what the paper's page shows beside what never changes.

    A route's `prepare` may add to `site.parts["paper parts"]`, a list of functions of site and
    item, each of which gives names for the templates `_comments` and `_run_form`.
    """
    made: dict[str, Any] = {"comments": [], "history": {}}
    for part in site.parts.get("paper parts", ()):
        made |= part(site, item)
    return made
