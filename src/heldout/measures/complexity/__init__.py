"""Complexity measures of a trained network: norms, margins, paths, flatness, gradients."""

from heldout.measures.complexity.compute import (
    FAMILIES,
    NOTE,
    Options,
    complexity_measures,
)

__all__ = ["FAMILIES", "NOTE", "Options", "complexity_measures"]
