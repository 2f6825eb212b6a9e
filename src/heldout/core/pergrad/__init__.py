"""Per-example gradients, their norms and their summaries, for any torch module."""

from .api import (
    GradientSummary,
    gradient_norms,
    gradient_summary,
    per_example_gradients,
    plan_gradients,
    squared_norms,
)
from .plan import Plan
from .run import cross_entropy

__all__ = [
    "GradientSummary",
    "Plan",
    "cross_entropy",
    "gradient_norms",
    "gradient_summary",
    "per_example_gradients",
    "plan_gradients",
    "squared_norms",
]
