"""The gallery's chapter: where it lives."""

from __future__ import annotations

from heldout.papers import _gallery_figures as plots
from heldout.papers._gallery_card import Bridge, Chapter, Figure, Part, names

_UNITS = Part(
    title="In units",
    says=(
        "In the arithmetic network a unit that has learned the rule is said to sit on a single "
        "frequency; the inverse participation ratio (IPR) measures how nearly it does. Prune units "
        "by it and measure again: stored labels and the rule should go at different ends, and a "
        "random choice of units should do neither."
    ),
    claims=names(
        "grokking_corrupted",
        "low_ipr_memorizes",
        "pruning_recovers",
        "high_ipr_generalizes",
        "attribution_finds_them",
    ),
    also=names("benign_xor", "neurons_find_their_clusters"),
    rest_of=("grokking_corrupted",),
    figures=(
        Figure(
            "units",
            "Held-out pairs answered rightly (solid) and wrong labels given back (dashed) by the "
            "share of units pruned, for four ways to choose them.",
            names("grokking_corrupted", "low_ipr_memorizes", "high_ipr_generalizes"),
            "heldout.dynamics.memorizing_units.prune_and_measure",
        ),
    ),
    bridges=(
        Bridge(
            "IPR needs a task with frequencies; scores from suspect against clean examples do "
            "not. On wrong labels that took no part in the scores, pruning half the units by IPR "
            "leaves {grokking_corrupted/attribution_finds_them:unseen/pruned_low_ipr@50} of them, "
            "by the scores {grokking_corrupted/attribution_finds_them:unseen/"
            "pruned_attribution@50}, at random "
            "{grokking_corrupted/attribution_finds_them:unseen/pruned_random@50}. So the way that "
            "is open to other networks finds stored labels here too; how well it does elsewhere "
            "is for its random control to say, on your model.",
            (
                ("grokking_corrupted/attribution_finds_them", "holds"),
                ("grokking_corrupted/low_ipr_memorizes", "holds"),
            ),
        ),
    ),
)

_GRADIENTS = Part(
    title="In gradients",
    says=(
        "A step that helps one example may help others. Coherence (m alpha) counts how many: "
        "near one when gradients are unrelated, large when examples pull the same way. Real "
        "labels should pull together, random ones not, and wrong labels less than right ones."
    ),
    claims=names(
        "generalization_mystery",
        "early_real_over_random",
        "peak_real_over_random",
        "same_loss_real_over_random",
        "clean_over_wrong",
        "random_labels_rise",
    ),
    rest_of=("generalization_mystery",),
    figures=(
        Figure(
            "coherence",
            "Coherence by epoch for several shares of wrong labels; bands reach from the lowest "
            "seed to the highest.",
            names("generalization_mystery", "early_real_over_random", "peak_real_over_random"),
            "heldout.measures.coherence_tracker.CoherenceTracker",
        ),
    ),
    bridges=(
        Bridge(
            "When to look matters more than the idea suggests: early, real labels are "
            "{generalization_mystery/early_real_over_random} times as coherent as random ones, at "
            "the peak {generalization_mystery/peak_real_over_random} times, at the same loss "
            "{generalization_mystery/same_loss_real_over_random} times. Random labels are not "
            "unrelated while they are memorized "
            "(the step of one helps {generalization_mystery/random_labels_rise}), so a high "
            "coherence late in training is no sign of a rule.",
            (
                ("generalization_mystery/early_real_over_random", "holds"),
                ("generalization_mystery/random_labels_rise", "holds"),
                ("generalization_mystery/peak_real_over_random", "fails"),
                ("generalization_mystery/same_loss_real_over_random", "fails"),
            ),
        ),
    ),
)

_FEATURES = Part(
    title="In features",
    says=(
        "Data on which each of many coordinates predicts the label by itself, one of them in a "
        "simpler way. Permute that one over the test rows, then all the others, and see which "
        "the network misses."
    ),
    claims=names(
        "simplicity_bias",
        "linear_over_slabs",
        "noisy_feature_costs_accuracy",
        "noisy_feature_used_alone",
        "digit_over_texture",
    ),
    also=(
        *names("simplicity_bias", "simpler_slab_over_slabs", "ensemble_keeps_bias"),
        *names("benign_xor", "linear_after_one_step"),
    ),
    rest_of=("simplicity_bias",),
    figures=(
        Figure(
            "features",
            "What is left of each network untouched, without its simple feature, and without all "
            "others; dots are seeds, the line is chance.",
            names(
                "simplicity_bias",
                "linear_over_slabs",
                "noisy_feature_used_alone",
                "digit_over_texture",
            ),
            "heldout.dynamics.feature_reliance.group_reliance",
            plots.features,
        ),
    ),
    bridges=(
        Bridge(
            "A linear rule is where the XOR network begins and where the slab network ends. The "
            "share of the XOR network's output that is odd, as a linear rule is, goes from "
            "{benign_xor/linear_after_one_step} after one step to "
            "{benign_xor/linear_after_one_step:odd/small_start} at the end, and new points are "
            "then answered rightly. On slabs the linear coordinate is right about new points as "
            "well, and training ends with it: permute it and the AUC is "
            "{simplicity_bias/linear_over_slabs}, though a network that is trained without it "
            "comes to {simplicity_bias/linear_over_slabs:auc/lms5_without/randomized}.",
            (
                ("benign_xor/linear_after_one_step", "holds"),
                ("benign_xor/later_steps_are_benign", "holds"),
                ("simplicity_bias/linear_over_slabs", "holds"),
            ),
        ),
    ),
)

_FROZEN = Part(
    title="In directions without data",
    says=(
        "With fewer examples than parameters there are directions that no example touches. "
        "Gradient descent never moves the weights along them: whatever they held at the start "
        "stays in every prediction."
    ),
    claims=names("high_dim_dynamics", "small_start_needed"),
    figures=(
        Figure(
            "frozen",
            "What initial weights of the teacher's size add to the final test error, by examples "
            "per parameter.",
            names("high_dim_dynamics", "small_start_needed"),
            "heldout.measures.feature_spectrum.frozen_subspace",
            plots.frozen,
        ),
    ),
    bridges=(
        Bridge(
            "The same choice decides the XOR runs: the training labels are fitted from small and "
            "from large initial weights, and clean new points come out at "
            "{benign_xor/later_steps_are_benign} and "
            "{benign_xor/later_steps_are_benign:test/large_start}. In linear regression the frozen "
            "directions are the whole reason, and the error rises by a share of "
            "{high_dim_dynamics/small_start_needed}; in the XOR network only the outcome was "
            "measured.",
            (
                ("benign_xor/later_steps_are_benign", "holds"),
                ("high_dim_dynamics/small_start_needed", "holds"),
            ),
        ),
    ),
)

CHAPTER = Chapter(
    "Where it lives",
    "Where is what was memorized, and where is the rule?",
    Bridge(
        "In different units, where these can be told apart: without the half of lowest IPR "
        "{grokking_corrupted/low_ipr_memorizes} of the stored wrong labels are left, without "
        "the fifth of highest IPR {grokking_corrupted/high_ipr_generalizes} of the held-out "
        "pairs are right. In the simplest feature alone, where it suffices (AUC "
        "{simplicity_bias/linear_over_slabs} without it). In initial weights that no example "
        "ever moves (error higher by a share of {high_dim_dynamics/small_start_needed}). In "
        "gradients it shows early ({generalization_mystery/early_real_over_random} times more "
        "coherent on real than on random labels), and less clearly later.",
        (
            ("grokking_corrupted/low_ipr_memorizes", "holds"),
            ("grokking_corrupted/high_ipr_generalizes", "holds"),
            ("simplicity_bias/linear_over_slabs", "holds"),
            ("high_dim_dynamics/small_start_needed", "holds"),
            ("generalization_mystery/early_real_over_random", "holds"),
            ("generalization_mystery/peak_real_over_random", "fails"),
        ),
    ),
    (_UNITS, _GRADIENTS, _FEATURES, _FROZEN),
)
