"""`mmreflect push` to a Hub on this machine, through huggingface_hub's own client."""

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from publishing.conftest import Make, example, pair
from publishing.hub import TOKEN, Hub, serving

from mmreflect.cli import main
from mmreflect.publishing import pushing

Push = Callable[..., tuple[int, str]]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Its client takes large files over plain LFS here; the Hub's own chunked storage has no server to be had."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with serving() as server:
        yield server


@pytest.fixture
def push(hub: Hub, capsys: pytest.CaptureFixture[str]) -> Push:
    def run(folder: Path, *words: str) -> tuple[int, str]:
        capsys.readouterr()
        code = main(["push", str(folder), "repo=me/set", f"endpoint={hub.url}", *words])
        captured = capsys.readouterr()
        return code, " ".join((captured.out + captured.err).split())

    return run


def test_what_arrives(dataset: Make, hub: Hub, push: Push, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards, manifest and card come last and together; rejects and the run's own files stay here."""
    monkeypatch.setattr(pushing, "MEDIA_PER_COMMIT", 2)
    folder = dataset({"train": [example(1), example(2), example(3)], "pairs": [pair(4)]}, rejects={"off": 1})
    (folder / "rejects").mkdir()
    (folder / "rejects" / "train-00000.jsonl").write_text('{"reason": "off"}\n')
    (folder / "run.json").write_text('{"verb": "build", "name": "made"}')
    code, text = push(folder, "private=true", "license=mit")
    assert code == 0 and f"pushed: {hub.url}/datasets/me/set" in text, text
    assert hub.created[0]["visibility"] == "private" and hub.created[0]["type"] == "dataset"
    arrived = dict(hub.repos["me/set"])
    arrived.pop(".gitattributes")
    card = arrived.pop("README.md").decode()
    assert card.startswith("---\nlicense: mit\n") and "| 1 | off |" in card
    assert sorted(arrived) == sorted([
        "manifest.json", "train/00000.jsonl", "train/00001.jsonl", "pairs/00000.jsonl", "media/pairs/00000/000000-0.png",
        "media/train/00000/000000-0.png", "media/train/00000/000001-0.png", "media/train/00001/000002-0.png",
    ])  # fmt: skip
    for name, content in arrived.items():
        assert content == (folder / name).read_bytes(), name
    assert [len(added) for added, _ in hub.commits] == [2, 2, 5], "media first, in parts"
    assert all(name.startswith("media/") for added, _ in hub.commits[:2] for name in added)
    assert "manifest.json" in hub.commits[2][0] and "README.md" in hub.commits[2][0]


def test_what_was_pushed_is_a_dataset_again(
    dataset: Make, hub: Hub, push: Push, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What arrived, put on a disk, is viewed without its run, exported, and loaded by its card."""
    from datasets import load_dataset

    assert push(dataset({"train": [example(1), example(2), example(3)]}, rejects={"off": 4}))[0] == 0
    there = tmp_path / "there"
    for name, content in hub.repos["me/set"].items():
        (there / name).parent.mkdir(parents=True, exist_ok=True)
        (there / name).write_bytes(content)
    assert main(["view", str(there)]) == 0
    page = (there / "index.html").read_text()
    assert "Built by made." in page and "Question 2?" in page and "Not finished" not in page
    assert "off" in page and "Their log is not in this folder." in page
    assert main(["export", str(there), "format=ms_swift", f"output={tmp_path / 'out'}"]) == 0
    table = load_dataset(str(there), split="train", cache_dir=str(tmp_path / "cache"))
    assert table["id"] == ["row-1", "row-2", "row-3"]


def test_cut_off_and_started_again(dataset: Make, hub: Hub, push: Push, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pushing, "MEDIA_PER_COMMIT", 2)
    folder = dataset({"train": [example(1), example(2), example(3)]})
    hub.stop_after = 1
    code, text = push(folder)
    assert code == 2 and "the Hub answered with an error" in text and "500" in text
    assert "manifest.json" not in hub.repos["me/set"] and "README.md" not in hub.repos["me/set"]
    hub.stop_after = None
    assert push(folder)[0] == 0
    size = sum(file.stat().st_size for file in folder.rglob("*.png"))
    assert "manifest.json" in hub.repos["me/set"] and hub.sent == size, "no large file is sent twice"


def test_other_files_in_the_repository(dataset: Make, hub: Hub, push: Push) -> None:
    hub.repos["me/set"] = {"README.md": b"old", "train/00007.jsonl": b"{}"}
    folder = dataset({"train": [example(1)]})
    code, text = push(folder)
    assert code == 2 and "me/set holds 1 other file (train/00007.jsonl)" in text and "replace=true" in text
    assert not hub.commits
    assert push(folder, "replace=true")[0] == 0
    assert "train/00007.jsonl" not in hub.repos["me/set"] and hub.commits[-1][1] == ["train/00007.jsonl"]


def test_an_export_is_pushed_as_it_is(dataset: Make, hub: Hub, push: Push, tmp_path: Path) -> None:
    folder, out = dataset({"train": [example(1)]}), tmp_path / "out"
    assert main(["export", str(folder), "format=trl", f"output={out}"]) == 0
    code, text = push(out, "license=mit")
    assert code == 2 and "license= for an export, whose card is written" in text
    assert push(out)[0] == 0
    arrived = hub.repos["me/set"]
    file = "data/train-00000-of-00001.parquet"
    assert arrived[file] == (out / file).read_bytes() and arrived["README.md"] == (out / "README.md").read_bytes()
    (out / file).write_bytes(b"changed")
    code, text = push(out)
    assert code == 2 and f"{file} was changed since it was exported" in text


def test_an_edited_card_is_kept_and_sent(
    dataset: Make, hub: Hub, push: Push, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = dataset({"train": [example(1)]})
    for _ in range(2):
        assert main(["export", str(folder), "format=card"]) == 0, "the same card may be written again"
    edited = (folder / "README.md").read_text() + "\nThanks to Ada.\n"
    (folder / "README.md").write_text(edited)
    assert main(["export", str(folder), "format=card"]) == 2
    assert "README.md is there and says something else" in " ".join(capsys.readouterr().err.split())
    code, text = push(folder, "license=mit")
    assert code == 2 and "license= for a dataset whose card is written" in text and not hub.created
    assert push(folder)[0] == 0
    assert hub.repos["me/set"]["README.md"].decode() == edited


def test_a_changed_dataset_is_not_sent(dataset: Make, hub: Hub, push: Push) -> None:
    folder = dataset({"train": [example(1)]})
    (folder / "train" / "00000.jsonl").write_text("{}\n")
    code, text = push(folder)
    assert code == 2 and "train/00000.jsonl was changed" in text and not hub.created


def test_a_medium_outside_is_not_sent(dataset: Make, hub: Hub, push: Push, tmp_path: Path) -> None:
    from mmreflect.data.checksums import sha256_of

    folder = dataset({"train": [example(1)]})
    shard, manifest = folder / "train" / "00000.jsonl", folder / "manifest.json"
    (tmp_path / "secret.png").write_bytes(b"secret")
    shard.write_text(json.dumps(json.loads(shard.read_text()) | {"images": ["../secret.png"]}) + "\n")
    tree = json.loads(manifest.read_text())
    tree["splits"]["train"]["shards"][0]["sha256"] = sha256_of(shard)
    manifest.write_text(json.dumps(tree))
    code, text = push(folder)
    assert code == 2 and "row 'row-1' shows ../secret.png, which is not in" in text and not hub.created


def test_a_wrong_token(dataset: Make, hub: Hub, push: Push, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    code, text = push(dataset({"train": [example(1)]}))
    assert code == 2 and "the Hub takes no token from here, or knows it no more" in text and "set HF_TOKEN" in text
    assert "hf_wrong" not in text


def test_a_token_that_may_not_write(dataset: Make, hub: Hub, push: Push) -> None:
    hub.refuse = 403
    code, text = push(dataset({"train": [example(1)]}))
    assert code == 2 and "the Hub refuses to write to me/set (403)" in text


def test_no_network(dataset: Make, hub: Hub, push: Push) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        hub.url = f"http://127.0.0.1:{free.getsockname()[1]}"
        code, text = push(dataset({"train": [example(1)]}))
    assert code == 2 and "the Hub cannot be reached (ConnectError" in text and "start the same again" in text


def test_offline(dataset: Make, hub: Hub, push: Push, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    code, text = push(dataset({"train": [example(1)]}))
    assert code == 2 and "HF_HUB_OFFLINE is set, so nothing is sent to the Hub" in text and not hub.created


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("repo=set", "repo=set is no name on the Hub"),
        ("repo=me/set/more", "is no name on the Hub"),
        ("repo=me/a b", "is no name on the Hub"),
        ("repo=me/a--b", "is no name on the Hub"),
        ("repo=me/set.git", "is no name on the Hub"),
        ("private=yes", "private=yes"),
        ("public=true", "unknown setting 'public'"),
    ],
)
def test_bad_settings(word: str, said: str, dataset: Make, hub: Hub, push: Push) -> None:
    code, text = push(dataset({"train": [example(1)]}), word)
    assert code == 2 and said in text and not hub.created, text
