"""The gallery's chapter: memorize, then generalize."""

from __future__ import annotations

from heldout.papers import _gallery_figures as plots
from heldout.papers._gallery_card import Bridge, Chapter, Figure, Part, names
from heldout.papers._grokking_stability_figure import delay

_DELAY = Part(
    title="The delay",
    says=(
        "A network learns modular addition from a part of all pairs. Knowing those by heart is "
        "easy; the question is whether it ever becomes right about the pairs it has not seen, "
        "and how long after."
    ),
    claims=names("grokking_stability", "weight_decay_groks"),
    figures=(
        Figure(
            "delay",
            "Held-out pairs (solid) and training pairs (dashed) by step, for plain AdamW, for "
            "perpendicular gradients and for weight decay, both of which come up again below.",
            names("grokking_stability", "weight_decay_groks"),
            "heldout.dynamics.collapse.SoftmaxCollapseMonitor",
            delay,
        ),
    ),
)

_WRONG = Part(
    title="With labels that are wrong",
    says=(
        "The same arithmetic, but a part of the training labels is wrong. No rule produces those, "
        "so a network that gives them back has stored them. Can it do so and know the rule as "
        "well, and does it keep what it stored?"
    ),
    claims=names("grokking_corrupted", "coexistence", "unlearning"),
    figures=(
        Figure(
            "wrong_labels",
            "Held-out pairs answered rightly (solid) and wrong training labels given back "
            "(dashed) by step: without weight decay, with it, and from fewer pairs without it.",
            names("grokking_corrupted", "coexistence", "unlearning"),
            "heldout.bench.corrupted_modular.corrupted_modular",
            plots.wrong_labels,
        ),
    ),
)

_XOR = Part(
    title="Harmful, then benign, in one run",
    says=(
        "Clusters labelled by exclusive-or, some labels flipped, and a ReLU network that starts "
        "from tiny weights. Theory has both kinds of overfitting in one run: the first step fits "
        "flipped labels by a rule that is useless on new points, later steps keep the fit and "
        "become accurate."
    ),
    claims=names(
        "benign_xor",
        "one_step_fits_wrong_labels",
        "one_step_is_harmful",
        "later_steps_are_benign",
    ),
    also=names("benign_xor", "benign_by_sqrt_n_steps"),
    rest_of=("benign_xor",),
    figures=(
        Figure(
            "benign",
            "Accuracy on clean new points, on the training labels, and the share of the network's "
            "output that is odd, by step; omega is the size of the initial weights.",
            names("benign_xor", "one_step_is_harmful", "later_steps_are_benign"),
            "heldout.dynamics.canaries.canary_test",
        ),
    ),
    bridges=(
        Bridge(
            "Fitting wrong labels and being right about new examples do not exclude each other: "
            "the arithmetic network ends at {grokking_corrupted/coexistence} on held-out pairs, "
            "the XOR network at {benign_xor/later_steps_are_benign} on clean new points, and both "
            "have fitted their wrong labels. Nor does the fit say which of the two it is: from "
            "fewer pairs the one gets {grokking_corrupted/coexistence:test/few}, from larger "
            "initial weights the other gets {benign_xor/later_steps_are_benign:test/large_start}, "
            "with wrong labels fitted again. That is why `canary_test` flips labels of yours and "
            "reads both numbers, not only the fit.",
            (
                ("grokking_corrupted/coexistence", "holds"),
                ("benign_xor/later_steps_are_benign", "holds"),
            ),
        ),
    ),
)

CHAPTER = Chapter(
    "Memorize, then generalize",
    "When does a network that has fitted its training set become right about the rest?",
    Bridge(
        "Later than it fits: how much later depends on the task, and some runs never did. When "
        "the modular network had just fitted its pairs it was at "
        "{grokking_stability/weight_decay_groks:test/weight_decay@147} on the others, and later "
        "came to {grokking_stability/weight_decay_groks}; the XOR network "
        "went from {benign_xor/one_step_is_harmful} after the step that fitted every label to "
        "{benign_xor/later_steps_are_benign}. Labels that are wrong and stay fitted do not "
        "prevent it ({grokking_corrupted/coexistence} on held-out pairs).",
        (
            ("grokking_stability/weight_decay_groks", "holds"),
            ("benign_xor/one_step_is_harmful", "holds"),
            ("benign_xor/later_steps_are_benign", "holds"),
            ("grokking_corrupted/coexistence", "holds"),
        ),
    ),
    (_DELAY, _WRONG, _XOR),
)
