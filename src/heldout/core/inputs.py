"""Model inputs of many examples, kept in the form that the user's model takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int

from heldout.core.errors import InputError

Form = Literal["array", "tensor", "mapping", "frame"]
Kind = Literal["image", "table", "tokens", "sequence", "mixed"]


@dataclass(frozen=True)
class Inputs:
    """n examples: one array (n, ...) or several named ones that share their first axis."""

    columns: dict[str, np.ndarray]
    """Named arrays; a single array is stored under the empty name."""
    form: Form = "array"
    """What the user passed, and so what a callable or an estimator gets back."""
    rebuild: Callable[[dict[str, np.ndarray]], Any] | None = None
    """For frames: makes a frame of the user's own class from the columns."""

    def __len__(self) -> int:
        """Number of examples."""
        return len(next(iter(self.columns.values())))

    @property
    def array(self) -> np.ndarray:
        """The single array (n, ...).

        Raises:
            InputError: the inputs have several named columns.
        """
        if "" not in self.columns:
            raise InputError(f"inputs named {sorted(self.columns)}", "one array", "use .columns")
        return self.columns[""]

    @property
    def kind(self) -> Kind:
        """What the examples look like; decides which perturbations and previews apply."""
        if "" not in self.columns:
            return "table" if self.form == "frame" else "mixed"
        array = self.array
        if array.ndim == 2:
            return "tokens" if self.form == "tensor" and array.dtype == np.int64 else "table"
        if array.ndim == 4 and (array.shape[1] in (1, 3, 4) or array.shape[3] in (1, 3, 4)):
            return "image"
        if array.ndim == 3 and min(array.shape[1:]) >= 8:
            return "image"
        return "sequence" if array.ndim == 3 else "mixed"

    @property
    def channels_last(self) -> bool:
        """Whether images are (n, H, W, C)."""
        shape = self.array.shape
        return len(shape) == 4 and shape[1] not in (1, 3, 4)

    def take(self, rows: Int[np.ndarray, " m"]) -> Inputs:
        """Return the examples at these positions."""
        return replace(self, columns={k: v[rows] for k, v in self.columns.items()})

    def with_array(self, array: np.ndarray) -> Inputs:
        """Return the same inputs with other numbers, in the old dtype."""
        dtype = self.array.dtype
        if np.issubdtype(dtype, np.integer) and not np.issubdtype(array.dtype, np.integer):
            info = np.iinfo(dtype)
            array = np.clip(np.rint(array), info.min, info.max)
        return replace(self, columns={"": array.astype(dtype, copy=False)})

    def images(self) -> Float[np.ndarray, "n c h w"]:
        """Return the images as float32 with channels first."""
        array = self.array.astype(np.float32, copy=False)
        if array.ndim == 3:
            return array[:, None]
        return array.transpose(0, 3, 1, 2) if self.channels_last else array

    def with_images(self, images: Float[np.ndarray, "n c h w"]) -> Inputs:
        """Return the inputs with other images, given as `images()` returns them."""
        if self.array.ndim == 3:
            images = images[:, 0]
        elif self.channels_last:
            images = images.transpose(0, 2, 3, 1)
        return self.with_array(images)

    def native(self) -> Any:
        """Return the examples as the user passed them: array, tensor, dict or frame."""
        if self.form == "frame" and self.rebuild is not None:
            return self.rebuild(self.columns)
        if self.form == "mapping":
            return dict(self.columns)
        return torch.from_numpy(self.array) if self.form == "tensor" else self.array

    def tensors(self, device: torch.device) -> torch.Tensor | dict[str, torch.Tensor]:
        """Return the examples as tensors on a device, as an `nn.Module` takes them."""
        if "" in self.columns:
            return _tensor(self.array).to(device)
        if self.form == "frame":
            return _tensor(np.column_stack(list(self.columns.values()))).to(device)
        return {k: _tensor(v).to(device) for k, v in self.columns.items()}

    def feature_names(self) -> list[str]:
        """Names of the columns of a table, one per feature."""
        if "" not in self.columns:
            return list(self.columns)
        return [f"feature {i}" for i in range(int(np.prod(self.array.shape[1:])))]


def stack(parts: list[Inputs]) -> Inputs:
    """Concatenate inputs of one form along the examples.

    >>> len(stack([from_native(np.zeros((2, 3))), from_native(np.zeros((1, 3)))]))
    3
    """
    names = list(parts[0].columns)
    return replace(
        parts[0], columns={k: np.concatenate([p.columns[k] for p in parts]) for k in names}
    )


def from_native(x: Any) -> Inputs:
    """Wrap an array, tensor, dict of arrays, or pandas or polars frame.

    Raises:
        InputError: the object is none of these, or its columns differ in length.

    >>> from_native(torch.zeros(4, 1, 8, 8)).kind
    'image'
    """
    if isinstance(x, torch.Tensor):
        return Inputs({"": _numpy(x)}, "tensor")
    if is_frame(x):
        return _from_frame(x)
    if isinstance(x, Mapping):
        columns = {str(k): _numpy(v) for k, v in x.items()}
        lengths = {k: len(v) for k, v in columns.items()}
        if not columns or len(set(lengths.values())) > 1:
            raise InputError(f"input columns of lengths {lengths}", "equal lengths", "check them")
        return Inputs(columns, "mapping")
    if hasattr(x, "toarray"):  # scipy.sparse
        return Inputs({"": np.asarray(x.toarray())}, "array")
    array = np.asarray(x)
    if array.ndim < 1 or array.dtype == object:
        raise InputError(
            f"inputs of type {type(x).__name__}, shape {array.shape}, dtype {array.dtype}",
            "a numeric array, a tensor, a dict of arrays, or a pandas or polars frame",
            "convert it with numpy.asarray(..., dtype=float), or pass a frame for mixed columns",
        )
    return Inputs({"": array if array.ndim > 1 else array[:, None]}, "array")


def is_frame(x: object) -> bool:
    """Whether x is a pandas or polars frame, without importing either.

    >>> is_frame(np.zeros(3))
    False
    """
    module = type(x).__module__.split(".")[0]
    return module in {"pandas", "polars"} and hasattr(x, "columns") and hasattr(x, "shape")


def _from_frame(frame: Any) -> Inputs:
    names = [str(c) for c in frame.columns]
    columns = {n: np.asarray(frame[c].to_numpy()) for n, c in zip(names, frame.columns, strict=True)}
    kind = type(frame)
    if kind.__module__.startswith("pandas"):
        dtypes = frame.dtypes.to_dict()
        original = list(frame.columns)

        def rebuild(found: dict[str, np.ndarray]) -> Any:
            made = kind(dict(zip(original, found.values(), strict=True)))
            return made.astype(dtypes)
    else:
        schema = dict(frame.schema)

        def rebuild(found: dict[str, np.ndarray]) -> Any:
            return kind(found, schema=schema)

    return Inputs(columns, "frame", rebuild)


def _numpy(x: Any) -> np.ndarray:
    if isinstance(x, torch.Tensor):
        x = x.detach().cpu()
        return np.asarray((x.float() if x.dtype == torch.bfloat16 else x).numpy())
    return np.asarray(x)


def _tensor(array: np.ndarray) -> torch.Tensor:
    if array.dtype == object or array.dtype.kind in "US":
        raise InputError(
            f"a column of dtype {array.dtype}",
            "numbers, since the model is an nn.Module",
            "encode text and categories before the audit, or pass a scikit-learn pipeline",
        )
    # A torch module is nearly always float32; float64 is numpy's default, not the user's choice.
    return torch.from_numpy(np.ascontiguousarray(array, np.float32 if array.dtype == np.float64 else None))
