"""Tasks in two islands: what matters is a noisy prototype, what does not is a camera's angle.

A policy must answer with the action of the task. If each island of tasks was recorded from views
of its own, the view tells half of the action. After Jang et al. 2025 (Shortcut Learning in
Generalist Robot Policies), arXiv:2508.06426; prototypes and actions stand in for images and robot.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from heldout.core.errors import InputError
from heldout.core.seeds import stream

Ranges = tuple[tuple[float, float], tuple[float, float]]
"""Views from which each of the two islands is recorded, low and high."""

_DEGREES = (-10.0, 90.0)  # angles of views 0 and 1


@dataclass(frozen=True)
class IslandData:
    """n observations and how they were made."""

    x: Float[np.ndarray, "n d"]
    """What a policy sees: prototype channels first, then two of the view; float32."""
    task: Int[np.ndarray, " n"]
    """0 .. tasks-1; the first half is island 0."""
    view: Float[np.ndarray, " n"]
    """0 to 1, may lie outside."""


@dataclass(frozen=True)
class IslandWorld:
    """Prototypes and actions of the tasks; equal for every data set drawn of it."""

    prototypes: Float[np.ndarray, "tasks k"]
    """What an observation of each task looks like before noise; standard normal entries."""
    actions: Float[np.ndarray, "tasks 3"]
    """The right answer; its first number has the sign of the island."""
    noise: float
    """Standard deviation of the noise on the prototypes' channels."""
    amplitude: float
    """Of the view's channels."""
    seed: int
    """Of the world."""

    @property
    def island(self) -> Int[np.ndarray, " tasks"]:
        """Island of each task, 0 or 1."""
        tasks = len(self.actions)
        return (np.arange(tasks) >= tasks // 2).astype(np.int64)

    def sample(
        self, n: int, ranges: Ranges, *, bridge: float = 0.0, part: str = "train"
    ) -> IslandData:
        """Draw observations: tasks with equal chance, each island from its own range of views.

        Args:
            n: observations.
            ranges: views of the two islands, uniform between low and high.
            bridge: share of rows, of any task, seen from anywhere between the outermost views.
            part: another name, other observations.

        Raises:
            InputError: a range is upside down, or the share is not within 0 to 1.
        """
        low, high = np.array(ranges).T
        if (low > high).any() or not 0 <= bridge <= 1:
            raise InputError(
                f"ranges {ranges}, bridge {bridge}", "low <= high, a share of 0 to 1", "(0.2, 0.4)"
            )
        rng = stream(self.seed, "islands", part)
        task = rng.integers(len(self.actions), size=n)
        own, free = self.island[task], rng.random(n) < bridge
        at = rng.random(n)
        view = low[own] + at * (high - low)[own]
        view = np.where(free, low.min() + at * (high.max() - low.min()), view)
        signal = self.prototypes[task] + self.noise * rng.normal(size=(n, self.prototypes.shape[1]))
        x = np.concatenate([signal, np.zeros((n, 2))], axis=1).astype(np.float32)
        return IslandData(self.seen_from(x, view, np.full(n, np.nan)), task, view)

    def seen_from(
        self, x: Float[np.ndarray, "n d"], view: Float[np.ndarray, " n"],
        before: Float[np.ndarray, " n"],
    ) -> Float[np.ndarray, "n d"]:  # fmt: skip
        """Return the same observations from another view; noise and prototype stay.

        Args:
            x: observations.
            view: new views.
            before: views of `x`; NaN where it has none yet.
        """
        old = np.where(np.isnan(before)[:, None], 0.0, self._channels(np.nan_to_num(before)))
        out = x.astype(np.float64)
        out[:, -2:] += self._channels(view) - old
        return out.astype(np.float32)

    def _channels(self, view: np.ndarray) -> np.ndarray:
        angle = np.deg2rad(_DEGREES[0] + (_DEGREES[1] - _DEGREES[0]) * view)
        return np.asarray(self.amplitude * np.stack([np.cos(angle), np.sin(angle)], axis=1))


def island_world(
    seed: int = 0, *, tasks: int = 10, channels: int = 16, noise: float = 1.2,
    amplitude: float = 8.0,
) -> IslandWorld:  # fmt: skip
    """Make a world of tasks in two islands.

    Args:
        seed: of prototypes and actions.
        tasks: even number, at least 4.
        channels: of the prototypes.
        noise: on the prototypes' channels, standard deviation.
        amplitude: of the two view channels, (cos, sin) of -10 to 90 degrees.

    Raises:
        InputError: an odd number of tasks, or fewer than 4.

    >>> world = island_world()
    >>> data = world.sample(100, ((0.2, 0.4), (0.6, 0.8)))
    >>> data.x.shape, bool((data.view[data.task < 5] <= 0.4).all())
    ((100, 18), True)
    """
    if tasks < 4 or tasks % 2:
        raise InputError(f"{tasks} tasks", "an even number, at least 4", "tasks=10")
    rng = stream(seed, "island world")
    actions = 0.5 * rng.normal(size=(tasks, 3))
    actions[:, 0] = np.where(np.arange(tasks) < tasks // 2, -1.0, 1.0) + 0.3 * actions[:, 0]
    return IslandWorld(rng.normal(size=(tasks, channels)), actions, noise, amplitude, seed)
