"""No "Zero-Shot" Without Exponential Data, arXiv:2404.04125."""

from __future__ import annotations

from typing import Any

from heldout.papers.card import Claim, Control, Paper

PAPER = Paper(
    slug="clip_concepts",
    title=(
        'No "Zero-Shot" Without Exponential Data: Pretraining Concept Frequency Determines '
        "Multimodal Model Performance"
    ),
    date="2024-04-04",
    arxiv="2404.04125",
    summary=(
        "Counting how often each concept occurs in the pretraining data predicts how well "
        "image-text models do on it: each constant gain in accuracy costs a constant factor more "
        "examples. The trend holds over 34 models and five data sets. Rare concepts, collected as "
        "a benchmark, are handled badly by all of them."
    ),
    package="data",
    part="concept-frequency counter and log-linear fit",
    authors=8,
    code="bethgelab/frequency_determines_performance",
    licence="MIT",
    uses=(
        "heldout.data.frequency.law.frequency_law",
        "heldout.data.frequency.law.corrected_accuracy",
        "heldout.data.frequency.tail.tail_report",
        "heldout.data.frequency.misalignment.misalignment",
        "heldout.data.frequency.count.count_concepts",
        "heldout.data.frequency.count.caption_concepts",
        "heldout.data.frequency.engines.count_shards",
        "heldout.bench.concept_world.concept_world",
    ),
)

_TOY = (
    "300 Gaussian concepts in 32 dimensions with frequencies by Zipf's law (exponent 1.2), 20,000 "
    "pairs, a network of one hidden layer and a table of captions, InfoNCE; the paper: 34 models "
    "on up to 400 million pairs. True frequencies, so nothing is missed by a counter."
)
_REAL = (
    "Nothing is trained: the authors' released counts (caption and image tag, threshold 0.7) and "
    "accuracies (ensembled prompts), 10 models on the 4 sets with both, 4,469 classes of the 18 "
    "classification sets of their notebook (the text says 17). Intervals resample classes; every "
    "seed has the same data."
)
_LEARNS = Control("accuracy/skewed", "above", 0.05, "the model learns: chance is 0.003")
_WHOLE = Control("least_classes", "above", 4400, "every class of the 18 sets is there")
_R = "Pearson r (-1 to 1)"


def _toy(*controls: Control, **given: Any) -> Claim:
    return Claim(smallest="small", experiment="toy", differs=_TOY, controls=(_LEARNS, *controls),
                 minutes={"tiny": 0.05, "small": 0.3}, **given)  # fmt: skip


def _real(*controls: Control, **given: Any) -> Claim:
    return Claim(smallest="full", experiment="released", differs=_REAL, minutes={"full": 0.3},
                 controls=(_WHOLE, *controls), **given)  # fmt: skip


CLAIMS = (
    _toy(
        Control("raw_r/shuffled", "below", 0.25, "with counts in random order there is no trend"),
        id="toy_trend", metric="raw_r/skewed", direction="above", threshold=0.5, unit=_R,
        says="The more often a concept was seen, the more accurate the model is on it.",
        paper_value="log-linear for every model; r of single concepts is not given",
    ),
    _toy(
        id="toy_trend_without_prior", metric="raw_r/corrected", direction="above", threshold=0.3,
        unit=_R,
        says="The trend stays once the model's preference for frequent concepts is taken off.",
        paper_value="not tested",
    ),
    _toy(
        id="toy_more_data", metric="data_gain", direction="above", threshold=0.02,
        unit="difference of accuracies (0-1)",
        says="Four times as much data with the same frequencies raises accuracy over all concepts.",
        paper_value="larger sets do better, in figures",
    ),
    _toy(
        Control("accuracy_lost", "above", 0.0, "wrong captions cost accuracy"),
        id="toy_misalignment", metric="slope_lost", direction="above", threshold=0.02,
        unit="accuracy (0-1) per decade of frequency",
        says="When 30 % of the captions belong to other images, a decade of data is worth less.",
        paper_value="misalignment is measured (5 to 39 % of pairs), its effect is not",
    ),
    _toy(
        Control("raw_r/uniform", "below", 0.5, "single concepts show hardly any trend there"),
        id="binned_r_proves_little", metric="binned_r/uniform", direction="above", threshold=0.5,
        unit=_R,
        says="Even with equally frequent concepts, the chance spread of counts gives a high r of "
        "bin means.",
        paper_value="r of bin means is the paper's measure of the trend",
    ),
    _real(
        id="released_trend", metric="least_binned_r", direction="above", threshold=0.9, unit=_R,
        says="Accuracy averaged in bins is linear in the log of the count for every model: r above "
        "0.9.",
        paper_value="r of bin means from 0.9 to 0.99 over models and sets, in figures",
    ),
    _real(
        id="released_within_sets", metric="least_within_r_low", direction="above", threshold=0.0,
        unit=_R + ", lower end of the interval of the model where it is lowest",
        says="The trend is there within data sets, too: not an effect of easy sets with frequent "
        "classes.",
        paper_value="not tested",
    ),
    _real(
        id="released_slope", metric="least_slope_low", direction="above", threshold=0.0,
        unit="accuracy points per decade of frequency, lower end of the interval of the model "
        "where it is lowest",
        says="Ten times the examples of a class go with higher accuracy on it, for every model.",
        paper_value="a constant gain for each factor, in figures",
    ),
    _real(
        id="released_frequency_determines", metric="most_explained", direction="above",
        threshold=0.5, unit="share of variance (0-1), of the model where it is largest",
        says="Frequency determines accuracy: it explains most of how classes differ, in some "
        "model.",
        paper_value="the title's word; r squared of single concepts is not given",
    ),
    _real(
        id="released_binning_inflates", metric="least_excess_r", direction="above", threshold=0.3,
        unit="difference of Pearson r",
        says="Averaging in bins raises r by more than 0.3 over that of single classes, everywhere.",
        paper_value="only r of bin means is given",
    ),
    _real(
        id="released_unseen_at_chance", metric="most_zero_over_chance", direction="below",
        threshold=5.0, unit="times chance, of the model where it is largest",
        says="Classes that were found nowhere in the data are near chance for every model.",
        paper_value="no zero-shot generalization, by the title; bins of count 0 are left out",
    ),
)  # fmt: skip

_SETS = (
    "imagenet", "cifar10", "cifar100", "caltech101", "caltech256", "sun397", "birdsnap",
    "country211", "cub", "dtd", "eurosat", "fgvcaircraft", "flowers102", "food101",
    "imagenet-sketch", "oxfordpets", "stanfordcars", "ucf101",
)  # fmt: skip
_MODELS = (
    ("RN50", "cc3m"), ("ViT-B-16", "cc3m"), ("RN50", "cc12m"), ("ViT-B-16", "cc12m"),
    ("RN50", "yfcc15m"), ("RN101", "yfcc15m"), ("ViT-B-16", "yfcc15m"),
    ("ViT-B-32", "laion400m"), ("ViT-B-16", "laion400m"), ("ViT-L-14", "laion400m"),
)  # fmt: skip
SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {
        "pairs": 4000, "concepts": 60, "steps": 60, "test_each": 10, "misaligned": 0.3,
        "spread": 1.0,
    },
    "small": {
        "pairs": 20000, "concepts": 300, "steps": 1500, "test_each": 40, "misaligned": 0.3,
        "spread": 1.0,
    },
    "full": {"sets": list(_SETS), "models": [list(m) for m in _MODELS], "draws": 300},
}  # fmt: skip
SCALES = {"toy": ("tiny", "small"), "released": ("full",)}
"""The toy has no published scale, and the released files no smaller one."""

ALT = (
    "Mean accuracy by how often a concept was seen, on a logarithmic axis: one line for each model "
    "of the released files, or for the toy."
)

EXAMPLE = """
captions = ["A red bus", "two dogs", "a hot dog stand", "Hounds asleep"]  # yours, or count_shards
counts = count_concepts(captions, {"dog": ["hound"], "bus": [], "cat": []}).by_name()
"""


def run(claim: str, scale: str, seed: int) -> dict[str, float]:
    """Return the numbers of the toy, or of the authors' released files, for one seed."""
    if next(c.group for c in CLAIMS if c.id == claim) == "released":
        from heldout.papers._clip_concepts_released import released

        return released(SETTINGS[scale], seed)
    from heldout.papers._clip_concepts import toy

    return toy(SETTINGS[scale], seed)


def plot(records: dict[str, dict[str, Any]], ax: Any) -> Any:
    """Draw mean accuracy by frequency: of the released files where measured, else of the toy."""
    from heldout.papers._clip_concepts_figure import draw

    return draw(records, ax)
