"""`heldout.audit` from end to end: forms of input, a borrowed model, re-checking, resuming."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import torch
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import heldout
from heldout.audit.api import recheck
from heldout.audit.checks import CHECKS
from heldout.audit.report.schema import validate
from heldout.audit.result import STATUSES
from heldout.core.errors import ArtifactError, InputError


@pytest.fixture(scope="module")
def wine():
    x, y = load_wine(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    x, y = StandardScaler().fit_transform(x)[order].astype(np.float32), y[order]
    return (x[:110], y[:110]), (x[110:], y[110:])


def _network(wine):
    (x, y), _ = wine
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Linear(13, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 3)
        )
        optimizer = torch.optim.Adam(net.parameters(), 0.01)
        for _ in range(80):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(torch.tensor(x)), torch.tensor(y)).backward()
            optimizer.step()
        optimizer.zero_grad()
    return net


def _check_contract(report):
    assert set(report.checks) == set(CHECKS)
    assert set(report.to_dict()["checks"]) == set(CHECKS)
    for result in report.checks.values():
        assert result.status in STATUSES
        assert result.reason
        for number in result.numbers.values():
            assert number.n > 0 and number.unit and number.worse in ("higher", "lower")
    assert report.headline["word"] in ("ready", "caution", "not ready")


def test_network_with_loaders_comes_back_as_it_was(wine, tmp_path):
    net = _network(wine).train()
    net[0].weight.requires_grad_(False)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    modes = [m.training for m in net.modules()]
    flags = [p.requires_grad for p in net.parameters()]
    random_state = torch.get_rng_state()
    train, test = (TensorDataset(torch.tensor(a), torch.tensor(b)) for a, b in wine)
    report = heldout.audit(
        net,
        train=DataLoader(train, batch_size=16, shuffle=True),
        test=test,
        shifted={"blank": wine[1][0] * 0.5},
        out=tmp_path,
    )
    _check_contract(report)
    validate(report.to_dict(), CHECKS)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert [m.training for m in net.modules()] == modes
    assert [p.requires_grad for p in net.parameters()] == flags
    assert all(p.grad is None for p in net.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    assert torch.equal(torch.get_rng_state(), random_state)
    assert report.checks["accuracy"].numbers["test"].value > 0.85


def test_estimator_with_fit_and_text_labels(wine):
    names = np.array(["barolo", "grignolino", "barbera"])
    (x, y), (xt, yt) = wine
    fit = lambda data, seed: LogisticRegression(max_iter=300).fit(*data)  # noqa: E731
    report = heldout.audit(
        fit((x, names[y]), 0),
        train=(x, names[y]),
        test=(xt, names[yt]),
        shifted={"noisy": (xt + 0.3, names[yt])},
        fit=fit,
        groups={"test": {"cellar": ["a", "b"] * (len(yt) // 2)}},
        budget_minutes=0.3,
    )
    _check_contract(report)
    assert report.to_dict()["data"]["class_names"] == sorted(names)
    assert report.checks["accuracy"].numbers["test"].value > 0.9


def test_checking_again_needs_no_model_and_says_the_same(wine, tmp_path):
    x, y = wine[0]
    model = LogisticRegression(max_iter=300).fit(x, y)
    first = heldout.audit(lambda a: model.predict_proba(a), *wine, out=tmp_path).to_dict()
    again = recheck(tmp_path).to_dict()
    for report in (first, again):
        for check in report["checks"].values():
            check.pop("seconds")
    assert first["checks"] == again["checks"]
    assert first["headline"] == again["headline"]
    saved = json.loads((tmp_path / "report.json").read_text())
    assert saved["schema_version"] == 1
    assert (tmp_path / "report.html").stat().st_size < 2_000_000
    with pytest.raises(ArtifactError):
        recheck(tmp_path / "none")


def test_equal_seeds_give_equal_reports(wine):
    model = LogisticRegression(max_iter=300).fit(*wine[0])
    reports = [heldout.audit(model, *wine, seed=3).to_dict()["checks"] for _ in range(2)]
    for report in reports:
        for check in report.values():
            check.pop("seconds")
    assert reports[0] == reports[1]


@pytest.mark.parametrize("minutes", [0, -1, float("nan")])
def test_a_budget_that_is_no_time_is_refused(wine, minutes):
    with pytest.raises(InputError, match="budget_minutes"):
        heldout.audit(lambda a: a, *wine, budget_minutes=minutes)


_SLOW = """
import sys, time
import numpy as np
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
x, y = load_wine(return_X_y=True)
x = (x - x.mean(0)) / x.std(0)
order = np.random.default_rng(0).permutation(len(y))
x, y = x[order], y[order]
calls = []
def fit(dataset, seed):
    time.sleep(0.3)
    with open(sys.argv[2], "a") as log:
        log.write(f"{seed} {len(dataset)}\\n")
    return LogisticRegression(max_iter=200).fit(*dataset)
import heldout
from heldout.audit.context import Settings
model = LogisticRegression(max_iter=200).fit(x[:110], y[:110])
heldout.audit(model, (x[:110], y[:110]), (x[110:], y[110:]), fit=fit, out=sys.argv[1],
              budget_minutes=0.5)
"""


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on_without_repeating_what_was_done(tmp_path):
    script = tmp_path / "slow.py"
    script.write_text(textwrap.dedent(_SLOW))
    out, log = tmp_path / "out", tmp_path / "log"
    command = [sys.executable, str(script), str(out), str(log)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment)
    deadline = time.monotonic() + 90
    while len(list(out.glob("artifacts/refits/*/test.npz"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = len(list(out.glob("artifacts/refits/*/test.npz")))
    assert finished >= 3
    log.unlink()
    subprocess.run(command, env=environment, check=True, timeout=240)
    report = json.loads((out / "report.json").read_text())
    assert report["schema_version"] == 1
    repeated = [line for line in log.read_text().splitlines() if line == "0 110"]
    # Seed 0 of the full training set was finished; other stages may ask for it once more at most.
    assert len(repeated) <= 1
