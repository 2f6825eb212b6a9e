"""Data with a train split and shifted test splits, available without a download."""
