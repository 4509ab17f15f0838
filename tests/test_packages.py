"""Versions by the names of the folders that record packages: those that importlib.metadata reads out of them."""

import importlib.metadata
import sys

import pytest

from mmreflect.packages import versions


def test_every_installed_package_has_the_version_that_its_metadata_say():
    told = {item.metadata["Name"]: item.version for item in importlib.metadata.distributions()}
    assert len(told) > 50 and versions(*told) == told


def test_what_is_not_installed_is_left_out():
    assert versions("no-such-package", "pip-of-nowhere") == {}


@pytest.mark.parametrize("asked", ["Some.Package", "some_package", "some-package"])
def test_any_spelling_of_a_name_and_the_first_place_on_the_path_count(tmp_path, monkeypatch, asked):
    for place, version in (("one", "1.0+cpu"), ("two", "2.0")):
        record = tmp_path / place / f"some_package-{version}.dist-info"
        record.mkdir(parents=True)
        (record / "METADATA").touch()
        monkeypatch.syspath_prepend(tmp_path / place)
    assert versions(asked) == {asked: "2.0"}
    sys.path.remove(str(tmp_path / "two"))
    assert versions(asked) == {asked: "1.0+cpu"}


def test_an_egg_is_found_too(tmp_path, monkeypatch):
    (tmp_path / "old_package.egg-info").mkdir()
    (tmp_path / "old_package.egg-info" / "PKG-INFO").write_text(
        "Metadata-Version: 1.0\nName: old-package\nVersion: 0.3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert versions("old-package") == {"old-package": "0.3"}


def test_the_first_record_on_the_path_counts_whatever_its_kind(tmp_path, monkeypatch):
    """A checkout before what is installed, and what an uninstalled package left behind."""
    (tmp_path / "transformers.egg-info").mkdir()
    (tmp_path / "transformers.egg-info" / "PKG-INFO").write_text(
        "Metadata-Version: 1.0\nName: transformers\nVersion: 9.9\n"
    )
    (tmp_path / "torch-0.1.dist-info").mkdir()
    own = importlib.metadata.version("torch")
    monkeypatch.syspath_prepend(tmp_path)
    assert versions("transformers", "torch") == {"transformers": "9.9", "torch": own}
    monkeypatch.undo()
    egg = tmp_path / "transformers-8.8-py3.11.egg"
    (egg / "EGG-INFO").mkdir(parents=True)
    (egg / "EGG-INFO" / "PKG-INFO").write_text("Metadata-Version: 1.0\nName: transformers\nVersion: 8.8\n")
    monkeypatch.syspath_prepend(egg)
    assert versions("transformers") == {"transformers": "8.8"}
