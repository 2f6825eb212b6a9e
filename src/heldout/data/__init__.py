"""Scores and choices of training examples: label noise, duplicates, pruning, influence."""
