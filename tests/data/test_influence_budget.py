"""The memory given by --memory is kept, and changes no score."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from heldout.core.errors import InputError
from heldout.core.files import read_arrays
from heldout.data.influence.memory import (
    consecutive,
    factor_size,
    free_for_factors,
    least_size,
    query_groups,
    score_size,
    work_size,
)

SHAPES = [(192, 768), (192, 768), (768, 192)] * 4

# Libraries are imported once; each run is a child of its own, whose peak begins at what its
# parent holds.
CHILDREN = """
import json, os, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
import transformers, scipy.stats, jinja2, safetensors.torch
from transformers.models.llama import modeling_llama
from heldout.data.influence import command
from heldout.data.influence.memory import peak_bytes
from heldout.data.influence.options import Options
from heldout.data.influence.planning import Rates
from heldout.data.influence.processes import Group

folder, extra = Path(sys.argv[1]), [int(text) for text in sys.argv[2:]]
real, seen = command.free_for_factors, {}


def free(memory, base, shapes):
    seen["base"] = seen.get("base", base)
    seen["memory"] = seen["base"] + seen["extra"]
    return real(seen["memory"], seen["base"], shapes)


def rates(a_pass, *_):
    a_pass()
    torch.linalg.eigh(torch.eye(64, dtype=torch.float64))  # what the measurement loads
    return Rates(1e9, 1e9, 1e9, 1e9)


command.free_for_factors, command.measure_rates = free, rates
for number, more in enumerate(extra):
    child = os.fork()
    if child:
        assert os.waitpid(child, 0)[1] == 0
        continue
    seen["extra"] = more
    out = folder / f"out{number}"
    given = Options(
        str(folder / "model"), train=str(folder / "train.jsonl"),
        queries=str(folder / "queries.jsonl"), facts="none", out=out, memory="64GB", length=24,
        rank=4, dtype="float32", batch=4, fit_sequences=6, nulls=0, check=0, threads=1,
    )
    try:
        command.run(given, Group())
        (out / "peak.json").write_text(json.dumps({**seen, "peak": peak_bytes()}))
        sys.stdout.flush()
    except BaseException:
        import traceback
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="peaks are compared between forked processes")
def test_peak_stays_in_the_budget_and_scores_stay_the_same(
    language_folder, write_language_model, tmp_path
):
    pytest.importorskip("safetensors")
    write_language_model(tmp_path / "model", 192, 768, 4)
    for name in ("train.jsonl", "queries.jsonl"):
        (tmp_path / name).write_text((language_folder / name).read_text())
    one = factor_size(192, 768)
    tight = work_size(SHAPES) + int(3.9 * one)
    done = subprocess.run(
        [sys.executable, "-c", CHILDREN, str(tmp_path), str(10**10), str(tight)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"},
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    whole, kept = (json.loads((tmp_path / f"out{i}/peak.json").read_text()) for i in (0, 1))
    # the limit binds: without it more is held, in one group instead of four
    assert whole["peak"] - whole["base"] > kept["peak"] - kept["base"]
    assert kept["peak"] <= kept["memory"]
    fits = [part.count(" layers, from ") for part in done.stdout.split("12 layers\n")[1:]]
    assert fits == [1, 4]
    scores = [
        np.concatenate(
            [read_arrays(p)["tokens"] for p in sorted((tmp_path / f"out{i}").rglob("block_*.npz"))],
            1,
        )
        for i in (0, 1)
    ]
    np.testing.assert_allclose(scores[1], scores[0], atol=1e-5 * np.abs(scores[0]).max())


def test_groups_rise_as_memory_falls():
    sizes = [factor_size(*s) for s in SHAPES]
    counts = [len(consecutive(sizes, k * sizes[0])) for k in (12, 6, 3, 2, 1, 0)]
    assert counts == [1, 2, 4, 6, 12, 12]
    for budget in (3, 7, 100):
        groups = consecutive([2, 2, 5, 1, 9], budget)
        assert [i for g in groups for i in g] == list(range(5))
        assert all(len(g) == 1 or sum([2, 2, 5, 1, 9][i] for i in g) <= budget for g in groups)


def test_refused_below_the_least_and_not_above():
    least = least_size(SHAPES)
    assert least == work_size(SHAPES) + factor_size(192, 768)
    assert free_for_factors(1000 + least, 1000, SHAPES) == factor_size(192, 768)
    with pytest.raises(InputError, match="or more"):
        free_for_factors(999 + least, 1000, SHAPES)


def test_queries_are_cut_by_their_files(tmp_path):
    files = []
    for i in range(3):
        files.append(tmp_path / str(i))
        files[-1].write_bytes(bytes(100))
    assert query_groups(files, 300, 0) == [files]
    assert query_groups(files, 299, 0) == [files[:2], files[2:]]
    assert query_groups(files, 299, 100) == [[f] for f in files]
    assert score_size(8, 8, 64, 32) > 2 * 8 * 8 * 64 * 32 * 4
