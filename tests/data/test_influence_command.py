"""The command as a user gives it: results that resume, controls, and what it refuses."""

import json
import shutil

import numpy as np
import pytest

from heldout.core.errors import InputError
from heldout.core.files import read_arrays
from heldout.data.influence import command
from heldout.data.influence.options import Options, checked, read_memory
from heldout.data.influence.processes import Group
from heldout.data.influence.texts import read_facts, read_queries
from heldout.lm.smollm import load_causal_lm

pytest.importorskip("transformers")
pytest.importorskip("safetensors")


def options(folder, out, **changes):
    given = {
        "train": str(folder / "train.jsonl"), "queries": str(folder / "queries.jsonl"),
        "facts": str(folder / "facts.jsonl"), "length": 24, "rank": 4, "dtype": "float32",
        "batch": 4, "fit_sequences": 6, "nulls": 2, "check": 4, "top": 3, "memory": "64GB",
    }  # fmt: skip
    return Options(str(folder / "model"), out=out, **(given | changes))


def run(given):
    command.run(given, Group())
    return json.loads((given.out / "results.json").read_text())


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    # rates take three seconds to measure, and are of no use here
    from heldout.data.influence.planning import Rates

    monkeypatch.setattr(command, "measure_rates", lambda *_: Rates(1e9, 1e9, 1e9, 1e9))


@pytest.fixture(scope="module")
def finished(language_folder, tmp_path_factory):
    from heldout.data.influence.planning import Rates

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "measure_rates", lambda *_: Rates(1e9, 1e9, 1e9, 1e9))
        out = tmp_path_factory.mktemp("finished")
        return out, run(options(language_folder, out))


def scores(out):
    blocks = sorted((out / "scores").glob("*/block_*.npz"))
    return np.concatenate([read_arrays(b)["tokens"] for b in blocks], 1)


def test_a_killed_run_goes_on_to_the_same_numbers(language_folder, finished, tmp_path, monkeypatch):
    calls, real = [], command.query_directions

    def killed(*given, **named):
        calls.append(1)
        raise KeyboardInterrupt

    given = options(language_folder, tmp_path)
    monkeypatch.setattr(command, "query_directions", killed)
    with pytest.raises(KeyboardInterrupt):
        run(given)
    assert calls and not (tmp_path / "results.json").exists()
    monkeypatch.setattr(command, "query_directions", real)
    fitted = {p: p.stat().st_mtime_ns for p in (tmp_path / "factors").rglob("*") if p.is_file()}
    before = json.loads((tmp_path / "peak_memory.json").read_text())["peak_gb"]
    (tmp_path / "peak_memory.json").write_text(json.dumps({"peak_gb": before + 1000}))
    made = run(given)
    assert made["peak_gb"] == before + 1000  # of all processes of a run, not of the last one
    assert all(p.stat().st_mtime_ns == t for p, t in fitted.items())
    np.testing.assert_array_equal(scores(tmp_path), scores(finished[0]))
    assert made["queries"] == finished[1]["queries"]
    assert made["word_order"] == finished[1]["word_order"]


def test_less_memory_later_does_not_mix_groups_of_queries(
    language_folder, finished, tmp_path, monkeypatch
):
    shutil.copytree(finished[0], tmp_path / "run")
    monkeypatch.setattr(command, "query_groups", lambda files, *_: [[file] for file in files])
    monkeypatch.setattr(command, "QUERIES_PER_FILE", 8)
    made = run(options(language_folder, tmp_path / "run"))
    assert made["queries"] == finished[1]["queries"]


def test_rows_are_those_that_the_run_kept(language_folder, finished, tmp_path):
    # The texts of installed packages are other ones after the next installation.
    again = options(language_folder, tmp_path, train=str(finished[0]))
    made = run(again)
    assert made["word_order"]["texts"] == finished[1]["word_order"]["texts"]
    np.testing.assert_allclose(scores(tmp_path), scores(finished[0]), atol=1e-6)
    with pytest.raises(InputError, match="--length 16"):
        run(
            options(
                language_folder, tmp_path / "b", train=str(finished[0]), length=16, facts="none"
            )
        )


def test_untrained_weights_as_a_control(language_folder, finished, tmp_path):
    control = tmp_path / "control"
    theirs = run(options(language_folder, control, untrained=True, queries="none"))
    assert theirs["null"] is None and theirs["settings"]["untrained"]
    made = run(options(language_folder, finished[0], control=control))
    order, other = made["word_order"], made["word_order"]["control"]
    assert other["untrained"] and other["order"]["same"] == theirs["word_order"]["same"]
    each = zip(order["each"], theirs["word_order"]["each"], strict=True)
    gaps = [a["order"] - b["order"] for a, b in each]
    assert other["difference"]["order"]["value"] == pytest.approx(np.mean(gaps))
    page = (finished[0] / "influence.html").read_text()
    assert "model, untrained: flipped ones rank" in page
    assert "cannot be read as learned" not in page
    # the seed makes the weights, so that the control goes on too
    assert (
        run(options(language_folder, control, untrained=True, queries="none"))["word_order"]
        == (theirs["word_order"])
    )
    with pytest.raises(InputError, match="another model"):
        run(options(language_folder, control, untrained=True, queries="none", seed=1))


def test_a_page_without_a_control_says_so(language_folder, finished, tmp_path):
    run(options(language_folder, finished[0]))
    assert "cannot be read as learned" in (finished[0] / "influence.html").read_text()


def test_a_control_of_other_texts_is_refused(language_folder, finished, tmp_path):
    run(options(language_folder, tmp_path, sequences=5))
    with pytest.raises(InputError, match="control of other sequences"):
        run(options(language_folder, finished[0], control=tmp_path))
    with pytest.raises(InputError, match="--control without"):
        run(options(language_folder, finished[0], control=tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"memory": "4"}, "memory '4'"),
        ({"memory": "-1GB"}, "memory '-1GB'"),
        ({"memory": "10MB"}, "held by libraries"),
        ({"length": 4}, "--length 4"),
        ({"length": 20}, "constructed: fact 0"),
        ({"rank": 0}, "--rank 0"),
        ({"train": "nothing.jsonl"}, "'nothing.jsonl'"),
        ({"queries": "nothing.jsonl"}, "'nothing.jsonl'"),
        ({"layers": "*.vision.*"}, "vision"),
        ({"queries": "none", "facts": "none"}, "neither queries nor facts"),
    ],
)
def test_refused_with_what_to_try(language_folder, tmp_path, changes, said):
    with pytest.raises(InputError, match=said.replace("*", r"\*")):
        run(options(language_folder, tmp_path / "out", **changes))
    assert not (tmp_path / "out").exists()


def test_the_folder_of_another_run_is_refused(language_folder, finished):
    before = (finished[0] / "run.json").read_text()
    for changes in ({"rank": 3}, {"seed": 5}, {"nulls": 1}, {"fit_sequences": 5}):
        with pytest.raises(InputError, match="another"):
            run(options(language_folder, finished[0], **changes))
    assert (finished[0] / "run.json").read_text() == before


def test_folders_that_are_no_model_are_named(language_folder, tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        load_causal_lm(tmp_path / "nowhere")
    with pytest.raises(InputError, match="cannot be read"):
        load_causal_lm(tmp_path)
    for kept in (0, 100):
        broken = tmp_path / f"broken{kept}"
        shutil.copytree(language_folder / "model", broken)
        weights = broken / "model.safetensors"
        content = weights.read_bytes()
        weights.unlink()
        if kept:
            weights.write_bytes(content[:kept])
        with pytest.raises(InputError, match="cannot be read"):
            load_causal_lm(broken)


def test_main_ends_without_a_traceback(language_folder, tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(["smollm2", "--memory", "much"])
    assert "given: memory 'much'" in str(ended.value) and "try:" in str(ended.value)


@pytest.mark.parametrize(
    "line",
    [b"not json", b"[1]", b'{"prompt": "a"}', b'{"prompt": 1, "completion": "b"}', b"\xff\xfe"],
)
def test_a_line_that_is_no_query_is_named(tmp_path, line):
    path = tmp_path / "q.jsonl"
    path.write_bytes(b'{"prompt": "a", "completion": "b"}\n' + line + b"\n")
    with pytest.raises(InputError, match=r"line 2 of q\.jsonl"):
        read_queries(str(path))


def test_facts_need_lists_of_texts(tmp_path):
    path = tmp_path / "f.jsonl"
    path.write_text(
        json.dumps({"prompt": "a", "completion": "b", "same": "no list", "flipped": ["x"]})
    )
    with pytest.raises(InputError, match=r"line 1 of f\.jsonl"):
        read_facts(str(path))


@pytest.mark.parametrize("text", ["", "GB", "4 GiB", "infGB", "nanGB", "0MB"])
def test_sizes_that_are_none(text):
    with pytest.raises(InputError):
        read_memory(text)


def test_numbers_that_make_no_sense():
    for name in ("rank", "batch", "fit_sequences", "sequences", "top"):
        with pytest.raises(InputError, match=name.replace("_", "-")):
            checked(Options(**{name: 0}))
