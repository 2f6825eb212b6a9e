"""The plan against operations counted by hand, and against the groups that the command makes."""

import pytest
from torch import nn

from heldout.data.influence import find_layers
from heldout.data.influence.memory import free_for_factors, least_size, work_size
from heldout.data.influence.plan_table import table
from heldout.data.influence.planning import (
    TYPICAL,
    Job,
    Rates,
    Shape,
    measure_rates,
    plan,
    shape_of,
)
from heldout.data.influence.sharding import layer_groups

RATES = Rates(1e9, 2e9, 4e9, 5e8)
SMALL = Shape("small", ((2, 3),), 10)


def test_operations_by_hand():
    made = plan(SMALL, Job(fit=4, train=5, queries=2, length=7, rank=1, memory=10**9), RATES)
    a_pass = 4 * 10 * 7
    sums = 4 * 7 * ((4 + 9) + 2 * (4 + 9 + 6))
    bases = 9 * (8 + 27)
    prepared = 2 * (2 * 6 * (5 + 6 * 9))
    products = 2 * 5 * 7 * 2 * 1 * 5
    passes = 2 * 4 + 2 + 5
    assert made.operations == passes * a_pass + sums + bases + prepared + products
    assert made.seconds["fit"] == pytest.approx(8 * a_pass / 1e9 + sums / 2e9)
    assert made.seconds["bases"] == pytest.approx(bases / 5e8)
    assert made.seconds["queries"] == pytest.approx(2 * a_pass / 1e9 + prepared / 2e9)
    assert made.seconds["scores"] == pytest.approx(5 * a_pass / 1e9 + products / 4e9)
    assert made.total == pytest.approx(sum(made.seconds.values()))
    assert made.disk == 4 * (4 + 9 + 6)


def test_a_group_more_is_two_passes_more():
    pair = Shape("pair", ((2, 3), (2, 3)), 10)
    job = Job(4, 5, 2, 7, 1, 10**9)
    one = plan(pair, job, RATES)
    least = plan(pair, Job(4, 5, 2, 7, 1, one.least), RATES)
    assert (one.groups, least.groups) == (1, 2)
    more = least.operations - one.operations - (least.query_groups - 1) * 5 * 280
    assert more == 2 * 4 * 280


def test_less_memory_never_takes_less_time():
    job = {"fit": 1000, "train": 5000, "queries": 44, "length": 64, "rank": 32}
    for shape in TYPICAL:
        made = [plan(shape, Job(memory=int(m * 1e9), **job), RATES) for m in (4, 16, 64, 256, 2000)]
        for a, b in zip(made, made[1:], strict=False):
            assert a.groups >= b.groups and a.query_groups >= b.query_groups
            assert a.total >= b.total and a.operations >= b.operations
        assert made[-1].groups == made[-1].query_groups == 1
        assert made[0].least < made[0].whole <= 2000e9


def test_groups_are_those_the_command_makes():
    net = nn.Sequential(*[nn.Linear(64, 64, bias=False) for _ in range(10)]).eval()
    layers = find_layers(net)
    shape = shape_of("net", layers, 40960)
    base = 200_000
    for more in (0, 100_000, 10**6):
        memory = base + least_size(shape.layers) + more
        made = plan(shape, Job(4, 5, 2, 7, 1, memory, base), RATES)
        free = free_for_factors(memory, base, shape.layers)
        assert made.groups == len(layer_groups(layers, free))
    assert made.least == least_size(shape.layers) > work_size(shape.layers)


def test_typical_shapes_have_the_parameters_they_are_named_for():
    # feed-forward weights, and four square matrices of attention a block
    for shape, blocks, width in zip(TYPICAL, (16, 32, 64), (2048, 4096, 8192), strict=True):
        inside = shape.total(lambda i, o: i * o) + 4 * blocks * width**2
        assert 0.85 * shape.parameters < inside < 1.05 * shape.parameters


def test_table_says_what_was_measured_and_where_memory_is_more_than_given():
    job = Job(1000, 5000, 44, 64, 32, 4 * 10**9, 10**9)
    text = table([SMALL, *TYPICAL], job, RATES)
    lines = text.splitlines()
    assert lines[1].startswith("small") and "4.0 GB" in lines[1]
    row = next(line for line in lines if line.startswith("52B"))
    weights = 2 * 52e9
    needed = (10**9 + weights + least_size(TYPICAL[2].layers)) / 1e9
    assert f"{needed:.1f} GB" in row
    assert sum("all layers at once" in line for line in lines) == 3
    assert "1 GFLOP/s forward and backward" in text and "Only the first row" in text


def test_rates_are_positive_and_count_what_ran():
    ran = []

    def a_pass():
        ran.append(1)
        return 1000

    import torch

    rates = measure_rates(a_pass, 10, torch.float32, width=32)
    assert len(ran) > 1
    assert min(rates.passes, rates.float32, rates.low, rates.eigen) > 0
