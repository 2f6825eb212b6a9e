"""Accuracy elsewhere: forecasts without labels, domains, sharpness, adversaries."""
