"""Pooled data sets: how varied their parts are, how far apart, and what models make of it."""
