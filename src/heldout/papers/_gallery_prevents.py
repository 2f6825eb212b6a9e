"""The gallery's chapter: what prevents it."""

from __future__ import annotations

from heldout.papers import _gallery_figures as plots
from heldout.papers._gallery_card import Bridge, Chapter, Figure, Part, names

_COLLAPSE = Part(
    title="Softmax collapse, and naive loss minimization",
    says=(
        "The account to test: after the fit the loss still falls, by making all logits larger. "
        "In the end the softmax rounds to exactly one and an example's gradient to exactly zero: "
        "training stops by arithmetic, and the fewer bits it has the earlier."
    ),
    claims=names(
        "grokking_stability",
        "naive_loss_minimization",
        "float16_collapses_first",
        "float32_collapses_before_float64",
    ),
    figures=(
        Figure(
            "collapse",
            "Share of training pairs whose gradient has rounded to zero, by step, for a softmax "
            "computed in three precisions.",
            names(
                "grokking_stability", "float16_collapses_first", "float32_collapses_before_float64"
            ),
            "heldout.dynamics.collapse.SoftmaxCollapseMonitor",
            plots.collapse,
        ),
    ),
)

_CURES = Part(
    title="Its cures",
    says=(
        "A substitute for softmax that cannot saturate (StableMax), or a gradient without its "
        "part along the weights (OrthoGrad), should let a network generalize that has no weight "
        "decay at all."
    ),
    claims=names("grokking_stability", "perpendicular_gradient", "stablemax"),
    rest_of=("grokking_stability",),
    figures=(
        Figure(
            "cures",
            "Held-out pairs (solid) and training pairs (dashed) by step, for StableMax and for "
            "softmax at two rates.",
            names("grokking_stability", "stablemax"),
            "heldout.dynamics.stablemax.StableMaxCrossEntropy",
            plots.cures,
        ),
    ),
    bridges=(
        Bridge(
            "Weight decay and perpendicular gradients act on one and the same direction. Soon "
            "after the fit plain AdamW's gradient points along the weights, with a cosine of "
            "{grokking_stability/naive_loss_minimization}. On a smaller task, held-out "
            "pairs come to {grokking_stability/weight_decay_groks:test/perpendicular} with that "
            "part taken out, to {grokking_stability/weight_decay_groks} with weight decay "
            "pulling against it, and to {grokking_stability/weight_decay_groks:test/plain} with "
            "neither. The cosine alone does not tell who will generalize: with perpendicular "
            "gradients the loss still pulls along the weights "
            "({grokking_stability/weight_decay_groks:alignment/perpendicular}), it is only not "
            "followed. That weight decay helps by this way and no other was not measured.",
            (
                ("grokking_stability/naive_loss_minimization", "holds"),
                ("grokking_stability/perpendicular_gradient", "holds"),
                ("grokking_stability/weight_decay_groks", "holds"),
            ),
        ),
    ),
)

_DECAY = Part(
    title="Weight decay against wrong labels",
    says=(
        "Back to arithmetic with wrong labels. Enough weight decay should make the network give "
        "them up: it then answers rightly where it was taught wrongly, and its training accuracy "
        "falls to the share of labels that are right."
    ),
    claims=names(
        "grokking_corrupted", "weight_decay_inverts", "full_inversion", "weight_decay_raises_ipr"
    ),
    figures=(
        Figure(
            "inversion",
            "Training accuracy (solid) and the share of wrongly labelled training pairs that are "
            "put right (dashed) by step; the dotted line is the share of labels that are right.",
            names("grokking_corrupted", "weight_decay_inverts", "full_inversion"),
            "heldout.dynamics.fourier_ipr.neuron_ipr",
            plots.inversion,
        ),
    ),
    bridges=(
        Bridge(
            "Pruning and weight decay end at the same place from two sides. Without the units of "
            "lowest IPR {grokking_corrupted/low_ipr_memorizes} of the wrong labels are left; under "
            "weight decay {grokking_corrupted/weight_decay_inverts:memorized/decay}, and mean IPR "
            "is higher by {grokking_corrupted/weight_decay_raises_ipr}. The first needs to know "
            "which units to take, the second must be there while training.",
            (
                ("grokking_corrupted/low_ipr_memorizes", "holds"),
                ("grokking_corrupted/weight_decay_inverts", "holds"),
                ("grokking_corrupted/weight_decay_raises_ipr", "holds"),
            ),
        ),
    ),
)

_STOPPING = Part(
    title="Early stopping",
    says=(
        "If what many examples share is learned first and noise later, stopping in between keeps "
        "the one without the other. Linear regression says how much that is worth, against the "
        "best ridge penalty; digits with wrong labels say whether it is so in a network."
    ),
    claims=(
        *names("high_dim_dynamics", "early_stopping_near_ridge"),
        *names("generalization_mystery", "early_stopping"),
    ),
    figures=(
        Figure(
            "stopping",
            "Test error above that of ridge regression at its best penalty, by examples per "
            "parameter: stopped at the best time, and trained to the end.",
            names("high_dim_dynamics", "early_stopping_near_ridge"),
            "heldout.measures.linear_dynamics.suggest_early_stop",
            plots.stopping,
        ),
    ),
    bridges=(
        Bridge(
            "Early stopping and grokking ask for opposite things. On digits with wrong labels the "
            "best epoch gains {generalization_mystery/early_stopping:early_stopping_gain} of test "
            "accuracy over the last. The modular network, stopped when it had just fitted, would "
            "have stayed at {grokking_stability/weight_decay_groks:test/weight_decay@147} where "
            "it reached {grokking_stability/weight_decay_groks} later. Which of these a model is "
            "in shows on held-out data only, over a time that is long against the fit.",
            (
                ("generalization_mystery/early_stopping", "holds"),
                ("grokking_stability/weight_decay_groks", "holds"),
            ),
        ),
    ),
)

_ROBUST = Part(
    title="Gradients without their outliers",
    says=(
        "If memorizing is the work of directions that few examples back, a mean that ignores "
        "those (winsorized, or the median of several micro-batches) should memorize less, and "
        "then test better. The recipe asks for both."
    ),
    claims=names(
        "generalization_mystery",
        "winsorized_memorizes_less",
        "winsorized_tests_better",
        "median_memorizes_less",
        "median_tests_better",
    ),
    figures=(
        Figure(
            "robust",
            "Wrong labels learned at the rate that fits best, right labels learned there, and "
            "test accuracy at the rate that validates best; dots are seeds.",
            names("generalization_mystery", "winsorized_memorizes_less", "median_memorizes_less"),
            "heldout.dynamics.robust_descent.winsorized_gradients",
            plots.robust,
        ),
    ),
    bridges=(
        Bridge(
            "To memorize less is not to generalize more. Winsorized gradients learn fewer of the "
            "wrong labels, by a share of {generalization_mystery/winsorized_memorizes_less}, and "
            "change test accuracy by {generalization_mystery/winsorized_tests_better} when each "
            "method takes the rate that validates best: there plain SGD, too, has learned only "
            "{generalization_mystery/winsorized_tests_better:wrong/validated/plain} of them. The "
            "arithmetic network says it from the other side: it stores its wrong labels and "
            "reaches {grokking_corrupted/coexistence} on held-out pairs.",
            (
                ("generalization_mystery/winsorized_memorizes_less", "holds"),
                ("generalization_mystery/winsorized_tests_better", "fails"),
                ("grokking_corrupted/coexistence", "holds"),
            ),
        ),
    ),
)

CHAPTER = Chapter(
    "What prevents it",
    "What keeps a network from generalizing, what keeps it from memorizing, and is that the same?",
    Bridge(
        "They are not the same. Plain AdamW without weight decay stays at "
        "{grokking_stability/weight_decay_groks:test/plain} on held-out pairs; without the part "
        "of its gradient that only scales the logits it comes to "
        "{grokking_stability/weight_decay_groks:test/perpendicular}, and on another split "
        "StableMax gains {grokking_stability/stablemax} over softmax. Memorizing is undone by "
        "weight decay ({grokking_corrupted/weight_decay_inverts} of the wrong labels put right), "
        "cut short by early stopping ({generalization_mystery/early_stopping} learned by then), "
        "and held down by robust gradients, which did not test better for it "
        "({generalization_mystery/winsorized_tests_better}).",
        (
            ("grokking_stability/naive_loss_minimization", "holds"),
            ("grokking_stability/perpendicular_gradient", "holds"),
            ("grokking_stability/stablemax", "holds"),
            ("grokking_stability/weight_decay_groks", "holds"),
            ("grokking_corrupted/weight_decay_inverts", "holds"),
            ("generalization_mystery/early_stopping", "holds"),
            ("generalization_mystery/winsorized_memorizes_less", "holds"),
            ("generalization_mystery/winsorized_tests_better", "fails"),
        ),
    ),
    (_COLLAPSE, _CURES, _DECAY, _STOPPING, _ROBUST),
)
