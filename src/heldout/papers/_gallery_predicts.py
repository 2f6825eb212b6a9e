"""The gallery's chapter: what predicts it."""

from __future__ import annotations

from heldout.papers._gallery_card import Bridge, Chapter, Figure, Part, names

_THEORY = Part(
    title="An exact curve",
    says=(
        "For linear regression by gradient descent, random matrix theory gives the error at every "
        "time, before any training. It predicts the worst place to train to the end, as many "
        "examples as parameters, and that much wider networks suffer less."
    ),
    claims=names(
        "high_dim_dynamics",
        "theory_gives_test_error",
        "peak_at_one",
        "relu_wide_overtrains_less",
    ),
    also=names("high_dim_dynamics", "theory_gives_train_error", "relu_wide_generalizes"),
    rest_of=("high_dim_dynamics",),
    figures=(
        Figure(
            "theory",
            "Test error by time for several numbers of examples per parameter: theory as lines, "
            "simulation as dots.",
            names("high_dim_dynamics", "theory_gives_test_error", "peak_at_one"),
            "heldout.measures.overtraining.overtraining",
        ),
    ),
)

_JUDGE = Part(
    title="More samples, and a judge",
    says=(
        "After training there is one more way to be right: draw several answers and let a judge "
        "pick. A linear model solves it: how fast the error falls with a good judge, and where "
        "more samples begin to hurt with a bad one."
    ),
    claims=names("judge_scaling", "one_over_k_squared", "finite_best_k", "harder_gains_less"),
    rest_of=("judge_scaling",),
    figures=(
        Figure(
            "judge",
            "Error of the picked answer by the number of samples, for judges that are off by a "
            "growing share.",
            names("judge_scaling", "near_judge_is_monotone", "finite_best_k"),
            "heldout.lm.sampling_curve.best_of_k_curve",
        ),
    ),
)

_LOCALITY = Part(
    title="How local the target is",
    says=(
        "In the kernel of an infinitely wide convolutional network, error should fall with more "
        "examples at a speed set by the patch that the target looks at, if the network is built "
        "to see such patches."
    ),
    claims=names(
        "wide_cnn",
        "local_targets_are_easier",
        "cnn_adapts_to_local_targets",
        "cnn_teachers_stay_hard",
    ),
    rest_of=("wide_cnn",),
    figures=(
        Figure(
            "locality",
            "Error by training examples for targets of growing patches, learned by a deep "
            "convolutional kernel, a fully connected one, and one that sees small patches only.",
            names("wide_cnn", "local_targets_are_easier", "cnn_adapts_to_local_targets"),
            "heldout.measures.locality.locality_probe",
        ),
    ),
)

_RARITY = Part(
    title="How rare it is",
    says=(
        "Draw random networks: some functions come up often, others hardly ever. A mixture of all "
        "of them pays, by theory, only for how rare the truth is, not for how many networks or "
        "parameters there are."
    ),
    claims=names(
        "universality_lens",
        "bound",
        "rarity_predicts_regret",
        "width_costs_nothing",
        "rare_needs_samples",
    ),
    rest_of=("universality_lens",),
    figures=(
        Figure(
            "rarity",
            "Regret of learning a function against how rare it is among random networks, narrow "
            "and wide; below the line is within the bound.",
            names("universality_lens", "bound", "rarity_predicts_regret"),
            "heldout.measures.simplicity.simplicity",
        ),
    ),
    bridges=(
        Bridge(
            "That parameters alone do not predict error is found twice, for different reasons. "
            "Networks many times as wide have {universality_lens/width_costs_nothing} times the "
            "regret when mixed by their weight; ReLU students trained by descent end, when widest, "
            "with {high_dim_dynamics/relu_wide_generalizes} times the test error they have at the "
            "peak. The first is exact averaging and trains no network, the second is training and "
            "averages none.",
            (
                ("universality_lens/width_costs_nothing", "holds"),
                ("high_dim_dynamics/relu_wide_generalizes", "holds"),
            ),
        ),
    ),
)

_SCORES = Part(
    title="Which examples matter",
    says=(
        "A few short runs score every example by its error (EL2N) or by its gradient (GraNd). "
        "The scores should tell which half of the data is enough, and put wrong labels on top, "
        "which is where to look before leaving the rest out."
    ),
    claims=names(
        "data_diet",
        "el2n_keeps_accuracy",
        "el2n_beats_random",
        "grand_init_beats_random",
        "extreme_pruning_hurts",
        "wrong_labels_on_top",
        "offset_helps",
    ),
    rest_of=("data_diet",),
    figures=(
        Figure(
            "scores",
            "Test accuracy by the share of data kept, for several ways to choose it; bands are "
            "one standard deviation of the seeds.",
            names("data_diet", "el2n_beats_random", "grand_init_beats_random"),
            "heldout.data.early_scores.early_scores",
        ),
    ),
    bridges=(
        Bridge(
            "Two recipes, with different networks and shares of wrong labels, see wrong labels "
            "stand out early. At its best epoch a network has learned "
            "{generalization_mystery/early_stopping} of them; after a few epochs EL2N ranks wrong "
            "above right labels with an area of {data_diet/wrong_labels_on_top}, before training "
            "with {data_diet/wrong_labels_on_top:auc_el2n_untrained}. So it is training that tells "
            "them apart, and a little of it: no unit must be found for it, and no label known as "
            "clean.",
            (
                ("generalization_mystery/early_stopping", "holds"),
                ("data_diet/wrong_labels_on_top", "holds"),
            ),
        ),
    ),
)

CHAPTER = Chapter(
    "What predicts it",
    "What tells, before or without training to the end, how well it will generalize?",
    Bridge(
        "Exact theory where there is one (simulation is off by at most "
        "{high_dim_dynamics/theory_gives_test_error} of it, away from the peak). How local "
        "the target is (exponents {wide_cnn/local_targets_are_easier} apart), and how rare "
        "(correlation {universality_lens/rarity_predicts_regret} with regret), not how many "
        "parameters the learner has (wide over narrow "
        "{universality_lens/width_costs_nothing}). Which examples it needs shows after a few "
        "epochs (EL2N {data_diet/el2n_beats_random} over a random half), not at initialization "
        "(GraNd {data_diet/grand_init_beats_random}).",
        (
            ("high_dim_dynamics/theory_gives_test_error", "holds"),
            ("wide_cnn/local_targets_are_easier", "holds"),
            ("universality_lens/rarity_predicts_regret", "holds"),
            ("universality_lens/width_costs_nothing", "holds"),
            ("data_diet/el2n_beats_random", "holds"),
            ("data_diet/grand_init_beats_random", "fails"),
        ),
    ),
    (_THEORY, _JUDGE, _LOCALITY, _RARITY, _SCORES),
)
