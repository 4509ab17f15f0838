"""An exported checkpoint goes to the Hub, and a push that failed can be repeated."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmreflect.cli import main

Models = Callable[[str], Path]


class _Hub:
    """Stands for the Hub, which tests cannot reach."""

    calls: list[tuple[str, dict[str, Any]]]
    error: Exception | None = None

    def __init__(self, **options: Any) -> None:
        pass

    def create_repo(self, name: str, **options: Any) -> str:
        _Hub.calls.append((name, options))
        if _Hub.error:
            raise _Hub.error
        return f"https://huggingface.co/{name}"

    def upload_folder(self, **options: Any) -> None:
        _Hub.calls.append(("upload", options))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> type[_Hub]:
    _Hub.calls, _Hub.error = [], None
    monkeypatch.setattr("huggingface_hub.HfApi", _Hub)
    return _Hub


def test_a_push_sends_what_was_written(
    hub: type[_Hub], tiny_model: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"output={tmp_path / 'hub'}", "push=me/model", "private=true", "verify=headers"]
    assert main(["export", str(tiny_model("qwen2_5_vl")), *words]) == 0
    assert "pushed: https://huggingface.co/me/model" in capsys.readouterr().out
    (name, made), (_, sent) = hub.calls
    assert name == "me/model" and made["private"] is True and made["exist_ok"] is True
    assert sent["folder_path"] == tmp_path / "hub" and sent["repo_id"] == "me/model"
    assert (tmp_path / "hub/README.md").is_file()


def test_a_push_that_fails_can_be_repeated(
    hub: type[_Hub], tiny_model: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from huggingface_hub.errors import OfflineModeIsEnabled

    hub.error = OfflineModeIsEnabled("Cannot reach the Hub: offline mode is enabled.\nmore")
    base = tiny_model("qwen2_5_vl")
    assert main(["export", str(base), f"output={tmp_path / 'hub'}", "push=me/model", "verify=headers"]) == 2
    said = capsys.readouterr().err
    assert "was not pushed to me/model: Cannot reach the Hub" in said
    again = f"mmreflect export {tmp_path / 'hub'} push=me/model"
    assert again in said and (tmp_path / "hub/config.json").is_file()
    hub.error = None
    assert main([*again.split()[1:]]) == 0
    assert hub.calls[-1][1]["folder_path"] == tmp_path / "hub"
    assert main(["export", str(base), "push=me/model"]) == 2
    assert "is no exported checkpoint" in capsys.readouterr().err
