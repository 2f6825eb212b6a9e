"""Architectures, and how they are grown or searched."""
