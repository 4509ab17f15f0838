"""Releases on the Hub: tables and files by stand-ins for the two libraries, and what is said without a network."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import replica_making as making

from mmreflect import recipes
from mmreflect.errors import UserError
from mmreflect.evaluation.releases import Release, ReleaseConfig, open_release, questions

Open = Callable[..., Release]
Row = dict[str, Any]
SHOP = making.Shop()


@pytest.fixture
def from_hub(tmp_path: Path) -> Callable[..., Release]:
    def opened(name: str, **settings: Any) -> Release:
        leaf = recipes.load("benchmark", name).BENCHMARK
        return open_release(leaf, ReleaseConfig(**settings), cache=tmp_path / "cache", max_frames=4)

    return opened


def test_tables_of_the_hub(from_hub: Open, releases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked: list[tuple[Any, ...]] = []
    load = datasets.load_dataset

    def local(hub: str, config: str | None, *, split: str, revision: str | None) -> Any:
        asked.append((hub, config, split, revision))
        file = str(releases / "emma" / (config or "") / "test-00000-of-00001.parquet")
        table = load("parquet", data_files=file, split="train", cache_dir=str(tmp_path / ("c" * 40)))
        for number in range(1, 6):
            table = table.cast_column(f"image_{number}", datasets.Image())
        return table

    monkeypatch.setattr(datasets, "load_dataset", local)
    release = from_hub("emma", revision="v1", config=["Math", "Coding"])
    assert asked == [("luckychao/EMMA", "Math", "test", "v1"), ("luckychao/EMMA", "Coding", "test", "v1")]
    assert release.mark == f"hub:luckychao/EMMA@{'c' * 40}" and release.count() == 10
    row = next(release.rows())
    assert row["image_1"]["bytes"][:4] == b"\x89PNG" and row["image_2"] is None and row["options"][0] == "red"
    assert [question.id for question in questions(release).asked][4:6] == ["math_4", "coding_0"]
    other = from_hub("emma", source="somebody/EMMA-copy", config="Math", split="test")
    assert asked[-1] == ("somebody/EMMA-copy", "Math", "test", None) and other.where == "somebody/EMMA-copy (test)"


def test_files_of_the_hub(from_hub: Open, releases: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: list[tuple[str, list[str]]] = []

    def snapshot(hub: str, *, repo_type: str, revision: str | None, allow_patterns: list[str]) -> str:
        assert repo_type == "dataset"
        asked.append((hub, allow_patterns))
        return str(releases / ("mlvu_test" if "Test" in hub else "longvideobench"))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    release = from_hub("longvideobench", limit=2)
    assert asked == [("longvideobench/LongVideoBench", ["lvb_val.json"])]  # the videos when they are asked for
    assert release.mark.startswith("hub:longvideobench/LongVideoBench sha256:")
    assert len(questions(release).asked) == 2
    assert {"videos/**", "videos.*", "subtitles.*"} <= set(asked[1][1])
    assert from_hub("mlvu", split="test").count() == 9 and asked[-1][0] == "MLVU/MLVU_Test"


def test_a_hub_copy_without_the_official_files_is_read_as_a_table(
    from_hub: Open, releases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets
    import huggingface_hub

    files = [str(file) for file in sorted((releases / "lvbench/data").glob("*.parquet"))]
    table = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(tmp_path / "nothing"))
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: table)
    release = from_hub("lvbench", media=str(releases / "lvbench"))
    assert release.count() == len(questions(release).asked) == 20
    # without a commit in the cache's paths the content stands for it
    assert release.mark.startswith("hub:lmms-eval/LVBench@") and len(release.mark.rpartition("@")[2]) == 64


@pytest.mark.parametrize(("name", "hub"), [("chartqa", "lmms-lab/ChartQA"), ("mvbench", "OpenGVLab/MVBench")])
def test_without_a_network(from_hub: Open, monkeypatch: pytest.MonkeyPatch, name: str, hub: str) -> None:
    import datasets
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError) as caught:
        from_hub(name)
    assert f"{hub} cannot be read from the Hub (" in caught.value.given
    assert caught.value.do == "give a local folder with source=, or check the name and the network"


@pytest.mark.parametrize(
    ("error", "given", "do"),
    [
        (ValueError('Unknown split "tset". Should be one of [\'test\'].'), 'Unknown split "tset". Should be one of', "name one of those"),
        (ValueError("BuilderConfig 'Maths' not found. Available: ['Math']"), "Available: ['Math']", "name one of those"),
        (OSError("Access to dataset x is restricted: it is a gated repo"), "is only given out to those who accepted its terms", "accept its terms at huggingface.co/datasets/a/b"),
    ],
)  # fmt: skip
def test_what_the_hub_refuses(
    from_hub: Open, monkeypatch: pytest.MonkeyPatch, error: Exception, given: str, do: str
) -> None:
    import datasets

    def refuse(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(UserError) as caught:
        from_hub("chartqa", source="a/b", split="tset")
    assert given in caught.value.given and do in caught.value.do
