"""What the machine-readable addresses answer, field by field; /openapi.json is made from this."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Problem(BaseModel):
    """An error."""

    detail: str = Field(description="What was wrong, for a reader.")


class Effect(BaseModel):
    """A number with its interval."""

    value: float | None = Field(description="Mean over seeds; null where it is not finite.")
    low: float | None = Field(description="Lower end of the interval.")
    high: float | None = Field(description="Upper end of the interval.")
    level: float = Field(description="Of the interval, such as 0.95.")
    n: int = Field(description="Number of seeds.")
    unit: str = Field(description="Of value, low and high.")


class PaperItem(BaseModel):
    """A paper in a list."""

    key: str = Field(description="Slug of a paper of the library; arXiv number of a fetched one.")
    slug: str = Field(description="The same as key.")
    title: str = Field(description="As published.")
    date: str = Field(description="First version, YYYY-MM-DD.")
    arxiv: str = Field(description="arXiv number without version, or empty.")
    authors: int = Field(description="How many; 0: not known.")
    organization: str = Field(description="Where one is named, or empty.")
    package: str = Field(description="Package of the library with the reusable part, or empty.")
    source: Literal["library", "arxiv", "huggingface"] = Field(description="Where it is from.")
    built: bool = Field(description="Whether its claims are written as code here.")
    verdicts: dict[str, int] = Field(
        description='How many claims have each verdict; {"not built": 1} without claims.'
    )
    votes: int = Field(description="Votes of visitors.")
    comments: int = Field(description="Comments that are shown.")
    url: str = Field(description="The page for readers.")


class PaperList(BaseModel):
    """Some papers of all that fit the query."""

    items: list[PaperItem] = Field(description="In the order that was asked for.")
    total: int = Field(description="How many fit the query in all.")
    next: str | None = Field(description="Address of the items that follow; null at the end.")


class ClaimFound(BaseModel):
    """A claim with what was measured of it."""

    id: str = Field(description="Unique within the paper.")
    says: str = Field(description="The claim in a sentence of ours.")
    verdict: str = Field(description="holds, fails, inconclusive, toy or not measured.")
    reason: str = Field(description="Why it is that word; empty without a record.")
    paper_value: str = Field(description="The paper's own number and setting, in words.")
    metric: str = Field(description="Name of the number that is compared with the threshold.")
    direction: Literal["above", "below"] = Field(description="The claimed side of the threshold.")
    threshold: float = Field(description="Fixed before the first run that counts.")
    unit: str = Field(description="Of threshold and effect.")
    scale: str = Field(description="tiny, small or full; empty without a record.")
    effect: Effect | None = Field(description="What was measured; null without a record.")
    differs: str = Field(description="How our setting differs from the paper's.")
    record: str | None = Field(description="Address of the record; null without one.")


class Paper(PaperItem):
    """A paper with its claims."""

    names: str = Field(description="Names of authors where they are known, commas between.")
    summary: str = Field(description="Ours for the library's papers; else the authors' abstract.")
    claims: list[ClaimFound] = Field(description="In the paper's order; none when not built.")
    command: str | None = Field(description="Measures the claims again; null when not built.")
    records: str | None = Field(description="Address of all records in one file, or null.")
    figure: str | None = Field(description="Address of the plot as SVG, or null.")
    bibtex: str = Field(description="Address of the BibTeX entry.")
    badge: str = Field(description="Address of the badge as SVG.")


class RecordItem(BaseModel):
    """A record in a list."""

    slug: str = Field(description="Paper.")
    claim: str = Field(description="Claim.")
    says: str = Field(description="The claim in a sentence of ours.")
    verdict: str = Field(description="holds, fails, inconclusive or toy.")
    scale: str = Field(description="tiny, small or full.")
    direction: Literal["above", "below"] = Field(description="The claimed side of the threshold.")
    threshold: float = Field(description="That the record was judged by.")
    effect: Effect = Field(description="What was measured.")
    url: str = Field(description="Address of the whole record.")


class RecordList(BaseModel):
    """Some records of all that fit the query."""

    items: list[RecordItem] = Field(description="By paper, in the order of its claims.")
    total: int = Field(description="How many fit the query in all.")
    next: str | None = Field(description="Address of the items that follow; null at the end.")


class RecordEffect(BaseModel):
    """A record's number, named as in its file."""

    model_config = ConfigDict(extra="allow")
    value: float | None = Field(description="Mean over seeds.")
    ci_low: float | None = Field(description="Lower end of the interval.")
    ci_high: float | None = Field(description="Upper end of the interval.")
    n: int = Field(description="Number of seeds.")
    level: float = Field(description="Of the interval.")
    unit: str = Field(description="Of the numbers.")


class Record(BaseModel):
    """A record as it is shipped; later versions may add fields."""

    model_config = ConfigDict(extra="allow")
    schema_version: int = Field(description="Of the file's form.")
    slug: str = Field(description="Paper.")
    claim: str = Field(description="Claim.")
    scale: str = Field(description="tiny, small or full.")
    verdict: str = Field(description="holds, fails, inconclusive or toy.")
    reason: str = Field(description="Why it is that word.")
    effect: RecordEffect = Field(description="What was measured.")
    metric: str = Field(description="Name of the number that is compared.")
    direction: Literal["above", "below"] = Field(description="The claimed side.")
    threshold: float = Field(description="That the record was judged by.")
    paper_value: str = Field(description="The paper's own number and setting.")
    seeds: list[dict[str, Any]] = Field(description="Every seed's numbers and time.")
    controls: list[dict[str, Any]] = Field(description="Without which a claim is not judged.")
    settings: dict[str, Any] = Field(description="Of the runs.")
    environment: dict[str, Any] = Field(description="Machine and versions.")
    code_hash: str = Field(description="Of the code that was run.")
