"""A missing optional package is an error with the command that installs it; any other import error is passed on."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from serotine._lazy import lazy_exports, require
from serotine.errors import MissingExtra


def test_a_missing_package_is_named_with_its_command() -> None:
    message = r"fancy needs the package 'no_such_package'.*pip install 'serotine\[demo\]'"
    with pytest.raises(MissingExtra, match=message):
        require("no_such_package.part", extra="demo", purpose="fancy")


def test_an_import_error_from_inside_a_package_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_package.py").write_text("import another_missing_module")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="another_missing_module") as caught:
        require("broken_package", extra="demo", purpose="fancy")
    assert not isinstance(caught.value, MissingExtra)


def test_names_are_imported_on_first_use_and_then_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "lazy_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "part.py").write_text("value = object()")
    monkeypatch.syspath_prepend(str(tmp_path))
    get, names = lazy_exports("lazy_package", {"value": "lazy_package.part", "part": "lazy_package.part"})
    assert "lazy_package.part" not in sys.modules
    value = get("value")
    assert value is get("value")
    assert get("part") is sys.modules["lazy_package.part"]
    assert {"value", "part"} <= set(names())
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        get("other")


def test_a_part_whose_packages_are_missing_names_their_extra() -> None:
    get, _ = lazy_exports("serotine.models", {"Model": "nowhere"}, needs=("json", "no_such_package"), extra="models")
    with pytest.raises(MissingExtra, match=r"serotine\.models\.Model needs the package 'no_such_package'"):
        get("Model")
