"""The parts in transformers.Trainer: against a loop by hand, and resumed from a checkpoint."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from heldout.core.errors import InputError
from heldout.core.seeds import torch_stream
from heldout.dynamics.orthograd import OrthoGrad
from heldout.dynamics.robust_accumulation import median_over_backwards
from heldout.dynamics.stablemax import StableMaxCrossEntropy
from heldout.integrations.transformers import stablemax_loss, trainer_optimizers, updates_per_epoch
from heldout.shift.slow_start import slow_start_fast_decay


def arguments(**changed: object) -> SimpleNamespace:
    usual = {
        "learning_rate": 0.01, "weight_decay": 0.1, "adam_beta1": 0.8, "adam_beta2": 0.9,
        "adam_epsilon": 1e-7, "gradient_accumulation_steps": 2, "dataloader_drop_last": False,
        "train_batch_size": 4, "world_size": 1,
    }  # fmt: skip
    return SimpleNamespace(**usual | changed)


def test_groups_and_options_are_those_of_the_arguments() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    net[2].bias.requires_grad_(False)
    made, schedule = trainer_optimizers(net, arguments(), skip_1d=True, eps=1e-25)
    assert isinstance(made, OrthoGrad) and made.skip_1d and schedule is None
    assert [len(g["params"]) for g in made.param_groups] == [2, 3]
    assert [g["weight_decay"] for g in made.param_groups] == [0.1, 0.0]
    assert made.param_groups[0]["betas"] == (0.8, 0.9) and made.param_groups[0]["eps"] == 1e-25
    _, schedule = trainer_optimizers(net, arguments(), schedule=slow_start_fast_decay())
    assert schedule is not None and schedule.get_last_lr() == [0.01, 0.01]
    with pytest.raises(InputError, match="frozen"):
        trainer_optimizers(net.requires_grad_(False), arguments())


def test_loss_over_accumulated_batches_is_that_of_all() -> None:
    rng = torch_stream(0, "trainer")
    z = torch.randn(6, 5, 7, generator=rng)
    y = torch.randint(7, (6, 5), generator=rng)
    y[0, :4] = -100
    counted = int((y[:, 1:] != -100).sum())
    ours = stablemax_loss(shift=True)
    parts = [ours((z[i : i + 2],), y[i : i + 2], num_items_in_batch=counted) for i in (0, 2, 4)]
    whole = StableMaxCrossEntropy()(z[:, :-1].reshape(-1, 7), y[:, 1:].reshape(-1))
    assert torch.allclose(sum(parts), whole) and torch.allclose(ours({"logits": z}, y), whole)
    assert not torch.allclose(stablemax_loss()((z,), y), whole)
    with pytest.raises(InputError, match="bfloat16"):
        ours((z.bfloat16(),), y)


class Net(nn.Module):
    """What the Trainer asks of a model, without a library's layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(5, 8), nn.Linear(8, 3)
        rng = torch_stream(1, "trainer")
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(torch.randn(p.shape, generator=rng) * 0.4)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        out = {"logits": self.last(torch.tanh(self.first(x)))}
        if labels is not None:
            out["loss"] = F.cross_entropy(out["logits"], labels)
        return out


def rows() -> list[dict[str, Tensor]]:
    rng = torch_stream(2, "trainer")
    return [
        {"x": torch.randn(5, generator=rng), "labels": torch.randint(3, (), generator=rng)}
        for _ in range(24)
    ]


def trainer(folder: Path, net: nn.Module, **changed: object):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    usual = {
        "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "num_train_epochs": 4,
        "learning_rate": 0.01, "weight_decay": 0.1, "max_grad_norm": 0.0, "use_cpu": True,
        "report_to": [], "save_strategy": "epoch", "logging_steps": 3, "disable_tqdm": True,
        "remove_unused_columns": False,
    }  # fmt: skip
    args = transformers.TrainingArguments(str(folder), **usual | changed)
    data = rows()
    schedule = slow_start_fast_decay(2, steps_per_epoch=updates_per_epoch(len(data), args))

    class InOrder(transformers.Trainer):
        def _get_train_sampler(self, *_: object) -> torch.utils.data.Sampler:
            return torch.utils.data.SequentialSampler(data)

    return InOrder(
        net, args, train_dataset=data,
        optimizers=trainer_optimizers(net, args, schedule=schedule),
        compute_loss_func=stablemax_loss(),
    )  # fmt: skip


def by_hand(net: Net, epochs: int = 4) -> None:
    data, loss = rows(), StableMaxCrossEntropy()
    x, y = (torch.stack([row[k] for row in data]) for k in ("x", "labels"))
    groups = [
        {"params": [net.first.weight, net.last.weight], "weight_decay": 0.1},
        {"params": [net.first.bias, net.last.bias], "weight_decay": 0.0},
    ]
    optimizer = OrthoGrad(groups, torch.optim.AdamW)
    for epoch in range(epochs):
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * (1, 2, 1, 0.5)[epoch]
        for some in range(0, 24, 8):
            optimizer.zero_grad()
            loss(net(x[some : some + 8])["logits"], y[some : some + 8]).backward()
            optimizer.step()


def weights(net: nn.Module) -> Tensor:
    return nn.utils.parameters_to_vector(net.parameters()).detach()


def test_trainer_is_the_loop_by_hand(tmp_path: Path) -> None:
    net, other = Net(), Net()
    trainer(tmp_path, net).train()
    by_hand(other)
    assert not torch.allclose(weights(net), weights(Net()), atol=1e-2)
    assert torch.allclose(weights(net), weights(other), rtol=1e-4, atol=1e-5)


def test_resumed_from_a_checkpoint_the_weights_are_identical(tmp_path: Path) -> None:
    net, resumed = Net(), Net()
    trainer(tmp_path, net).train()
    later = trainer(tmp_path, resumed)
    later.train(resume_from_checkpoint=str(tmp_path / "checkpoint-6"))
    assert torch.equal(weights(net), weights(resumed))
    assert later.optimizer.optimizer.base.state_dict()["state"][0]["step"] == 12


def test_bfloat16_model_init_and_medians(tmp_path: Path) -> None:
    net, exact = Net(), Net()
    trainer(tmp_path / "a", net, bf16=True).train()
    by_hand(exact)
    moved = weights(exact) - weights(Net())
    assert float(F.cosine_similarity(weights(net) - weights(Net()), moved, dim=0)) > 0.9
    plain, median = Net(), Net()
    options = {"gradient_accumulation_steps": 3}
    trainer(tmp_path / "b", plain, **options).train()
    with median_over_backwards(median, parts=3):
        trainer(tmp_path / "c", median, **options).train()
    assert bool(weights(median).isfinite().all())
    assert not torch.allclose(weights(plain), weights(median), atol=1e-3)


def test_where_the_trainer_makes_the_optimizer(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    args = transformers.TrainingArguments(
        str(tmp_path), max_steps=2, use_cpu=True, report_to=[], remove_unused_columns=False
    )
    kw = {"base_cls": torch.optim.AdamW, "lr": args.learning_rate}
    made = transformers.Trainer(
        model_init=Net, args=args, train_dataset=rows(), optimizer_cls_and_kwargs=(OrthoGrad, kw)
    )
    made.train()
    assert isinstance(made.optimizer.optimizer, OrthoGrad)
