"""How people ask for the library's papers: names, terms and questions that their pages lack.

A page says what was found in the paper's own words, and who looks for it does not know these. So
each paper has the names and terms that it goes by, and questions that it answers, in asked.json;
they were written from the papers, by somebody who had seen no judged query of `evaluate`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

_FILE = Path(__file__).with_name("asked.json")


def terms(slug: str) -> tuple[str, ...]:
    """Return the names and terms that a paper of the library goes by, most telling first.

    >>> "EL2N" in terms("data_diet"), terms("no such paper")
    (True, ())
    """
    return tuple(_read().get(slug, {}).get("terms", ()))


def questions(slug: str) -> tuple[str, ...]:
    """Return questions that a paper of the library answers.

    >>> len(questions("data_diet")) >= 10
    True
    """
    return tuple(_read().get(slug, {}).get("questions", ()))


@cache
def _read() -> Mapping[str, Mapping[str, list[str]]]:
    found: Mapping[str, Mapping[str, list[str]]] = json.loads(_FILE.read_text("utf-8"))
    return found
