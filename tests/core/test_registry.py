"""Names are looked up late, and near misses are named."""

from __future__ import annotations

import sys

import pytest

from heldout.core.registry import Registry

_PARTS = Registry("part", "heldout.core", ("errors", "files", "interval"))


def test_a_near_miss_is_suggested() -> None:
    with pytest.raises(KeyError, match=r"unknown part 'file'; did you mean files"):
        _PARTS["file"]


def test_a_far_miss_lists_all_names() -> None:
    with pytest.raises(KeyError, match="errors, files, interval"):
        _PARTS["zzz"]


@pytest.mark.parametrize("name", ["os", "..core.files", "files.x", "", "__init__"])
def test_only_listed_names_are_imported(name: str) -> None:
    with pytest.raises(KeyError):
        _PARTS[name]
    assert name not in _PARTS


def test_making_a_registry_imports_nothing() -> None:
    made = Registry("card", "antigravity_not_there", ("one",))
    assert list(made) == ["one"] and "antigravity_not_there" not in sys.modules
    with pytest.raises(ModuleNotFoundError):
        made["one"]


def test_modules_come_in_the_order_of_their_names() -> None:
    assert [m.__name__.rsplit(".", 1)[1] for m in _PARTS.modules()] == list(_PARTS)
