"""Numbers about a model: coherence, difficulty, inductive bias, bounds."""
