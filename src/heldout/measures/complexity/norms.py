"""Norms of a network's layers, their products and sums, and distances from where it began."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from heldout.measures.complexity._folding import Layer


def spectral_norm(weight: Float[Tensor, "out ..."]) -> float:
    """Largest singular value of a weight as a matrix, `out` by everything else.

    For a convolution this is not the norm of the map it computes: see `conv_spectral_norm`.

    >>> spectral_norm(torch.diag(torch.tensor([1.0, 3.0])))
    3.0
    """
    return float(torch.linalg.matrix_norm(weight.double().flatten(1), 2))


def conv_spectral_norm(
    weight: Float[Tensor, "o i ..."], spatial: Sequence[int], groups: int = 1
) -> float:
    """Operator norm of a convolution of stride 1 with wrapped edges (Sedghi et al. 2019, thm 6).

    The largest singular value over frequencies of the kernel's Fourier transform, an `out` by
    `in` matrix at each frequency. Zero padding or a stride only leave rows and columns out, so
    for these it is an upper bound.

    Args:
        weight: kernels, (out, in / groups, *kernel).
        spatial: input height and width (or length).
        groups: of the convolution; the norm is the largest over groups.

    DIFFERS: where the kernel is larger than the input, the transform is over the kernel's size;
    a transform over the input's would cut the kernel off.

    Cost: one singular value decomposition of `out` by `in` per frequency.

    >>> round(conv_spectral_norm(torch.ones(1, 1, 3, 3), (8, 8)), 6)  # a sum of nine neighbours
    9.0
    """
    size = [max(s, k) for s, k in zip(spatial, weight.shape[2:], strict=True)]
    dims = list(range(2, weight.ndim))
    frequencies = torch.fft.fftn(weight.double(), size, dim=dims)
    matrices = frequencies.flatten(2).permute(2, 0, 1)  # (frequencies, out, in / groups)
    parts = matrices.reshape(len(matrices), groups, -1, matrices.shape[2])
    return float(torch.linalg.matrix_norm(parts, 2).max())


def layer_norms(layers: Sequence[Layer], exact: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Squared Frobenius and squared spectral norms of each layer.

    Args:
        layers: of `fold`.
        exact: convolutions by `conv_spectral_norm` instead of as matrices.

    >>> layer_norms([Layer("a", torch.eye(2), ())])[0].tolist()
    [2.0]
    """
    frobenius = [float(a.weight.double().square().sum()) for a in layers]
    spectral = [
        conv_spectral_norm(a.weight, a.spatial, a.groups)
        if exact and a.spatial
        else spectral_norm(a.weight)
        for a in layers
    ]
    return np.array(frobenius), np.array(spectral) ** 2


def norm_measures(
    layers: Sequence[Layer], initial: Sequence[Layer], margin: float | None = None
) -> dict[str, float]:
    """Measures made of layer norms (Jiang et al. 2020, eqs. 29-42 as counted there).

    With `F_i = |W_i|_F^2`, `S_i = |W_i|_2^2`, `D_i = |W_i - W0_i|_F^2`, d layers, margin g:

        log_prod_spec        sum_i log S_i                (eq. 32)
        log_sum_spec         log d + (1/d) sum_i log S_i  (35)
        fro_over_spec        sum_i F_i / S_i              (33)
        dist_spec_init       sum_i |W_i - W0_i|_2^2       (41)
        log_prod_fro, log_sum_fro                         (37, 39) with F for S
        fro_dist             sum_i D_i                    (40)
        param_norm           sum_i F_i                    (42)

    and with a margin `..._over_margin`, which subtract `2 log g` from the product (31, 34, 36,
    38), `log_spec_init_main` and `log_spec_orig_main`, which add `log sum_i D_i / S_i` or
    `log sum_i F_i / S_i` to that (29, 30). Names that end in `_fft` take the operator norm of
    convolutions.

    Args:
        layers: of the trained network.
        initial: the same layers before training.
        margin: positive; without one the measures that need it are left out.

    >>> one, zero = [Layer("a", torch.eye(2), ())], [Layer("a", torch.zeros(2, 2), ())]
    >>> norm_measures(one, zero)["fro_dist"]
    2.0
    """
    moved = [
        Layer(a.name, a.weight - b.weight, a.spatial, a.groups)
        for a, b in zip(layers, initial, strict=True)
    ]
    fro, spec = layer_norms(layers)
    fro_moved, spec_moved = layer_norms(moved)
    found = {"fro_dist": fro_moved.sum(), "param_norm": fro.sum()}
    found |= _products("fro", fro, margin)
    found |= _spectral("", fro, spec, fro_moved, spec_moved, margin)
    exact, exact_moved = layer_norms(layers, True)[1], layer_norms(moved, True)[1]
    found |= _spectral("_fft", fro, exact, fro_moved, exact_moved, margin)
    return {name: float(value) for name, value in found.items()}


def _products(kind: str, squares: np.ndarray, margin: float | None) -> dict[str, float]:
    d = len(squares)
    with np.errstate(divide="ignore"):
        product = float(np.log(squares).sum())
    found = {f"log_prod_{kind}": product, f"log_sum_{kind}": math.log(d) + product / d}
    if margin is not None:
        over = product - 2 * math.log(margin)
        found[f"log_prod_{kind}_over_margin"] = over
        found[f"log_sum_{kind}_over_margin"] = math.log(d) + over / d
    return found


def _spectral(
    suffix: str, fro: np.ndarray, spec: np.ndarray, fro_moved: np.ndarray,
    spec_moved: np.ndarray, margin: float | None,
) -> Mapping[str, float]:  # fmt: skip
    found = _products("spec", spec, margin)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio, moved = float((fro / spec).sum()), float((fro_moved / spec).sum())
        found |= {"fro_over_spec": ratio, "dist_spec_init": float(spec_moved.sum())}
        if margin is not None:
            over = found["log_prod_spec_over_margin"]
            found["log_spec_init_main"] = over + float(np.log(moved))
            found["log_spec_orig_main"] = over + float(np.log(ratio))
    return {name + suffix: value for name, value in found.items()}
