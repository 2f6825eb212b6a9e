"""What the paper says of each claim, and how the recipe `shortcut_policies` differs."""

from __future__ import annotations

_WORLD = (
    "Prototypes of 18 numbers and an MLP in place of images and Diffusion Policy, MiniVLA or pi-0; "
    "10 tasks in two islands; views of -10 to 90 degrees as in the authors' commands. "
    "4,000 rows and 2,400 steps: with the 1,000 and 800 of the first records three controls of "
    "success were not met, also where no shortcut was possible. "
)
_PLOT = "success in LIBERO rises; drawn, no number at hand"

WORDS: dict[str, tuple[str, str]] = {
    "diversity_helps": (_PLOT, _WORLD + "Centres 0.3 and 0.7 stay; widths 0 and 0.6."),
    "diversity_helps_apart": (
        "not stated", _WORLD + "Widths 0 and 0.4: islands touch, and share no view.",
    ),
    "published_ranges": (
        _PLOT, _WORLD + "Ranges of the authors' commands, .20 to .20-.65 and .80 to .35-.80, "
        "tested at the other island's outer edge.",
    ),
    "disparity_hurts": (
        "success in LIBERO falls; drawn, no number at hand. The README's labels look inverted.",
        _WORLD + "Width 0.1, centres 0.1 (islands touch) and 0.8 apart.",
    ),
    "augmentation_mends": (
        "viewpoint augmentation lowers shortcuts; no number at hand",
        _WORLD + "Views of training rows moved by up to 0.4, as many rows as without.",
    ),
    "bridge_mends": (
        "added bridging data lower shortcuts; no number at hand",
        _WORLD + "30 % of the rows, not added to them, seen from anywhere between the islands.",
    ),
    "hidden_in_distribution": (
        "implied: success in distribution stays high", _WORLD + "Widths 0 and 0.6.",
    ),
    "information_closed_form": (
        "2 ln M / (2 ln M + mean entropies of the parts)",
        _WORLD + "Task as u, view in bins of 0.05 as v, Miller-Madow; worst of disjoint settings.",
    ),
    "information_blind_to_distance": (
        "not a claim of the paper: a limit of its measure, which has no distance in it",
        _WORLD + "Width 0.1, centres 0.1 and 0.8 apart.",
    ),
    "island_score_ranks": (
        "not a claim of the paper: what its measure lacks",
        _WORLD + "17 settings without augmentation and bridges; energy coefficient of views.",
    ),
}  # fmt: skip
"""Claim id: the paper's value, our differences."""
