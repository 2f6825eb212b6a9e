"""Claims of the recipe `grokking_corrupted` about regularizers; imports no torch."""

from __future__ import annotations

from heldout.papers.card import Claim, Control

_SAME = (
    "As in the authors' code: p = 97, 500 quadratic units, AdamW, no weight decay unless named. "
    "Wrong labels are never right by chance. "
)
_DROPOUT = _SAME + (
    "Half of the pairs, 35 % wrong, full batch at 0.01; dropout before the square. 500 steps for "
    "2,000; rates 0.3 and 0.6 for 0.3, 0.6 and 0.9."
)
_BATCHES = _SAME + (
    "65 % of the pairs, 20 % wrong, batches of 64 at 0.005, 2,000 of them; measured as the mean "
    "over the last quarter of the run. The full-batch control has 500 steps at 0.01: soon after "
    "it has learned the rule it gives wrong labels up as well, and then takes them back."
)
_FORGETTING = _SAME + "Half of the pairs, 35 % wrong, full batch at 0.01; 3,500 steps for 5,000."
_SHARE = "share (0-1) of wrongly labelled training pairs"
_ALL_AT_ONCE = Control(
    "inverted/full_batch", "below", 0.8, "from all pairs at once it ends with many wrong labels"
)


def _rule(arm: str) -> Control:
    return Control(f"test/{arm}", "above", 0.95, "the rule had been learned")


REGULARIZERS = (
    Claim(
        id="dropout_inverts",
        says="With dropout most wrongly labelled training pairs are answered rightly.",
        metric="inverted/dropout_0.6",
        direction="above",
        threshold=0.8,
        unit=f"{_SHARE} put right",
        paper_value="phase diagram for rates 0 to 0.9; no number at hand",
        smallest="small",
        differs=_DROPOUT,
        controls=(
            _rule("dropout_0.6"),
            Control("inverted/none", "below", 0.2, "not without dropout"),
        ),
        experiment="dropout",
        minutes={"tiny": 0.02, "small": 1.4},
    ),
    Claim(
        id="dropout_helps_heldout",
        says="And more held-out pairs are right than without dropout.",
        metric="test_over_none/dropout_0.6",
        direction="above",
        threshold=0.01,
        unit="difference of accuracies (0-1) on held-out pairs",
        paper_value="100 % on data without wrong labels (abstract)",
        smallest="small",
        differs=_DROPOUT,
        controls=(Control("memorized/none", "above", 0.9, "without it wrong labels are learned"),),
        experiment="dropout",
        minutes={"tiny": 0.02, "small": 1.4},
    ),
    Claim(
        id="small_batches_invert",
        says="Small batches alone, without batch norm, put most wrongly labelled pairs right.",
        metric="inverted_late/small_batches",
        direction="above",
        threshold=0.8,
        unit=f"{_SHARE} put right",
        paper_value="training accuracy 0.818, 0.8 being right, test 1.000 (authors' notebook)",
        smallest="small",
        differs=_BATCHES,
        controls=(_rule("small_batches"), _rule("full_batch"), _ALL_AT_ONCE),
        experiment="batches",
        minutes={"tiny": 0.02, "small": 0.6},
    ),
    Claim(
        id="batch_norm_inverts",
        says="With batch norm nearly all are; most of that the small batches do without it.",
        metric="inverted_late/batch_norm",
        direction="above",
        threshold=0.95,
        unit=f"{_SHARE} put right",
        paper_value="training accuracy 0.804, 0.8 being right, test 1.000 (authors' notebook)",
        smallest="small",
        differs=_BATCHES,
        controls=(_rule("batch_norm"), _rule("full_batch"), _ALL_AT_ONCE),
        experiment="batches",
        minutes={"tiny": 0.02, "small": 0.6},
    ),
    Claim(
        id="batch_norm_adds",
        says="Batch norm itself adds to what the small batches do.",
        metric="inverted_late/norm_minus_none",
        direction="above",
        threshold=0.02,
        unit=f"difference of {_SHARE}s put right",
        paper_value="training accuracy 0.804 with it, 0.818 without, 0.8 being right, one run",
        smallest="small",
        differs=_BATCHES,
        controls=(_rule("batch_norm"), _rule("small_batches")),
        experiment="batches",
        minutes={"tiny": 0.02, "small": 0.6},
    ),
    Claim(
        id="weight_decay_forgets",
        says="With too much weight decay the rule is lost again, and everything else.",
        metric="left/too_much",
        direction="below",
        threshold=0.05,
        unit="accuracy (0-1), the larger of training and held-out pairs",
        paper_value="training 0.009, test 0.011 at weight decay 20, 5000 steps (authors' notebook)",
        smallest="small",
        differs=_FORGETTING,
        controls=(
            Control("peak/too_much", "above", 0.95, "the rule had been learned"),
            Control("test/less", "above", 0.95, "at weight decay 5 it stays as long"),
        ),
        experiment="forgetting",
        minutes={"tiny": 0.02, "small": 2.8},
    ),
)
