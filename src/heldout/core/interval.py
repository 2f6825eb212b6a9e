"""A number with its uncertainty."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """An estimate, the range it is believed to lie in, and how that range was made."""

    value: float
    """Point estimate."""
    low: float
    """Lower end."""
    high: float
    """Upper end."""
    n: int
    """Number of independent units behind the estimate (examples, seeds, pairs)."""
    level: float = 0.95
    """Coverage aimed at, between 0 and 1."""
    method: str = ""
    """How the ends were computed, in words a reader can look up."""

    def __contains__(self, x: float) -> bool:
        """Whether `x` lies inside the ends.

        >>> 0.5 in Interval(0.4, 0.3, 0.6, n=10)
        True
        """
        return self.low <= x <= self.high

    def shifted(self, by: float) -> Interval:
        """Return the interval moved by a constant."""
        return Interval(
            self.value + by, self.low + by, self.high + by, self.n, self.level, self.method
        )
