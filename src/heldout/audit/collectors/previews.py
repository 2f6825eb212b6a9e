"""Small pictures or rows of the examples, so that findings can show what they point at."""

from __future__ import annotations

from functools import partial

import numpy as np

from heldout.audit.context import Collector, Context, Cost, Settings, Speed
from heldout.audit.result import NotApplicableError
from heldout.core.task import Split, Task

COLLECTOR = Collector("previews", "Previews of examples", order=5)

_SIDE = 32  # pixels; larger images are thinned to this
_COLUMNS = 24  # columns of a table that a preview shows


def plan(task: Task, speed: Speed, settings: Settings) -> Cost:
    """No forward pass."""
    n = sum(len(s) for s in task.splits.values())
    return Cost(0.1, n * 1e-3)


def collect(context: Context) -> None:
    """Store `previews/<split>`: `images` uint8 (n, h, w, 1 or 3), or `rows` (n, columns)."""
    if context.task.splits["train"].inputs.kind not in ("image", "table"):
        raise NotApplicableError("inputs are neither images nor tables")
    for name, split in context.task.splits.items():
        context.keep(f"previews/{name}", partial(_preview, split))


def _preview(split: Split) -> dict[str, np.ndarray]:
    if split.inputs.kind == "image":
        return {"images": thumbnails(split.inputs.images())}
    columns = split.inputs.columns
    if "" in columns:
        return {"rows": split.inputs.array.reshape(len(split), -1)[:, :_COLUMNS].astype(np.float32)}
    shown = list(columns)[:_COLUMNS]
    text = [np.asarray([str(v) for v in columns[c]], dtype=np.str_) for c in shown]
    return {"text": np.stack(text, axis=1), "names": np.asarray(shown, dtype=np.str_)}


def thumbnails(images: np.ndarray) -> np.ndarray:
    """Scale images (n, c, h, w) to uint8 (n, h', w', 1 or 3), each at most 32 pixels wide.

    >>> thumbnails(np.zeros((2, 1, 64, 64), np.float32)).shape
    (2, 32, 32, 1)
    """
    step = max(1, -(-max(images.shape[2:]) // _SIDE))
    small = images[:, :, ::step, ::step]
    small = small[:, :3] if small.shape[1] >= 3 else small[:, :1]
    low, high = np.percentile(small, [0.1, 99.9])
    scaled = np.clip((small - low) / max(float(high - low), 1e-9), 0, 1) * 255
    return np.asarray(scaled.transpose(0, 2, 3, 1).astype(np.uint8))
