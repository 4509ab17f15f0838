"""A dataset built in parts by `shard=2/3`, and put together: its files are those of a build without parts."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from teaching.schooling import School, schooling, speaker, write_sums
from teaching.test_srpo_reflection import teach

from mmreflect import recipes
from mmreflect.building import merging
from mmreflect.building.shards import shards_of
from mmreflect.cli import main
from mmreflect.config import load_yaml
from mmreflect.data.store import open_dataset
from mmreflect.errors import UserError
from mmreflect.files import read_json, write_json

Cli = Callable[..., tuple[int, str]]
Sums = Callable[..., Path]


def digest(folder: Path) -> dict[str, str]:
    ignored = ("config.yaml", "result.json", "run.lock")
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in ignored)
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def grid(**keys: Any) -> dict[str, Any]:
    return {"builder": "grid", "splits": {"train": 11, "validation": 3}, "shard_rows": 4, **keys}


@pytest.fixture
def build_parts(run_cli: Cli, tmp_path: Path) -> Callable[..., list[str]]:
    """Build the whole of a configuration, and its parts, and return the parts' folders."""

    def build(tree: dict[str, Any], total: int) -> list[str]:
        for name, words in [("whole", []), *((f"part{n}", [f"shard={n}/{total}"]) for n in range(1, total + 1))]:
            code, text = run_cli("build", tree | {"output": str(tmp_path / name)}, *words)
            assert code == 0, text
        return [str(tmp_path / f"part{n}") for n in range(1, total + 1)]

    return build


def merge(capsys: pytest.CaptureFixture[str], *words: Any) -> tuple[int, str]:
    capsys.readouterr()
    code = main(["build", "merge", *map(str, words)])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


# ---- a part --------------------------------------------------------------------------------------------------------


def test_shards_go_to_the_parts_in_turns() -> None:
    """Rows 11 and 3 in shards of 4: three and one; three parts get two, one and one of them."""
    config = type("Config", (), {"shard_rows": 4})()
    sizes = {"train": 11, "validation": 3}
    first = [("train", 0, 11), ("validation", 0, 3)]
    assert shards_of(config, sizes, (1, 3)) == first
    assert shards_of(config, sizes, (2, 3)) == [("train", 1, 11)]
    assert shards_of(config, sizes, (5, 5)) == []
    assert shards_of(config, sizes) == [*[("train", number, 11) for number in range(3)], ("validation", 0, 3)]


def test_parts_hold_the_files_of_the_whole_and_merge_to_it(
    build_parts: Callable[..., list[str]], run_cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = build_parts(grid(), 3)
    whole = digest(tmp_path / "whole")
    seen = dict[str, str]()
    for number, part in enumerate(parts, 1):
        own = digest(Path(part))
        assert own.pop("part.json") and own.pop("run.json") == whole["run.json"]
        assert own.pop("marks/asked.json") == whole["marks/asked.json"]
        assert own.items() <= whole.items() and not own.keys() & seen.keys()
        seen |= own
        assert read_json(Path(part) / "result.json")["part"] == f"{number}/3"
    shared = ("run.json", "manifest.json", "marks/asked.json", "marks/against.json", "README.md")
    assert seen == {name: mark for name, mark in whole.items() if name not in shared}
    assert read_json(tmp_path / "part2/result.json")["rows"] == {"train": 4, "validation": 0}

    code, text = merge(capsys, tmp_path / "out", *reversed(parts))
    assert code == 0 and "3 parts, 14 rows, 14 media linked" in text, text
    assert digest(tmp_path / "out") == whole
    assert (tmp_path / "out/media/train/00000/000000-0.png").stat().st_nlink == 2
    result, one = (read_json(tmp_path / name / "result.json") for name in ("out", "whole"))
    assert result.pop("parts") == 3 and {**result, "seconds": 0} == {**one, "seconds": 0}
    configs = [load_yaml(tmp_path / name / "config.yaml") for name in ("out", "whole")]
    assert configs[0] == configs[1] | {"output": str(tmp_path / "out")}
    assert "finished already" in merge(capsys, tmp_path / "out", *parts)[1]
    assert "finished already" in run_cli("build", grid(output=str(tmp_path / "out")))[1]


def test_a_part_is_no_dataset(run_cli: Cli, tmp_path: Path) -> None:
    tree = grid(output=str(tmp_path / "part"))
    code, text = run_cli("build", tree, "shard=2/3", "--plan")
    assert code == 0 and "2/3: 1 of the 4 shards" in text
    assert run_cli("build", tree, "shard=2/3")[0] == 0
    with pytest.raises(UserError, match=r"is part 2/3 of a dataset[\s\S]*mmreflect build merge OUT PART PART"):
        open_dataset(str(tmp_path / "part"))
    for words, change in (([], "shard: '2/3' -> None"), (["shard=1/3"], "shard: '2/3' -> '1/3'")):
        code, text = run_cli("build", tree, *words)
        assert code == 2 and change in text and "choose another output" in text


def test_more_parts_than_shards(
    build_parts: Callable[..., list[str]], run_cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = build_parts(grid(), 6)
    assert read_json(tmp_path / "part6/result.json")["rows"] == {"train": 0, "validation": 0}
    assert merge(capsys, tmp_path / "out", *parts)[0] == 0
    assert digest(tmp_path / "out") == digest(tmp_path / "whole")
    code, text = run_cli("build", grid(output=str(tmp_path / "again")), "shard=5/6")
    assert code == 0 and "this part has no shard: the dataset has fewer of them than parts" in text


LEAF = """
from pathlib import Path
from mmreflect.building import Example, Rejected
from mmreflect.config import config

@config
class Config:
    output: str
    clip: str
    every: int = 3
    seed: int = 0
    shard_rows: int = 2

def splits(config):
    return {"train": 7}

def left_out(config):
    return [{"id": "a", "reason": "no question"}, {"id": "b", "reason": "bad row"}]

def make(config, split, index):
    if config.every and index % config.every == 0:
        raise Rejected("bad row", f"number {index}")
    text = [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": str(index)}]}]
    return Example(str(index), text, videos=[Path(config.clip)], link=True)
"""


def test_what_is_rejected_and_left_out_counts_once(
    build_parts: Callable[..., list[str]], clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(LEAF)
    parts = build_parts({"builder": str(tmp_path / "mine.py"), "clip": str(clip)}, 2)
    code, text = merge(capsys, tmp_path / "out", *parts)
    assert code == 0 and "rejected 5 rows" in text and "bad row (4); no question (1)" in text, text
    assert digest(tmp_path / "out") == digest(tmp_path / "whole")
    assert open_dataset(str(tmp_path / "out")).manifest["rejects"] == {"bad row": 4, "no question": 1}
    linked = next((tmp_path / "out/media/train/00000").iterdir())
    assert linked.is_symlink() and os.readlink(linked) == str(clip)


def test_a_whole_without_rows_is_refused(
    run_cli: Cli, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A part may have none; the whole may not."""
    (tmp_path / "mine.py").write_text(LEAF)
    tree = {"builder": str(tmp_path / "mine.py"), "clip": str(clip), "every": 1}
    for number in (1, 2):
        assert run_cli("build", tree | {"output": str(tmp_path / f"part{number}")}, f"shard={number}/2")[0] == 0
    code, text = merge(capsys, tmp_path / "out", tmp_path / "part1", tmp_path / "part2")
    assert code == 2 and "all 7 rows of split 'train' were rejected: bad row (7)" in text
    assert not (tmp_path / "out/manifest.json").exists()


def test_the_account_of_a_teacher_is_that_of_the_whole(
    build_parts: Callable[..., list[str]], sums: Sums, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, school = sums(20), School(teach)
    with schooling(school) as server:
        asked = {
            part: speaker(server, part, tmp_path / "cache", temperature=1.0, server={"price_in": 1.0, "price_out": 3.0})
            for part in ("policy", "teacher")
        }
        tree = {"builder": "srpo_reflection", "source": {"path": str(source)}, "shard_rows": 5, **asked}
        parts = build_parts(tree, 3)
        assert merge(capsys, tmp_path / "out", *parts)[0] == 0
    assert set(school.answered.values()) == {1}
    assert digest(tmp_path / "out") == digest(tmp_path / "whole")
    manifest, result = open_dataset(str(tmp_path / "out")).manifest, read_json(tmp_path / "out/result.json")
    assert manifest["asked"]["policy"]["requests"] == 20 and manifest["asked"]["teacher"]["cost"] > 0
    assert result["this_start"]["cached"] == sum(school.answered.values()), "the whole had asked before the parts"
    assert len(list((tmp_path / "out/account").iterdir())) == 4


def test_limits_hold_for_each_part(sums: Sums, run_cli: Cli, tmp_path: Path) -> None:
    asked = {"engine": {"name": "openai", "server": {"base_url": "http://localhost:1/v1", "model": "m"}}}
    tree = {
        "builder": "cold_start",
        "source": {"path": str(sums(3))},
        "output": str(tmp_path / "out"),
        "teacher": asked,
    }
    words = ["teacher.temperature=1.0", "shard=1/2", "--plan"]
    code, text = run_cli("build", tree, *words)
    assert code == 0 and "1/2: 1 of the 1 shard" in text and "limits hold" not in text, text
    code, text = run_cli("build", tree, "teacher.engine.server.requests_per_minute=60", *words)
    assert code == 0 and "1/2: 1 of the 1 shard; a server's limits hold for this part alone" in text, text


# ---- what goes wrong -----------------------------------------------------------------------------------------------


def cases(folder: Path) -> list[tuple[Sequence[Any], str]]:
    """Parts 1 to 3 of one dataset, part 1 of 2 of it, part 2 of another, and one that is not finished."""
    one, two, three = (folder / f"part{number}" for number in (1, 2, 3))
    return [
        ([], "no parts are named"),
        ([one, two], "parts 1/3, 2/3 are given\n  expected: 1/3 to 3/3, each once\n  to do: name all of them"),
        ([one, two, two, three], "parts 1/3, 2/3, 2/3, 3/3 are given"),
        ([folder / "half", two, three], "parts 1/2, 2/3, 3/3 are given"),
        ([one, folder / "other", three], "no parts of one dataset; they differ in:\n    seed: 0 -> 5\n"),
        ([one, folder / "larger", three], "they differ in:\n    splits.train: 11 -> 12\n    rows.train: 11 -> 12\n"),
        ([one, two, folder / "open"], f"part 3/3 in {folder / 'open'} is not finished"),
        ([one, two, folder / "whole"], f"{folder / 'whole'} holds no part of a dataset"),
        ([one, two, folder / "nowhere"], "is not a run of mmreflect"),
        ([one, two, three, "seed=1"], "cannot use 'seed=1' here"),
        ([one, two, three, "--plan"], "cannot use '--plan' here"),
    ]


def test_parts_that_are_not_one_whole(
    build_parts: Callable[..., list[str]], run_cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build_parts(grid(), 3)
    for name, words in (
        ("half", ["shard=1/2"]),
        ("other", ["shard=2/3", "seed=5"]),
        ("larger", ["shard=2/3", "splits.train=12"]),
        ("open", ["shard=3/3"]),
    ):
        assert run_cli("build", grid(output=str(tmp_path / name)), *words)[0] == 0
    (tmp_path / "open/result.json").unlink()
    for words, message in cases(tmp_path):
        code, text = merge(capsys, tmp_path / "out", *words)
        assert code == 2 and message in text and "Traceback" not in text, (message, text)
        assert not (tmp_path / "out").exists()
    parts = [tmp_path / f"part{number}" for number in (1, 2, 3)]
    code, text = merge(capsys, parts[0], *parts)
    assert code == 2 and "shard: '1/3' -> None" in text
    code, text = merge(capsys, tmp_path / "whole", *parts)
    assert code == 0 and "finished already" in text, "it is the same dataset"


def test_parts_of_another_source_or_made_by_other_versions(
    run_cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_sums(tmp_path / "in", 8, pictures=False)
    tree = {"builder": "rows", "source": str(source), "validation": 0.0, "shard_rows": 2}
    for number in (1, 2):
        assert run_cli("build", tree | {"output": str(tmp_path / f"part{number}")}, f"shard={number}/2")[0] == 0
    mark = tmp_path / "part2/run.json"
    said = read_json(mark)
    write_json(mark, said | {"inputs": {"source": "another"}})
    parts = [tmp_path / "part1", tmp_path / "part2"]
    code, text = merge(capsys, tmp_path / "out", *parts)
    assert code == 2 and "they differ in:\n    source: another one\n" in text
    write_json(mark, said | {"mmreflect": "0.0.1"})
    code, text = merge(capsys, tmp_path / "out", *parts)
    assert code == 0 and "built with other versions: mmreflect: " in text and "-> '0.0.1'" in text, text


def test_settings_that_decide_nothing_may_differ(
    run_cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = {"builder": "chart", "splits": {"train": 2}, "shard_rows": 1, "kinds": ["bar"]}
    for number, workers in ((1, 1), (2, 2)):
        words = [f"shard={number}/2", f"workers={workers}"]
        assert run_cli("build", tree | {"output": str(tmp_path / f"part{number}")}, *words)[0] == 0
    assert merge(capsys, tmp_path / "out", tmp_path / "part1", tmp_path / "part2")[0] == 0


def test_a_damaged_part_is_told_and_mended(
    build_parts: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = build_parts(grid(), 2)
    shutil.copytree(parts[1], tmp_path / "good")
    rows, picture = Path("train/00001.jsonl"), Path("media/train/00001/000005-0.png")
    marks = Path("marks/train-00001.jsonl")
    for broken, message in (
        (lambda: (Path(parts[1]) / rows).unlink(), f"{Path(parts[1]) / rows} is missing"),
        (lambda: (Path(parts[1]) / rows).write_text("{}\n"), "is not what was built: its checksum is another"),
        (lambda: (Path(parts[1]) / picture).unlink(), f"{Path(parts[1]) / picture} is missing"),
        (
            lambda: (Path(parts[1]) / picture).write_bytes(b"junk"),
            "media of train/00001.jsonl in media/train/00001 were",
        ),
        (lambda: (Path(parts[1]) / marks).unlink(), f"{Path(parts[1]) / marks} is missing"),
        (lambda: (Path(parts[1]) / marks).write_text(""), f"{Path(parts[1]) / marks} is not what was built"),
    ):
        broken()
        code, text = merge(capsys, tmp_path / "out", *parts)
        assert code == 2 and message in text and "or delete that folder and build part 2/2 anew" in text, text
        assert not (tmp_path / "out/manifest.json").exists()
        shutil.rmtree(parts[1])
        shutil.copytree(tmp_path / "good", parts[1])
    assert merge(capsys, tmp_path / "out", *parts)[0] == 0
    assert digest(tmp_path / "out") == digest(tmp_path / "whole")


def test_lost_rejects_are_told(
    build_parts: Callable[..., list[str]], clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(LEAF)
    parts = build_parts({"builder": str(tmp_path / "mine.py"), "clip": str(clip)}, 2)
    for part, file in ((1, "rejects/sources.jsonl"), (2, "rejects/train-00001.jsonl")):
        (Path(parts[part - 1]) / file).rename(tmp_path / "kept")
        code, text = merge(capsys, tmp_path / "out", *parts)
        assert (
            code == 2 and f"{Path(parts[part - 1]) / file} is missing" in text and f"build part {part}/2 anew" in text
        )
        (tmp_path / "kept").rename(Path(parts[part - 1]) / file)
    old = read_json(tmp_path / "part2/part.json")
    write_json(tmp_path / "part2/part.json", {key: value for key, value in old.items() if key != "sources"})
    code, text = merge(capsys, tmp_path / "out", *parts)
    assert code == 2 and "part 2/2 in" in text and "has no checksums: an earlier mmreflect built it" in text
    write_json(tmp_path / "part2/part.json", old)
    assert merge(capsys, tmp_path / "out", *parts)[0] == 0
    assert digest(tmp_path / "out") == digest(tmp_path / "whole")


def test_what_was_lost_in_the_whole_is_brought_again(
    build_parts: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = build_parts(grid(), 2)
    assert merge(capsys, tmp_path / "out", *parts)[0] == 0
    for name in ("result.json", "manifest.json", "marks/train-00001.jsonl"):
        (tmp_path / "out" / name).unlink()
    assert merge(capsys, tmp_path / "out", *parts)[0] == 0
    assert digest(tmp_path / "out") == digest(tmp_path / "whole")


def test_a_merge_goes_on_where_it_was_cut(
    build_parts: Callable[..., list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """First it is told that the disk is full, in the middle of a shard's pictures; then it copies, as there are no links."""
    parts, moved = build_parts(grid(), 2), list[str]()

    def full(source: Path, target: Path) -> None:
        moved.append(target.name)
        raise OSError(errno.ENOSPC if len(moved) == 6 else errno.EXDEV, "no")

    with monkeypatch.context() as patch:
        patch.setattr(merging.os, "link", full)
        code, text = merge(capsys, tmp_path / "out", *parts)
        assert code == 2 and f"the disk of {tmp_path / 'out'} is full" in text, text
        assert (tmp_path / "out/train/00000.jsonl").is_file() and not (tmp_path / "out/train/00001.jsonl").exists()
        kept = (tmp_path / "out/train/00000.jsonl").stat().st_mtime_ns
        (tmp_path / "out/train").joinpath(".00001.jsonl.partial").write_text("half")
        code, text = merge(capsys, tmp_path / "out", *parts)
        assert code == 0 and "10 media copied" in text, text
    assert digest(tmp_path / "out") == digest(tmp_path / "whole")
    assert (tmp_path / "out/train/00000.jsonl").stat().st_mtime_ns == kept


def test_a_question_in_two_parts_splits_is_refused(
    monkeypatch: pytest.MonkeyPatch, run_cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    leaf = recipes.load("builder", "grid")
    make = leaf.make
    monkeypatch.setattr(
        leaf, "make", lambda config, split, index: replace(make(config, "train", 0), id=f"{split}-{index}")
    )
    tree = grid(splits={"train": 1, "validation": 1})
    for number in (1, 2):
        assert run_cli("build", tree | {"output": str(tmp_path / f"part{number}")}, f"shard={number}/2")[0] == 0
    code, text = merge(capsys, tmp_path / "out", tmp_path / "part1", tmp_path / "part2")
    assert code == 2 and "stand in two splits with the same pictures" in text
    assert not (tmp_path / "out/manifest.json").exists()


def test_rows_of_a_part_stand_in_json(tmp_path: Path, run_cli: Cli) -> None:
    """What tells a part apart is plain: which, and of how many rows."""
    assert run_cli("build", grid(output=str(tmp_path / "part")), "shard=3/3")[0] == 0
    said = json.loads((tmp_path / "part/part.json").read_text())
    assert (
        said["part"] == "3/3" and {split: entry["size"] for split, entry in said["splits"].items()} == grid()["splits"]
    )
    assert [entry["file"] for entry in said["splits"]["train"]["shards"]] == ["train/00002.jsonl"]
