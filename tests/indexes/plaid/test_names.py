"""Proves that PyLate's names of other engines are PLAID, and that they say so."""

from __future__ import annotations

import numpy as np
import pytest

from serotine import indexes
from serotine.indexes import PLAID


@pytest.mark.parametrize("name", ["WARP", "TachiomIndex"])
def test_another_name_is_plaid_with_a_warning(tmp_path, name):
    with pytest.warns(UserWarning, match=rf"{name} is another name of serotine\.indexes\.PLAID") as caught:
        index = getattr(indexes, name)(tmp_path, "index", nbits=2)
    assert caught[0].filename == __file__
    assert isinstance(index, PLAID)
    index.add_documents(["a"], [np.eye(4)])
    assert PLAID(tmp_path, "index").documents_ids() == ["a"]
    assert index.nbits == 2


def test_names_have_the_folders_of_pylate(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.warns(UserWarning, match="another name"):
        made = [indexes.WARP(), indexes.TachiomIndex()]
    for index in made:
        index.add_documents("a", np.eye(2))
    assert sorted(path.name for path in (tmp_path / "indexes").iterdir()) == ["tachiom", "warp"]


def test_arguments_that_plaid_does_not_know_are_refused(tmp_path):
    with pytest.warns(UserWarning, match="another name"), pytest.raises(TypeError, match="t_prime"):
        indexes.WARP(tmp_path, t_prime=100_000)
