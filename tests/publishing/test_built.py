"""A set that a teacher made, from its YAML to the card, the page and the tables of other trainers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from builders.test_parts import LEAF
from builders.test_super_correct import OWN, WRONG, correction, pairs, verdict
from teaching.conftest import sums

from mmreflect.cli import main

__all__ = ["sums"]
Cli = Callable[..., tuple[int, str]]


def test_pairs_of_a_teacher(sums: Callable[..., Path], tmp_path: Path, run_cli: Cli) -> None:
    """One sum without a picture: a wrong attempt, and two corrections of it."""
    verdicts = [verdict(True), verdict(False)]
    tree = pairs(tmp_path, sums(1), [WRONG, OWN], [correction()], verdicts)
    code, text = run_cli("build", tree)
    assert code == 0, text
    built = tmp_path / "out"
    assert main(["view", str(built)]) == 0
    page = (built / "index.html").read_text()
    assert '<span class="chip right">shall win</span>' in page and "&lt;Cause&gt;The sum is misread." in page
    assert "hash of the prompts" in page and "correction_pair" in page
    for form in ("trl", "llama_factory", "ms_swift"):
        assert main(["export", str(built), f"format={form}", f"output={tmp_path / form}"]) == 0
    (row,) = [json.loads(line) for line in (tmp_path / "ms_swift" / "train.jsonl").read_text().splitlines()]
    assert [turn["role"] for turn in row["messages"]] == ["system", "user", "assistant"]
    assert row["rejected_response"] == OWN and "images" not in row
    card = (tmp_path / "trl" / "README.md").read_text()
    manifest = json.loads((built / "manifest.json").read_text())
    assert f"their hash is `{manifest['prompts']}`" in card
    inspector = next(line for line in card.splitlines() if line.startswith("| inspector |"))
    assert inspector.split(" | ")[3] == str(manifest["asked"]["inspector"]["requests"]) == "2"
    assert "| pairs, reasoning | 1 |" in card


def grid(folder: Path, run_cli: Cli, *words: str) -> Path:
    tree = {"builder": "grid", "splits": {"train": 5, "dev-set": 2}, "shard_rows": 3, "output": str(folder)}
    code, text = run_cli("build", tree, *words)
    assert code == 0, text
    return folder


def test_a_built_folder_loads_as_it_is(tmp_path: Path, run_cli: Cli) -> None:
    """By its path alone, whether built at once or put together, with no word of ours."""
    from datasets import load_dataset

    built, parts = grid(tmp_path / "whole", run_cli), [str(tmp_path / f"part{n}") for n in (1, 2)]
    for number, part in enumerate(parts, 1):
        assert not (grid(Path(part), run_cli, f"shard={number}/2") / "README.md").exists()
    assert main(["build", "merge", str(tmp_path / "merged"), *parts]) == 0
    for folder in (built, tmp_path / "merged"):
        tables = load_dataset(str(folder), cache_dir=str(tmp_path / "cache" / folder.name))
        assert {name: len(table) for name, table in tables.items()} == {"train": 5, "dev_set": 2}
        rows = [json.loads(line) for file in sorted(folder.glob("train/*")) for line in file.read_text().splitlines()]
        assert tables["train"]["id"] == [row["id"] for row in rows]
        assert tables["train"][4]["images"] == rows[4]["images"]
    assert (tmp_path / "merged/README.md").read_text() == (built / "README.md").read_text()


HOSTILE: dict[str, list[dict[str, Any]]] = {
    "a new key": [{"a": 1}, {"a": 2}, {"b": "x", "a": 3}, {}],
    "null, then text": [{"a": None}, {"a": None}, {"a": "x"}, {"a": "y"}],
    "int, then float": [{"a": 1}, {"a": 2}, {"a": 2.5}, {"a": 3}],
    "an empty list, then text": [{"a": []}, {"a": []}, {"a": ["x"]}, {"a": None}],
    "mappings": [{"a": None}, {"a": {"b": 1}}, {"a": {"c": [{"d": 1}, {"e": "x"}]}}, {"a": {}}],
}
MIXED: list[dict[str, Any]] = [
    {"a": "3", "day": "2024-01-31"},
    {"a": 3, "b": None},
    {"a": {"b": [1, "x", {}]}, "yes": True},
    {},
]
"""What no table holds."""


def of_rows(folder: Path, run_cli: Cli, facts: list[dict[str, Any]], *words: str) -> Path:
    rows = [
        {"id": f"r{place}", "question": f"What is {place}?", "answer": str(place), "facts": own}
        for place, own in enumerate(facts)
    ]
    source = folder.with_name("rows.jsonl")
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    tree = {"builder": "rows", "source": str(source), "validation": 0, "shard_rows": 2, "output": str(folder)}
    code, text = run_cli("build", tree, *words)
    assert code == 0, text
    return folder


def loaded(folder: Path) -> list[dict[str, Any]]:
    from datasets import load_dataset

    return [dict(row) for row in load_dataset(str(folder), cache_dir=str(folder / "cache"))["train"]]


def without_nulls(value: Any) -> Any:
    """What is left when what the loader fills up is taken away."""
    if isinstance(value, dict):
        return {key: left for key, item in value.items() if (left := without_nulls(item)) not in (None, {})}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", HOSTILE)
def test_facts_that_differ_from_shard_to_shard_load(name: str, tmp_path: Path, run_cli: Cli) -> None:
    built = of_rows(tmp_path / "out", run_cli, HOSTILE[name])
    rows = loaded(built)
    assert [row["id"] for row in rows] == ["r0", "r1", "r2", "r3"]
    assert [without_nulls(row["facts"]) for row in rows] == [without_nulls(facts) for facts in HOSTILE[name]]
    assert "4.7" not in (built / "README.md").read_text()


def test_facts_of_different_kinds_come_out_as_they_went_in(tmp_path: Path, run_cli: Cli) -> None:
    """In parts and merged, and under the whole card, too."""
    whole, parts = of_rows(tmp_path / "out", run_cli, MIXED), [str(tmp_path / f"part{n}") for n in (1, 2)]
    assert [row["facts"] for row in loaded(whole)] == MIXED
    assert "of different kinds from row to row: `datasets` 4.7 or later" in (whole / "README.md").read_text()
    for number, part in enumerate(parts, 1):
        of_rows(Path(part), run_cli, MIXED, f"shard={number}/2")
    assert main(["build", "merge", str(tmp_path / "merged"), *parts]) == 0
    for name in ("README.md", "train/00000.jsonl", "train/00001.jsonl"):
        assert (tmp_path / "merged" / name).read_bytes() == (whole / name).read_bytes()
    assert main(["export", str(tmp_path / "merged"), "format=card"]) == 0
    assert "`datasets` 4.7 or later" in (tmp_path / "merged/README.md").read_text()
    assert [row["facts"] for row in loaded(tmp_path / "merged")] == MIXED


def test_the_readme_of_a_build_gives_way_and_an_edited_one_stays(tmp_path: Path, run_cli: Cli) -> None:
    built = grid(tmp_path / "out", run_cli)
    first = (built / "README.md").read_text()
    assert main(["export", str(built), "format=card", "license=mit"]) == 0
    card = (built / "README.md").read_text()
    assert card != first and "license: mit" in card
    edited = first + "\nThanks to Ada.\n"
    (built / "README.md").write_text(edited)
    assert main(["export", str(built), "format=card"]) == 2
    for name in ("manifest.json", "result.json"):
        (built / name).unlink()
    grid(built, run_cli)
    assert (built / "README.md").read_text() == edited


def test_changed_media_are_neither_exported_nor_pushed(
    tmp_path: Path, run_cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    built = grid(tmp_path / "out", run_cli)
    picture = built / "media/train/00001/000004-0.png"
    content = picture.read_bytes()
    size = sum((built / f"media/train/00001/{place:06}-0.png").stat().st_size for place in (3, 4))
    junk = f"media of train/00001.jsonl in media/train/00001 were changed ({size:,} bytes are {size - 1:,} now)"
    flipped = content[:-1] + bytes([content[-1] ^ 1])
    for broken, message in (
        (content[:-1], junk),
        (flipped, "media of train/00001.jsonl in media/train/00001 were changed (another checksum)"),
        (None, f"{picture} is missing"),
    ):
        picture.unlink() if broken is None else picture.write_bytes(broken)
        for words in (
            ["export", str(built), "format=trl", f"output={tmp_path / 'trl'}"],
            ["push", str(built), "repo=a/b"],
        ):
            capsys.readouterr()
            assert main(words) == 2
            text = " ".join(capsys.readouterr().err.split())
            assert f"{built} is not what its manifest says: {message}" in text, text
    picture.write_bytes(content)
    assert main(["export", str(built), "format=trl", f"output={tmp_path / 'trl'}"]) == 0
    assert "without a checksum" not in capsys.readouterr().out


def test_a_video_that_was_a_link_is_the_same_as_a_copy(
    tmp_path: Path, clip: Path, run_cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    """So that what came from the Hub, where links are files, is still what the manifest says."""
    (tmp_path / "mine.py").write_text(LEAF)
    tree = {"builder": str(tmp_path / "mine.py"), "clip": str(clip), "output": str(tmp_path / "out")}
    assert run_cli("build", tree)[0] == 0
    for link in (tmp_path / "out/media").rglob("*.mp4"):
        assert link.is_symlink()
        link.unlink()
        link.write_bytes(clip.read_bytes())
    assert main(["export", str(tmp_path / "out"), "format=ms_swift", f"output={tmp_path / 'swift'}"]) == 0
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    for shard in manifest["splits"]["train"]["shards"]:
        del shard["media"]
    (tmp_path / "out/manifest.json").write_text(json.dumps(manifest))
    capsys.readouterr()
    assert main(["export", str(tmp_path / "out"), "format=ms_swift", f"output={tmp_path / 'b'}"]) == 0
    assert "4 shards without a checksum of media" in " ".join(capsys.readouterr().out.split())
