"""Runs that visitors ask for: a queue, a worker, and what a page shows while one goes on."""
