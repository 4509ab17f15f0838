"""A merge that is killed by the system goes on to the same bytes; ten random moments are in tests/slow."""

import importlib.util
from pathlib import Path

import pytest

SLOW = Path(__file__).parent.parent / "slow" / "test_merge_kill.py"


@pytest.fixture(scope="module")
def kill():
    spec = importlib.util.spec_from_file_location("merge_kill", SLOW)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_two_kills_and_a_rerun_end_at_the_bytes_of_an_undisturbed_merge(kill, tmp_path):
    kill.write_models(tmp_path)
    whole = kill.merge(tmp_path, "whole", "frank", 0)
    moments = int(whole.stdout.split("moments")[1])
    for last in (moments // 3, moments // 2):
        assert kill.merge(tmp_path, "cut", "frank", last).returncode == -9
        assert not (tmp_path / "cut" / "result.json").exists()
    assert kill.merge(tmp_path, "cut", "frank", 0).returncode == 0
    assert kill.content(tmp_path / "cut" / "model") == kill.content(tmp_path / "whole" / "model")
