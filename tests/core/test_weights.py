"""Weights load from safe files only."""

import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from heldout.core.errors import ArtifactError, InputError
from heldout.core.weights import load_weights


def test_safetensors_and_weights_only_files_load(tmp_path):
    source = nn.Linear(3, 2)
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    torch.save(source.state_dict(), tmp_path / "w.pt")
    for name in ("w.safetensors", "w.pt"):
        loaded = load_weights(nn.Linear(3, 2), tmp_path / name)
        assert torch.equal(loaded.weight, source.weight)


class _Evil:
    def __reduce__(self):
        return (print, ("executed",))


@pytest.mark.parametrize("name", ["w.pt", "w.bin", "w.pkl"])
def test_a_pickle_is_refused_and_never_run(tmp_path, capsys, name):
    (tmp_path / name).write_bytes(pickle.dumps({"weight": _Evil()}))
    with pytest.raises(InputError, match="pickle"):
        load_weights(nn.Linear(3, 2), tmp_path / name)
    torch.save(_Evil(), tmp_path / "evil.pt")
    with pytest.raises(InputError, match="pickle"):
        load_weights(nn.Linear(3, 2), tmp_path / "evil.pt")
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
def test_truncated_files_are_named_as_damaged(tmp_path, name):
    state = nn.Linear(300, 200).state_dict()
    save_file(state, tmp_path / "w.safetensors")
    torch.save(state, tmp_path / "w.pt")
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises((ArtifactError, InputError), match="damaged|pickle"):
        load_weights(nn.Linear(300, 200), path)


def test_weights_of_another_shape_say_what_differs(tmp_path):
    save_file(nn.Linear(3, 5).state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(InputError, match="size mismatch"):
        load_weights(nn.Linear(3, 2), tmp_path / "w.safetensors")
    with pytest.raises(ArtifactError, match="does not exist"):
        load_weights(nn.Linear(3, 2), tmp_path / "none.safetensors")
