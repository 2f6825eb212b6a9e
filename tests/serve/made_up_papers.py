"""Papers that nobody wrote: plausible in words, lengths and dates, the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import date, timedelta

from heldout.serve.fetch.merge import Entry

TOPICS = (
    "generalization", "memorization", "grokking", "benign overfitting", "double descent",
    "flat minima", "sharpness", "domain shift", "spurious correlations", "simplicity bias",
    "data pruning", "influence functions", "calibration", "in-context learning", "distillation",
    "continual learning", "catastrophic forgetting", "compositional reasoning", "pretraining",
    "instruction tuning", "low-rank adapters", "mixture of experts", "scaling laws", "robustness",
    "adversarial examples", "self-supervision", "contrastive learning", "early stopping",
    "label noise", "long-tailed data", "curriculum learning", "test-time adaptation",
    "neural tangent kernels", "implicit regularization", "margin bounds", "reward models",
)  # fmt: skip
MODELS = (
    "transformers", "convolutional networks", "diffusion models", "language models",
    "graph networks", "vision-language models", "wide networks", "recurrent networks",
    "state-space models", "linear models", "robot policies", "tabular models", "retrievers",
)  # fmt: skip
_TITLES = (
    "{a} in {m}", "On the {a} of {m}", "Why do {m} show {a}?", "{a}: a measure for {m}",
    "Towards {a} and {b} in {m}", "Rethinking {a} through {b}", "How {a} shapes {b} in {m}",
    "When does {a} help {m}?", "{m} with provable {a}", "A closer look at {a} and {b}",
)  # fmt: skip
_SENTENCES = (
    "We study {a} in {m} and find that it depends on {b}.",
    "It is not known when {m} trained on little data reach {a}.",
    "Earlier work explains {a} by {b}, but only for {n} layers or fewer.",
    "We propose a score for {a} that needs one pass over the data.",
    "On {n} benchmarks our method improves accuracy by {p} points over {b}.",
    "The gap between training and held-out loss shrinks by a factor of {p} when {b} is added.",
    "Our bound is of order $O(\\sqrt{{d/n}})$ and holds for $n \\geq {n}$ samples.",
    "Experiments with {m} of up to {n} million parameters support the claim.",
    "A controlled world shows that {a} appears before {b}, and not the other way round.",
    "We release code, {n} checkpoints, and the logs of every run.",
    "Surprisingly, {b} hurts {a} once the number of examples exceeds {n} thousand.",
    "These results suggest that {m} do not need {b} to achieve {a}.",
)  # fmt: skip
_FIRST = (
    "Ada",
    "Chen",
    "Ines",
    "Kofi",
    "Lena",
    "Mira",
    "Noor",
    "Omar",
    "Pia",
    "Rui",
    "Sana",
    "Tom",
)
_LAST = (
    "Abara", "Berg", "Costa", "Demir", "Engel", "Fonte", "Gupta", "Horak", "Ito", "Jansen", "Kaur",
    "Lind", "Moreau", "Nagy", "Okoye", "Petrov", "Quist", "Rossi", "Silva", "Tanaka", "Ueda",
)  # fmt: skip
_PLACES = ("University of Norden", "Institute of Learning", "Lakeside Labs", "Open Model Group")
_CATEGORIES = ("cs.LG", "stat.ML", "cs.CL", "cs.CV", "cs.AI", "cs.RO", "math.ST")


def made_up(
    n: int, seed: int = 0, first: date = date(2016, 1, 1), last: date = date(2026, 11, 20)
) -> Iterator[Entry]:
    """Give n papers, newest first, with numbers as arXiv would give them (at most 99,999 a month).

    Titles are 3 to 15 words long, abstracts 60 to 250; a third name an organization.
    """
    rng = random.Random(seed)
    span = (last - first).days
    # More in later years, as it was.
    days = sorted(first + timedelta(int(span * rng.random() ** 0.5)) for _ in range(n))
    counts: dict[str, int] = {}
    made = []
    for day in days:
        month = f"{day:%y%m}"
        counts[month] = counts.get(month, 0) + 1
        made.append((day, f"{month}.{counts[month]:05d}"))
    for day, number in reversed(made):
        yield _paper(rng, day, number)


def _paper(rng: random.Random, day: date, number: str) -> Entry:
    a, b = rng.sample(TOPICS, 2)
    m = rng.choice(MODELS)

    def filled(pattern: str) -> str:
        return pattern.format(a=a, b=b, m=m, n=rng.randint(2, 900), p=f"{rng.uniform(1, 9):.1f}")

    title = filled(rng.choice(_TITLES))
    abstract = " ".join(filled(s) for s in rng.sample(_SENTENCES, rng.randint(5, 11)))
    authors = min(1 + int(rng.expovariate(0.25)), 60)
    names = ", ".join(f"{rng.choice(_FIRST)} {rng.choice(_LAST)}" for _ in range(authors))
    return Entry(
        number, 1 + int(rng.random() < 0.3), title[0].upper() + title[1:],
        abstract[0].upper() + abstract[1:], authors, day.isoformat(), names[:2000],
        rng.choice(_PLACES) if rng.random() < 0.33 else "",
        " ".join(rng.sample(_CATEGORIES, rng.randint(1, 3))),
    )  # fmt: skip
