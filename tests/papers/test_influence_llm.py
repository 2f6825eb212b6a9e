"""Oracles of the recipe's own parts, the example, and tiny runs."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from heldout.core.errors import InputError
from heldout.papers import _influence_llm_labels as labels
from heldout.papers import _influence_llm_lds as lds
from heldout.papers import _influence_llm_order as order
from heldout.papers import influence_llm as recipe
from heldout.papers._page import snippet

TINY = recipe.SETTINGS["tiny"]


@pytest.fixture(scope="module")
def tiny() -> dict[str, float]:
    firsts = {c.group: c.id for c in recipe.CLAIMS}
    found: dict[str, float] = {}
    for claim in firsts.values():
        found |= recipe.run(claim, "tiny", 7)
    return found


def test_every_number_that_claims_and_figure_need(tiny: dict[str, float]) -> None:
    from heldout.papers._influence_llm_figure import PANELS

    wanted = {c.metric for c in recipe.CLAIMS}
    wanted |= {k.metric for c in recipe.CLAIMS for k in c.controls}
    wanted |= {key for panel in PANELS.values() for key in panel}
    assert wanted <= set(tiny)
    assert all(isinstance(v, float) and np.isfinite(v) for v in tiny.values())
    assert len({c.id for c in recipe.CLAIMS}) == len(recipe.CLAIMS)
    assert {c.group for c in recipe.CLAIMS} == set(TINY)
    assert tiny["ekfac_minus_dot"] == pytest.approx(tiny["lds/ekfac"] - tiny["lds/dot"])
    assert tiny["self_minus_el2n"] == pytest.approx(tiny["ap/self"] - tiny["ap/el2n"])
    assert tiny["gap/ekfac"] == tiny["rank/flipped/ekfac"] - tiny["rank/same/ekfac"]


def test_same_seed_same_numbers_and_no_trace_in_the_global_generator() -> None:
    state = torch.get_rng_state()
    one = recipe.run("word_order", "tiny", 7)
    assert recipe.run("word_order", "tiny", 7) == one
    assert torch.equal(torch.get_rng_state(), state)
    assert recipe.run("word_order", "tiny", 8) != one


def test_no_fact_is_told_as_it_is_asked() -> None:
    world = order.make_world({"facts": 5, "others": 4})
    told = {tuple(row[1:4]) for row in world.tokens.tolist()}
    for i, (_, subject, relation, thing) in enumerate(world.prompts.tolist()):
        assert (subject, relation, thing) not in told
        mine = [r for r, row in enumerate(world.tokens.tolist()) if subject in row]
        assert mine == world.same[i] + world.flipped[i]
        assert all(world.tokens[r, 1] == subject for r in world.same[i])
        assert all(world.tokens[r, 3] == subject for r in world.flipped[i])
    asked = {row[2] for row in world.tokens.tolist() if row[1] > 15}
    assert asked == {order.FIRST, order.SECOND, order.ASKED}
    assert int(world.tokens.max()) < world.words


def test_a_matched_world_differs_in_the_flipped_sentences_alone() -> None:
    settings = {"facts": 5, "others": 4}
    plain, matched = order.make_world(settings), order.make_world(settings, matched=True)
    assert torch.equal(plain.prompts, matched.prompts) and matched.words == plain.words + 2
    turned = [r for part in matched.flipped for r in part]
    for r, row in enumerate(matched.tokens.tolist()):
        if r not in turned:
            assert row[:5] == plain.tokens[r].tolist() and row[5] == order.END
    for i, rows in enumerate(matched.flipped):
        row = matched.tokens[rows[0]].tolist()
        answer, subject = int(matched.prompts[i, 3]), int(matched.prompts[i, 1])
        assert row.index(answer) == 3 < row.index(subject)  # as in the question, but before it


def test_ranks_of_known_scores() -> None:
    world = order.make_world({"facts": 3, "others": 2})
    scores = np.zeros((3, len(world.tokens)))
    scores += np.linspace(0, -0.1, len(world.tokens))
    for i in range(3):
        scores[i, world.same[i]] = 2
        scores[i, world.flipped[i]] = -2
    found = order._ranked(world, scores, "x", 0)
    n = len(world.tokens)
    assert found["rank/same/x"] == pytest.approx(1 / n)  # ranks 1 and 2, less one half
    assert found["rank/flipped/x"] == pytest.approx((n - 0.5) / n)
    assert found["gap/x"] > 0.8 and found["wins/x"] == 1.0
    turned = order._ranked(world, -scores, "x", 0)
    assert turned["gap/x"] < -0.8 and turned["wins/x"] == 0.0


def test_the_language_model_is_causal() -> None:
    net = order.SmallLM(9, 8, 2, 2).eval()
    tokens = torch.tensor([[0, 1, 2, 3, 4]])
    other = torch.tensor([[0, 1, 2, 8, 7]])
    a, b = net(tokens), net(other)
    assert torch.allclose(a[:, :3], b[:, :3], atol=1e-6)
    assert not torch.allclose(a[:, 3], b[:, 3], atol=1e-3)


def test_mean_eigenvalue_is_the_trace_of_the_whole_matrix() -> None:
    from heldout.data.influence import EKFAC, Classification, mean_eigenvalue

    train, _, how = lds._data(TINY["retraining"], 3)
    net = lds._network(train, how, 3)
    fitted = EKFAC(net, Classification(), fisher="exact").fit(train)
    mean = mean_eigenvalue(fitted.factors_.layers)
    weights = list(net.parameters())
    p = net(train[0]).detach().softmax(1)
    total = 0.0
    for i in range(len(train[1])):
        log_p = net(train[0][i : i + 1]).log_softmax(1)[0]
        for k in range(10):
            grads = torch.autograd.grad(log_p[k], weights, retain_graph=True)
            total += float(p[i, k] * sum(g.square().sum() for g in grads))
    size = sum(w.numel() for w in weights)
    assert mean == pytest.approx(total / len(train[1]) / size, rel=1e-4)


def test_tuning_asks_every_score_and_every_damping() -> None:
    few = TINY["labels"] | {"lengths": [1], "grid": [0.1, 1.0], "train": 60}
    assert len(labels.tuned(few, 5)) == 2 * 2 + 3
    few = TINY["retraining"] | {"grid": [0.1]}
    names = (*lds.FACTORED, "refined", "core", "dot", "blocks", "dense")
    assert set(lds.tuned(few, 5)) == {f"{k}@0.1" for k in names}


def test_full_scale_reads_a_finished_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELDOUT_DATA", str(tmp_path))
    with pytest.raises(InputError, match=r"heldout\.data\.influence --seed 3"):
        recipe.run("tail_exponent", "full", 3)
    row = {"kind": "query", "alpha": 5.0, "share": 0.3, "distance": 0.05}
    rows = [row] * 21 + [row | {"kind": "null", "alpha": 9.0, "share": 0.9}] * 30
    (tmp_path / "3").mkdir()
    made = {"sparsity": {"rows": rows}, "corpus": {"sequences": 5000}}
    (tmp_path / "3" / "results.json").write_text(json.dumps(made))
    found = recipe.run("few_rows_carry_it", "full", 3)
    assert found["top_share"] == 0.3 and found["tail_outside"] == pytest.approx(0.7)
    assert found["top_share/normal"] == pytest.approx(0.067, abs=0.003)
    with pytest.raises(ValueError, match="no full scale"):
        recipe.run("word_order", "full", 3)


def test_figure(tiny: dict[str, float]) -> None:
    from matplotlib.figure import Figure

    seeds = [{"seed": 0, "metrics": tiny}, {"seed": 1, "error": "stopped"}]
    drawn = Figure()
    ax = drawn.subplots()
    assert recipe.plot({"word_order": {"seeds": seeds}}, ax) is ax
    first = drawn.axes[1]
    assert first.lines[0].get_xdata()[0] == tiny["lds/dense"]


def test_example_runs_as_the_page_shows_it() -> None:
    class Entry:
        paper, claims = recipe.PAPER, recipe.CLAIMS

    Entry.recipe = recipe  # type: ignore[attr-defined]
    code = snippet(Entry).removeprefix("```python\n").removesuffix("\n```")  # type: ignore[arg-type]
    exec(code, {})


def test_recipe_imports_no_torch() -> None:
    code = "import sys, heldout.papers.influence_llm; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
