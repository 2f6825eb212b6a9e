"""Experiments of "The Pitfalls of Simplicity Bias in Neural Networks": what nets lean on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from heldout.bench.block_images import digit_textures
from heldout.bench.slabs import SlabData, make_lms, make_ms
from heldout.core.seeds import stream, torch_stream
from heldout.dynamics.feature_reliance import Group, group_reliance
from heldout.dynamics.universal_perturbation import perturbation_effect, universal_perturbation
from heldout.papers._simplicity_bias_nets import Net, Training, attack, train

Make = Callable[[int, str], SlabData]


def measure(experiment: str, setting: dict[str, Any], seed: int) -> dict[str, float]:
    """Run one experiment of one seed; see the recipe's SETTINGS for what is in `setting`."""
    made = {"lms5": _lms5, "ms57": _ms57, "images": _images, "noisy": _noisy}
    return made[experiment](setting, seed)


def _lms5(s: dict[str, Any], seed: int) -> dict[str, float]:
    def make(n: int, part: str) -> SlabData:
        return make_lms(n, 5, s["dim"], seed=seed, part=part)

    out, nets = _biased("lms5", make, s, seed)
    together = _average(nets)
    return out | _reliance(
        "ensemble", together, *_slabs(make(s["n_test"], "test")), s["n_perm"], seed
    )


def _ms57(s: dict[str, Any], seed: int) -> dict[str, float]:
    def make(n: int, part: str) -> SlabData:
        return make_ms(n, 5, 7, s["dim"], seed=seed, part=part)

    return _biased("ms57", make, s, seed)[0]


def _biased(
    name: str, make: Make, s: dict[str, Any], seed: int
) -> tuple[dict[str, float], list[nn.Sequential]]:
    """Nets on the data as they are, and one that must do without the simple coordinate."""
    data, held = make(s["n"], "train"), make(s["n_test"], "test")
    usual, probe = Training(**s["training"]), Training(**s["probe"])
    nets = [_fit(data.x, data.y, usual, seed, name, i)[0] for i in range(s["members"])]
    # The same coordinate, permuted over training rows, is there and says nothing.
    blocks = data.blocks()
    blocks[:, 0] = blocks[stream(seed, "simplicity_bias", "permuted").permutation(s["n"]), 0]
    without = _fit(data.rotated(blocks), data.y, probe, seed, name, "without")[0]
    out = _reliance(name, nets[0], *_slabs(held), s["n_perm"], seed)
    out |= _universal(name, nets[0], data, held, s, seed)
    return out | _reliance(f"{name}_without", without, *_slabs(held), s["n_perm"], seed), nets


def _universal(
    name: str, net: nn.Module, data: SlabData, held: SlabData, s: dict[str, Any], seed: int
) -> dict[str, float]:
    """One perturbation, found on training rows and measured on test rows."""
    n = s["n_attack"]
    delta = universal_perturbation(net, data.x[:n], data.y[:n], s["norm"], seed=seed)
    found = perturbation_effect(net, held.x, held.y, delta, seed=seed)
    blocks = data.blocks(delta[None])[0]
    return {
        f"accuracy/{name}/untouched": found.untouched.value,
        f"accuracy/{name}/perturbed": found.perturbed.value,
        f"accuracy/{name}/random_direction": found.random.value,
        f"budget/{name}": float(abs(blocks[0]) / max(float(np.linalg.norm(blocks)), 1e-12)),
    }


def _images(s: dict[str, Any], seed: int) -> dict[str, float]:
    data, held = digit_textures(s["n"], seed), digit_textures(s["n_test"], seed, "test")
    digit = data.groups()["first"]
    flat = data.x.reshape(len(data.x), -1)
    mixed = flat.copy()
    order = stream(seed, "simplicity_bias", "permuted").permutation(len(flat))
    mixed[:, digit] = flat[order][:, digit]
    out: dict[str, float] = {}
    test, epsilon = held.x.reshape(len(held.x), -1), s["against"]["epsilon"]
    for name, x, training in (
        ("images", flat, s["training"]), ("images_without", mixed, s["probe"]),
        ("adversarial", flat, s["against"]),
    ):  # fmt: skip
        net, _ = _fit(x, data.y, Training(**training), seed, name)
        out |= _reliance(name, net, test, held.y, Group(digit), s["n_perm"], seed)
        if name != "images_without":
            out |= _robustness(name, net, test, held.y, epsilon, seed)
    out["attacked/gain"] = out["attacked/adversarial"] - out["attacked/images"]
    return out


def _robustness(
    name: str, net: nn.Sequential, x: np.ndarray, y: np.ndarray, epsilon: float, seed: int
) -> dict[str, float]:
    """Accuracy under the attack, 20 steps, and under random signs of the same size."""
    rng = torch_stream(seed, "simplicity_bias", "robustness", name)
    inputs, labels = torch.from_numpy(x), torch.from_numpy(y)
    fast = Net.of(net, len(x))
    moved = attack(fast, inputs, (2 * labels - 1).float(), epsilon, 20, rng)
    noise = (torch.randint(2, inputs.shape, generator=rng) * 2 - 1) * epsilon
    with torch.inference_mode():
        right = [
            float((net(z).argmax(1) == labels).float().mean()) for z in (moved, inputs + noise)
        ]
    return {f"attacked/{name}": right[0], f"random_signs/{name}": right[1]}


def _noisy(s: dict[str, Any], seed: int) -> dict[str, float]:
    """Noisy LMS-7 against MS-7 at the same rates; each keeps its better one, by test accuracy."""
    makes: dict[str, Make] = {
        "noisy": lambda n, part: make_lms(
            n, 7, s["dim"], noise=s["noise"], seed=seed, part=part
        ),
        "clean": lambda n, part: make_ms(n, 7, 7, s["dim"], seed=seed, part=part),
    }  # fmt: skip
    out: dict[str, float] = {}
    for name, make in makes.items():
        data, held = make(s["n"], "train"), make(s["n_test"], "test")
        found: list[tuple[float, nn.Sequential]] = []
        for rate in s["rates"]:
            net, losses = _fit(data.x, data.y, Training(lr=rate, **s["training"]), seed, name, rate)
            out[f"test/{name}_{rate}"] = _accuracy(net, held)
            out |= {f"loss/{name}_{rate}@{k}": v for k, v in _thin(losses).items()}
            found.append((out[f"test/{name}_{rate}"], net))
        best, net = max(found, key=lambda f: f[0])
        out |= {f"test/{name}": best, f"train/{name}": _accuracy(net, data)}
        if name == "noisy":
            out |= _reliance(name, net, *_slabs(held), s["n_perm"], seed, "accuracy")
    return out | {"test/clean_minus_noisy": out["test/clean"] - out["test/noisy"]}


def _fit(
    x: np.ndarray, y: np.ndarray, training: Training, seed: int, *purpose: str | int | float
) -> tuple[nn.Sequential, dict[int, float]]:
    words = [str(p) for p in purpose]
    return train(torch.from_numpy(x), torch.from_numpy(y), training, seed, *words)


def _slabs(held: SlabData) -> tuple[np.ndarray, np.ndarray, Group]:
    return held.x, held.y, Group([0], held.rotation.T)


def _reliance(
    name: str, net: nn.Module, x: np.ndarray, y: np.ndarray, group: Group, n_perm: int, seed: int,
    metric: Any = "auc",
) -> dict[str, float]:  # fmt: skip
    found = group_reliance(net, x, y, {"simple": group}, metric=metric, n_perm=n_perm, seed=seed)[
        "simple"
    ]
    standard, kept = found.standard.value, found.complement_randomized.value
    return {
        f"{metric}/{name}/standard": standard,
        f"{metric}/{name}/randomized": found.randomized.value,
        f"{metric}/{name}/complement_randomized": kept,
        f"{metric}/{name}/kept": kept / max(standard, 1e-9),
    }


def _average(nets: Sequence[nn.Module]) -> nn.Module:
    class Mean(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.nets = nn.ModuleList(nets)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([net(x) for net in self.nets]).mean(0)

    return Mean().eval()


def _accuracy(net: nn.Module, data: SlabData) -> float:
    with torch.inference_mode():
        said = net(torch.from_numpy(data.x)).argmax(1).numpy()
    return float((said == data.y).mean())


def _thin(losses: dict[int, float], points: int = 30) -> dict[int, float]:
    steps = sorted(losses)
    return {k: losses[k] for k in [*steps[:: max(1, len(steps) // points)], steps[-1]]}
