"""Influence functions: which training examples move a measurement of a model.

    from heldout.data.influence import EKFAC, Classification

    fitted = EKFAC(model, Classification()).fit((x, y), "factors/")
    scores = fitted.scores((x_test, y_test), (x, y))  # (q, n); positive: raises it

Parts, for what does not fit on one machine: `covariances`, `bases` and `corrected` are the steps of
a fit and additive over the data; `score_blocks` yields scores by blocks of queries and examples.
"""

from .batches import Batch, batches
from .core import Core, fit_core
from .covariance import Covariance
from .curvature import DampedCurvature, conjugate_gradients, mean_eigenvalue
from .dense import dense_ggn_influence
from .estimator import EKFAC
from .factors import Factors, LayerFactors, Progress, Stash, bases, corrected, covariances
from .layers import Layer, find_layers, left_out
from .losses import CausalLanguageModel, Classification, LossTask, Regression
from .passes import FisherPass
from .refine import Refining, refined_blocks, refined_pairwise
from .scores import Block, Scoring, pairwise, score_blocks, self_scores
from .store import load_factors, model_hash, save_factors

__all__ = [
    "Batch",
    "Block",
    "CausalLanguageModel",
    "Classification",
    "Core",
    "Covariance",
    "DampedCurvature",
    "EKFAC",
    "Factors",
    "FisherPass",
    "Layer",
    "LayerFactors",
    "LossTask",
    "Progress",
    "Refining",
    "Regression",
    "Scoring",
    "Stash",
    "bases",
    "batches",
    "conjugate_gradients",
    "corrected",
    "covariances",
    "dense_ggn_influence",
    "find_layers",
    "fit_core",
    "left_out",
    "load_factors",
    "mean_eigenvalue",
    "model_hash",
    "pairwise",
    "refined_blocks",
    "refined_pairwise",
    "save_factors",
    "score_blocks",
    "self_scores",
]
