"""Odd values in every place of a published release cost the rows that hold them: the sound ones stay as they are."""

import copy
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import picture_releases
import pytest
import video_releases

from mmreflect.data.store import open_dataset

Cli = Callable[..., tuple[int, str]]
Making = Callable[[Path], dict[str, Any]]

ODD = [
    "a\0b",
    "a\ud800",
    "x" * 300,
    "x/" * 3000,
    None,
    5,
    "",
    [],
    {},
    [[]],
    {"a": 1},
    True,
    float("nan"),
    -1,
    1e9,
    [None],
    ["a"],
    "../..",
]
OF_TEXT_FILES = ["a\0b", "x" * 300, "", "-1", "nan", "../.."]
PICTURES = (
    "geometry3k",
    "geoqa",
    "chartqa",
    "dvqa",
    "ai2d",
    "scienceqa",
    "mathv360k",
    "mulberry",
    "llava_cot",
    "visual_cot",
    "visual_cot_363k",
)
VIDEOS = (
    "video_r1", "llava_video", "nextqa", "star", "perception_test", "clevrer", "timerft", "cg_bench", "rextime", "charades_sta",
    "activitynet_captions",
)  # fmt: skip


def spoiled(tree: Any) -> Iterator[Any]:
    """A tree with an odd value in each of its places in turn, and once without each of its keys."""
    if not isinstance(tree, dict | list):
        return
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)):
        for value in ODD:
            other = copy.copy(tree)
            other[key] = value
            yield other
        for value in spoiled(tree[key]):
            other = copy.copy(tree)
            other[key] = value
            yield other
        if isinstance(tree, dict):
            yield {name: value for name, value in tree.items() if name != key}


def spoil(annotations: Path) -> None:
    """Add odd rows to a release, or odd files to a folder of them."""
    if annotations.is_dir():
        number = itertools.count(1000)  # read after the sound ones, which files and folders are numbered for
        for file in sorted(annotations.rglob("*.json")):
            inside = file.parent != annotations
            for tree in spoiled(json.loads(file.read_text())):
                name = next(number)
                odd = file.parent.with_name(str(name)) if inside else file.parent
                odd.mkdir(exist_ok=True)
                for other in file.parent.iterdir() if inside else ():
                    (odd / other.name).write_bytes(other.read_bytes())
                (odd / (file.name if inside else f"{name}{''.join(file.suffixes)}")).write_text(json.dumps(tree))
    elif annotations.suffix == ".jsonl":
        lines = annotations.read_text().splitlines()
        lines += [json.dumps(tree) for tree in spoiled(json.loads(lines[0]))]
        annotations.write_text("\n".join(lines) + "\n")
    elif annotations.suffix == ".json":
        tree = json.loads(annotations.read_text())
        if isinstance(tree, list):
            tree += spoiled(tree[0])
        else:
            first = next(iter(tree.values()))
            tree |= {f"odd{place}": row for place, row in enumerate(spoiled(first))}
            tree |= {name: first for name in ODD if isinstance(name, str)}
        annotations.write_text(json.dumps(tree))
    else:
        lines = annotations.read_text().splitlines()
        row = lines[1]
        cells = {cell for part in row.split(",") for cell in part.split()}
        lines += [row.replace(cell, value, 1) for cell in sorted(cells) for value in OF_TEXT_FILES]
        annotations.write_text("\n".join(lines) + "\n")


def rows_of(output: Path) -> dict[str, Any]:
    """The rows by their ids, without the names of their media, which count all rows."""
    return {
        row["id"]: {**row, "images": len(row["images"]), "videos": len(row["videos"])}
        for row in open_dataset(str(output)).rows("train")
    }


def converts(run_cli: Cli, root: Path, builder: str, layout: dict[str, Any], **more: Any) -> None:
    """Build a release, spoil it, and build it again."""
    quality = {"repeats": "off", "near_repeats": "off", "answer": "off", "final_answer": "off"}
    tree = {"builder": builder, "sources": [{"layout": layout}], "quality": quality, "shard_rows": 10_000, **more}
    code, text = run_cli("build", {**tree, "output": str(root / "sound")})
    assert code == 0, text
    spoil(Path(layout["annotations"]))
    code, text = run_cli("build", {**tree, "output": str(root / "spoiled")})
    assert code == 0 and "Traceback" not in text, text[-3000:]
    sound, kept = rows_of(root / "sound"), rows_of(root / "spoiled")
    assert "\ud800" not in "".join(kept) and "\0" not in "".join(kept)
    assert sound and {name: kept[name] for name in sound} == sound
    assert sum(open_dataset(str(root / "spoiled")).manifest["rejects"].values()) > 0


@pytest.mark.parametrize("name", PICTURES)
def test_odd_rows_of_pictures(name: str, run_cli: Cli, tmp_path: Path) -> None:
    make: Making = getattr(picture_releases, name)
    converts(run_cli, tmp_path, "pictures", make(tmp_path / "release"), ungradable="keep")


@pytest.mark.parametrize("name", VIDEOS)
def test_odd_rows_of_videos(name: str, run_cli: Cli, tmp_path: Path) -> None:
    make: Making = getattr(video_releases, name)
    layout = make(tmp_path / "release")
    for folder, files in video_releases.RELEASES.items():
        for file in files:
            (tmp_path / "release" / folder / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "release" / folder / file).write_bytes(b"a film")
    converts(run_cli, tmp_path, "videos", layout, check="exists", media="link")
