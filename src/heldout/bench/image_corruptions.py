"""Perturbations of images with values in [0, 1]: every kind maps (n, C, H, W) to (n, C, H, W)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

Images = NDArray[np.float64]
ImageKind = Callable[..., Images]


def _signs(n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    return rng.choice([-1.0, 1.0], n)


def _sample(x: Images, rows: Images, cols: Images) -> Images:
    # Bilinear look-up of x at (rows, cols), each (n, H, W); outside the frame is 0 (dark).
    h, w = x.shape[2:]
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    r = np.clip(rows + 1, 0, h + 1 - 1e-9)
    c = np.clip(cols + 1, 0, w + 1 - 1e-9)
    r0, c0 = r.astype(int), c.astype(int)
    fr, fc = (r - r0)[:, None], (c - c0)[:, None]
    i = np.arange(len(x))[:, None, None]

    def at(a: NDArray[np.int_], b: NDArray[np.int_]) -> Images:
        return padded[i, :, a, b].transpose(0, 3, 1, 2)

    top = at(r0, c0) * (1 - fc) + at(r0, c0 + 1) * fc
    bottom = at(r0 + 1, c0) * (1 - fc) + at(r0 + 1, c0 + 1) * fc
    return top * (1 - fr) + bottom * fr


def _affine(x: Images, matrix: Images, shift: Images) -> Images:
    # matrix (n, 2, 2) and shift (n, 2) map output positions to input positions about the centre.
    h, w = x.shape[2:]
    grid = np.stack(np.meshgrid(np.arange(h), np.arange(w), indexing="ij")).astype(float)
    centre = np.array([(h - 1) / 2, (w - 1) / 2])
    moved = np.einsum("nij,jhw->nihw", matrix, grid - centre[:, None, None])
    moved += (centre + shift)[:, :, None, None]
    return _sample(x, moved[:, 0], moved[:, 1])


def _matrices(a: Images, b: Images, c: Images, d: Images) -> Images:
    return np.stack([np.stack([a, b], -1), np.stack([c, d], -1)], -2)


def _noise(x: Images, s: float, rng: np.random.Generator) -> Images:
    return np.clip(x + 0.6 * s * rng.standard_normal(x.shape), 0, 1)


def _additive(x: Images, s: float, rng: np.random.Generator) -> Images:
    # Noise that leaves the value range, as when it is added to standardized images.
    return x + 0.5 * s * rng.standard_normal(x.shape)


def _blur(x: Images, s: float, rng: np.random.Generator) -> Images:
    width = 0.2 * s * min(x.shape[2:])
    return np.asarray(ndimage.gaussian_filter(x, (0, 0, width, width), mode="nearest"))


def _rotation(x: Images, s: float, rng: np.random.Generator) -> Images:
    angle = np.deg2rad(60 * s * rng.uniform(0.7, 1.0, len(x))) * _signs(len(x), rng)
    cos, sin = np.cos(angle), np.sin(angle)
    return _affine(x, _matrices(cos, -sin, sin, cos), np.zeros((len(x), 2)))


def _shear(x: Images, s: float, rng: np.random.Generator) -> Images:
    k = 0.9 * s * rng.uniform(0.7, 1.0, len(x)) * _signs(len(x), rng)
    one, zero = np.ones(len(x)), np.zeros(len(x))
    return _affine(x, _matrices(one, zero, k, one), np.zeros((len(x), 2)))


def _zoom(x: Images, s: float, rng: np.random.Generator) -> Images:
    factor = np.exp(0.8 * s * rng.uniform(0.6, 1.0, len(x)) * _signs(len(x), rng))
    zero = np.zeros(len(x))
    return _affine(x, _matrices(factor, zero, zero, factor), np.zeros((len(x), 2)))


def _translation(x: Images, s: float, rng: np.random.Generator) -> Images:
    angle = rng.uniform(0, 2 * np.pi, len(x))
    shift = 0.25 * s * min(x.shape[2:]) * np.stack([np.sin(angle), np.cos(angle)], -1)
    return _affine(x, np.broadcast_to(np.eye(2), (len(x), 2, 2)), shift)


def _elastic(x: Images, s: float, rng: np.random.Generator) -> Images:
    n, _, h, w = x.shape
    field = ndimage.gaussian_filter(rng.standard_normal((2, n, h, w)), (0, 0, h / 6, w / 6))
    field *= 0.2 * s * min(h, w) / (field.std() + 1e-12)
    rows, cols = np.meshgrid(np.arange(h), np.arange(w), indexing="ij")
    return _sample(x, rows + field[0], cols + field[1])


def _contrast(x: Images, s: float, rng: np.random.Generator) -> Images:
    mean = x.mean(axis=(1, 2, 3), keepdims=True)
    return mean + (1 - 0.95 * s) * (x - mean)


def _brightness(x: Images, s: float, rng: np.random.Generator) -> Images:
    return np.clip(x + 0.6 * s * _signs(len(x), rng)[:, None, None, None], 0, 1)


def _gamma(x: Images, s: float, rng: np.random.Generator) -> Images:
    power = np.exp(1.6 * s * _signs(len(x), rng))[:, None, None, None]
    return np.clip(x, 0, 1) ** power


def _inversion(x: Images, s: float, rng: np.random.Generator) -> Images:
    return (1 - 0.48 * s) * x + 0.48 * s * (1 - x)


def _occlusion(x: Images, s: float, rng: np.random.Generator) -> Images:
    n, _, h, w = x.shape
    bh, bw = max(1, round(0.7 * s * h)), max(1, round(0.7 * s * w))
    top = rng.integers(0, h - bh + 1, n)[:, None, None]
    left = rng.integers(0, w - bw + 1, n)[:, None, None]
    rows, cols = np.arange(h)[None, :, None], np.arange(w)[None, None, :]
    hidden = (rows >= top) & (rows < top + bh) & (cols >= left) & (cols < left + bw)
    return np.where(hidden[:, None], 0.0, x)


def _salt_pepper(x: Images, s: float, rng: np.random.Generator) -> Images:
    hit = rng.random(x.shape) < 0.5 * s
    return np.where(hit, rng.integers(0, 2, x.shape).astype(float), x)


def _smooth_noise(x: Images, s: float, rng: np.random.Generator) -> Images:
    h, w = x.shape[2:]
    field = ndimage.gaussian_filter(rng.standard_normal(x.shape), (0, 0, h / 8, w / 8))
    return np.clip(x + 0.6 * s * field / (field.std() + 1e-12), 0, 1)


def _pixelate(x: Images, s: float, rng: np.random.Generator) -> Images:
    n, c, h, w = x.shape
    rows = np.minimum(np.arange(h) // (1 + 0.4 * s * h), h - 1).astype(int)
    cols = np.minimum(np.arange(w) // (1 + 0.4 * s * w), w - 1).astype(int)
    # Averaging matrices: every pixel becomes the mean of its block.
    a = (rows[:, None] == rows[None]) / np.bincount(rows)[rows][:, None]
    b = (cols[:, None] == cols[None]) / np.bincount(cols)[cols][:, None]
    return np.einsum("ij,ncjk,lk->ncil", a, x, b)


def _posterize(x: Images, s: float, rng: np.random.Generator) -> Images:
    levels = 1.0 + 6.0 * (1.0 - s)
    return np.asarray(np.round(x * levels) / levels)


def _compression(x: Images, s: float, rng: np.random.Generator) -> Images:
    # JPEG's loss without its file: cosine coefficients rounded, high frequencies coarser.
    h, w = x.shape[2:]
    u = np.arange(h)[:, None] / h + np.arange(w)[None, :] / w
    step = 0.25 * np.sqrt(h * w) * s * (0.2 + u)
    coefficients = fft.dctn(x, axes=(2, 3), norm="ortho")
    return np.clip(fft.idctn(step * np.round(coefficients / step), axes=(2, 3), norm="ortho"), 0, 1)


def _patch_swap(
    x: Images, s: float, rng: np.random.Generator, donor: Images | None = None
) -> Images:
    # A block from another image: breaks a cue that sits in one place, and the statistics stay.
    n, _, h, w = x.shape
    bh, bw = max(1, round(0.7 * s * h)), max(1, round(0.7 * s * w))
    top = rng.integers(0, h - bh + 1, n)[:, None, None]
    left = rng.integers(0, w - bw + 1, n)[:, None, None]
    rows, cols = np.arange(h)[None, :, None], np.arange(w)[None, None, :]
    inside = (rows >= top) & (rows < top + bh) & (cols >= left) & (cols < left + bw)
    other = (x if donor is None else donor)[rng.permutation(n)]
    return np.where(inside[:, None], other, x)


def _frame(x: Images, s: float, rng: np.random.Generator, donor: Images | None = None) -> Images:
    # The border blanked, or another image's border: a scanner's mark, a caption, a crop.
    n, _, h, w = x.shape
    width = max(1, round(0.25 * s * min(h, w)))
    rows, cols = np.arange(h)[:, None], np.arange(w)[None, :]
    inner = (rows >= width) & (rows < h - width) & (cols >= width) & (cols < w - width)
    other = (x if donor is None else donor)[rng.permutation(n)]
    return np.where(inner, x, 0.0 if rng.random() < 0.3 else other)


def _band_swap(
    x: Images, s: float, rng: np.random.Generator, donor: Images | None = None
) -> Images:
    # Fine or coarse cosine coefficients of another image: breaks a cue of texture or of shading.
    h, w = x.shape[2:]
    u = np.maximum(np.arange(h)[:, None] / h, np.arange(w)[None, :] / w)
    swapped = u > 1 - 0.8 * s if rng.random() < 0.5 else u < 0.3 * s
    coefficients = fft.dctn(x, axes=(2, 3), norm="ortho")
    source = x if donor is None else donor
    other = fft.dctn(source[rng.permutation(len(x))], axes=(2, 3), norm="ortho")
    mixed = np.where(swapped, other, coefficients)
    return np.clip(fft.idctn(mixed, axes=(2, 3), norm="ortho"), 0, 1)


IMAGE_KINDS: dict[str, ImageKind] = {
    "noise": _noise,
    "blur": _blur,
    "rotation": _rotation,
    "contrast": _contrast,
    "occlusion": _occlusion,
    "additive": _additive,
    "shear": _shear,
    "zoom": _zoom,
    "translation": _translation,
    "elastic": _elastic,
    "brightness": _brightness,
    "gamma": _gamma,
    "inversion": _inversion,
    "salt_pepper": _salt_pepper,
    "smooth_noise": _smooth_noise,
    "pixelate": _pixelate,
    "posterize": _posterize,
    "compression": _compression,
    "patch_swap": _patch_swap,
    "frame": _frame,
    "band_swap": _band_swap,
}

IMAGE_SWAPS = ("patch_swap", "frame", "band_swap")
"""Kinds that take parts of other images, and can take them from donor images."""
