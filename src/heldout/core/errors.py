"""Errors that say what was given, what was expected, and what to try next."""

from __future__ import annotations


class HeldoutError(Exception):
    """Base of every error that Heldout raises on purpose."""


class InputError(HeldoutError, ValueError):
    """Something the user passed cannot be used.

    Args:
        given: what arrived: its type, shape, value.
        expected: what would have worked.
        hint: the next thing to try.

    >>> print(InputError("labels of dtype float64", "integer class ids", "labels.astype(int)"))
    given: labels of dtype float64
    expected: integer class ids
    try: labels.astype(int)
    """

    def __init__(self, given: str, expected: str, hint: str) -> None:
        self.given, self.expected, self.hint = given, expected, hint
        super().__init__(f"given: {given}\nexpected: {expected}\ntry: {hint}")


class ArtifactError(HeldoutError):
    """A file that Heldout wrote earlier is missing, damaged, or of another version."""


class MissingExtraError(HeldoutError, ImportError):
    """An optional dependency is not installed.

    >>> print(MissingExtraError("polars", "frames"))
    polars is not installed; try: pip install 'heldout[frames]'
    """

    def __init__(self, module: str, extra: str) -> None:
        super().__init__(f"{module} is not installed; try: pip install 'heldout[{extra}]'")
