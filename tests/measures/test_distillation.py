"""Distillation against teachers that a student can and cannot be, and what is refused."""

import numpy as np
import pytest
import torch
from torch import nn

from heldout.core.errors import InputError
from heldout.measures.distillation import Distilling, distill
from heldout.measures.langevin_ensemble import Langevin, langevin_ensemble

RNG = torch.Generator().manual_seed(0)
X = torch.randn(300, 2, generator=RNG)
FAST = Distilling(steps=300, rate=0.05)


def _linear(classes: int = 3, inputs: int = 2) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Linear(inputs, classes)


def _softmax(z: torch.Tensor) -> np.ndarray:
    return z.double().softmax(1).numpy()


WEIGHT = torch.tensor([[1.0, 0.0, -1.0], [0.0, 2.0, -1.0]])


def _teacher(x: torch.Tensor) -> np.ndarray:
    return _softmax(x @ WEIGHT)


def test_a_teacher_of_the_students_own_form_is_found_exactly() -> None:
    found = distill(_teacher, _linear(), X, options=Distilling(steps=800, rate=0.05))
    assert found.kl.value < 1e-4 and found.kl.n == 60 and found.agreement.value >= 0.98
    got = found.student.weight.detach().T
    centred = WEIGHT - WEIGHT.mean(1, keepdim=True)  # softmax does not see a shift
    assert torch.allclose(got - got.mean(1, keepdim=True), centred, atol=0.05)


def test_a_student_that_sees_nothing_is_as_far_as_a_constant_and_kl_is_the_definition() -> None:
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.b = nn.Parameter(torch.zeros(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b.expand(len(x), 3)

    new = torch.randn(400, 2, generator=torch.Generator().manual_seed(5))
    found = distill(_teacher, Constant(), X, held_out=new, options=FAST)
    p = _teacher(new)
    q = found.student.b.detach().double().softmax(0).numpy()
    assert found.kl.value == pytest.approx(float((p * np.log(p / q)).sum(1).mean()))
    assert found.kl.low <= found.kl_constant.value * 1.05 and found.kl.n == 400
    assert found.kl.value > 50 * distill(_teacher, _linear(), X, options=FAST).kl.value
    share = float((p.argmax(1) == q.argmax()).mean())
    assert found.agreement.value == pytest.approx(share) and share < 0.8


@pytest.mark.filterwarnings("ignore:R-hat")
def test_an_ensemble_of_networks_is_distilled_and_nothing_is_changed() -> None:
    y = (X[:40, 0] * X[:40, 1] > 0).long()
    options = Langevin(samples=15, burn_in=150, thinning=2, refuse=False)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 2)).train()
    made = langevin_ensemble(net, X[:40], y, options=options)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    state = torch.get_rng_state()
    found = distill(made, net, X, options=Distilling(steps=500, rate=0.02))
    assert found.kl.high < 0.25 * found.kl_constant.low
    assert found.student is not net and found.student.training and net.training
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert torch.equal(state, torch.get_rng_state()) and net[0].weight.grad is None
    # a student of a teacher whose labels are swapped is far: the measure sees it
    swapped = distill(lambda x: made.predict_proba(x)[:, ::-1], found.student, X, options=FAST)
    assert swapped.agreement.value > 0.9
    p = made.predict_proba(X)
    with torch.no_grad():
        q = swapped.student(X).double().log_softmax(1).numpy()
    assert float((p * (np.log(p) - q)).sum(1).mean()) > 10 * found.kl.value


def test_same_seed_same_student() -> None:
    runs = [distill(_teacher, _linear(), X, options=Distilling(50), seed=s).kl for s in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"teacher": lambda x: np.ones((len(x), 3))}, "sum to 1"),
        ({"teacher": lambda x: np.log(_teacher(x))}, "not logits"),
        ({"teacher": lambda x: _teacher(x)[:5]}, "probabilities that sum"),
        ({"student": _linear(2)}, "as the teacher has"),
        ({"student": nn.ReLU()}, "trainable parameters"),
        ({"student": "net"}, "nn.Module"),
        ({"inputs": X[:15]}, "at least 20"),
        ({"held_out": X[:5]}, "10 to measure"),
        ({"inputs": X.numpy()}, "a tensor"),
        ({"options": Distilling(steps=0)}, "above 0"),
        ({"options": Distilling(share=1.5)}, "below 1"),
    ],
)
def test_what_cannot_be_distilled_is_refused(given: dict, said: str) -> None:
    arguments = {"teacher": _teacher, "student": _linear(), "inputs": X} | given
    with pytest.raises(InputError, match=said):
        distill(arguments.pop("teacher"), arguments.pop("student"), **arguments)
