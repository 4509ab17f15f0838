"""Mixtures: the order by hand and against `datasets`, every kind of source, kills, and what is refused."""

import json
import signal
import subprocess
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders.test_killed_build import digest
from PIL import Image

from mmreflect.data import streams
from mmreflect.data.index import RowIndex
from mmreflect.data.mixing import mixed
from mmreflect.data.store import open_dataset
from mmreflect.errors import UserError
from mmreflect.files import read_jsonl

Cli = Callable[..., tuple[int, str]]
Sums = Callable[..., Path]
ROOT = Path(__file__).parent.parent.parent


def write_rows(file: Path, count: int, **more: Any) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = ({"id": f"q{place}", "question": f"How much is {place}?", "answer": place, **more} for place in range(count))
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def tree(output: Path, sources: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"builder": "mix", "output": str(output), "sources": sources, **more}


def ids(folder: Path, split: str = "train") -> list[str]:
    return [row["id"] for row in open_dataset(str(folder)).rows(split)]


@pytest.mark.parametrize("stop", ["first_exhausted", "all_exhausted"])
@pytest.mark.parametrize(("lengths", "weights"), [([3, 5], [1, 1]), ([700, 2100, 40], [0.5, 0.3, 0.2]), ([1], [2.0])])
def test_the_order_is_that_of_datasets(stop: Any, lengths: list[int], weights: list[float]) -> None:
    import datasets

    parts = [datasets.Dataset.from_dict({"x": [[n, row] for row in range(size)]}) for n, size in enumerate(lengths)]
    share = np.asarray(weights, float) / sum(weights)
    wanted = datasets.interleave_datasets(parts, list(share), seed=7, stopping_strategy=stop)["x"]
    made = mixed(lengths, weights, 7, stop, None)
    assert [[int(n), int(draw) % lengths[n]] for n, draw in zip(made.source_N, made.draw_N, strict=True)] == list(
        wanted
    )


def test_where_a_mixture_ends() -> None:
    """One source of a thousand rows and one of two: it ends with the second row of the second, or goes on to all."""
    first = mixed([1000, 2], [1, 1], 0, "first_exhausted", None)
    assert Counter(first.source_N.tolist())[1] == 2 and first.source_N[-1] == 1
    whole = mixed([1000, 2], [1, 1], 0, "all_exhausted", None)
    assert Counter(whole.source_N.tolist())[0] == 1000 and whole.source_N[-1] == 0
    assert len(mixed([1000, 2], [1, 1], 0, "all_exhausted", 5000)) == 5000
    cut = mixed([1000, 1000], [3, 1], 0, "first_exhausted", 400)
    assert len(cut) == 400 and 270 <= Counter(cut.source_N.tolist())[0] <= 330, "three quarters, give or take 3.5 sigma"
    for number in (0, 1):
        own = cut.draw_N[cut.source_N == number]
        assert own.tolist() == list(range(len(own))), "in order, none left out"
    with pytest.raises(UserError, match=r"the mixture ends after \d+ rows, with the first source that does"):
        mixed([1000, 2], [1, 1], 0, "first_exhausted", 400)
    with pytest.raises(UserError, match="a source of the mixture is empty"):
        mixed([1000, 0], [1, 1], 0, "first_exhausted", None)
    with pytest.raises(UserError, match="would have about"):
        mixed([1000, 2000], [1, 1e-9], 0, "all_exhausted", None)


def test_every_kind_of_source(sums: Sums, tmp_path: Path, run_cli: Cli) -> None:
    """A dataset with pictures, a JSONL file, Parquet with pictures as bytes, and a folder in the place of the Hub."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    ours = sums(6)
    lines = write_rows(tmp_path / "lines.jsonl", 6, facts={"source": "the web"})
    pictures = [(ours / f"media/train/00000/{1:06}-0.png").read_bytes()] * 7
    table = pa.table(
        {
            "qid": [f"p{n}" for n in range(7)],
            "problem": [f"Look: <image> How much is {n}?" for n in range(7)],
            "reward_model": [{"ground_truth": str(n)} for n in range(7)],
            "image": [[{"bytes": picture, "path": "a.png"}] for picture in pictures],
            "choices": [[f"{n}", "9"] for n in range(7)],
            "level": [n / 4 for n in range(7)],
        }
    )
    pq.write_table(table, tmp_path / "table.parquet", row_group_size=3)
    write_rows(tmp_path / "hub/train.jsonl", 5)
    columns = {
        "id": "qid",
        "question": "problem",
        "answer": "reward_model.ground_truth",
        "images": "image",
        "options": "choices",
    }
    sources = {
        "ours": {"path": str(ours)},
        "lines": {"path": str(lines), "limit": 4, "shuffle": True},
        "table": {"path": str(tmp_path / "table.parquet"), "columns": columns, "facts": ["level"]},
        "hub": {"hub": str(tmp_path / "hub"), "limit": 5},
    }
    code, text = run_cli("build", tree(tmp_path / "out", sources, stop="all_exhausted", shard_rows=7))
    assert code == 0, text
    assert "lines" in text and "4 rows, 25.0 %" in text, text
    rows = {sample.id: sample for sample in open_dataset(str(tmp_path / "out")).samples("train")}
    names = {name: {row.split("/")[1].split("#")[0] for row in rows if row.startswith(f"{name}/")} for name in sources}
    assert {name: len(found) for name, found in names.items()} == {"ours": 6, "lines": 4, "table": 7, "hub": 5}
    assert any("#1" in name for name in rows), "a source that ended began anew, under other ids"
    assert rows["ours/sum-0001"].media and rows["ours/sum-0001"].facts["source"] == "ours"
    line = next(row for name, row in rows.items() if name.startswith("lines/"))
    assert line.facts == {"source": "lines", "origin": "the web"}
    last = rows["table/p6"]
    assert last.gold == "6" and last.facts == {"options": ["6", "9"], "level": 1.5, "source": "table"}
    assert Path(last.media[0].path).read_bytes() == pictures[6], "bytes are kept as they came"
    assert [part["type"] for part in last.messages[0]["content"]] == ["text", "image", "text"]
    mixture = open_dataset(str(tmp_path / "out")).manifest["mixture"]
    assert {name: item["share"] for name, item in mixture.items()} == dict.fromkeys(sources, 0.25)
    assert sum(item["taken"] for item in mixture.values()) == len(rows)


def test_weights_and_temperature(tmp_path: Path, run_cli: Cli) -> None:
    """Sizes 900 and 100: by size 0.9 and 0.1; at temperature 2 by their roots, 30 and 10: 0.75 and 0.25."""
    large, small = write_rows(tmp_path / "a.jsonl", 900), write_rows(tmp_path / "b.jsonl", 100)
    sources = {"large": {"path": str(large)}, "small": {"path": str(small)}}
    for temperature, share in ((1.0, 0.9), (2.0, 0.75)):
        out = tmp_path / f"out-{temperature}"
        code, text = run_cli("build", tree(out, sources, temperature=temperature, rows=100, stop="all_exhausted"))
        assert code == 0, text
        assert open_dataset(str(out)).manifest["mixture"]["large"]["share"] == share


def test_pairs_and_shuffled_rows(tmp_path: Path, run_cli: Cli) -> None:
    pair = {"prompt": "How much is 1?", "chosen": "1", "rejected": "2"}
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps({"id": f"p{n}", **pair}) + "\n" for n in range(20)))
    source = {"pairs": {"path": str(tmp_path / "pairs.jsonl"), "shuffle": True, "limit": 8}}
    for name, seed in (("out", 0), ("same", 0), ("other", 1)):
        assert run_cli("build", tree(tmp_path / name, source, seed=seed))[0] == 0
    assert ids(tmp_path / "out") == ids(tmp_path / "same") != ids(tmp_path / "other")
    assert len(set(ids(tmp_path / "out"))) == 8 and ids(tmp_path / "out") != [f"pairs/p{n}" for n in range(8)]
    (row, *_) = open_dataset(str(tmp_path / "out")).rows("train")
    assert row["rejected"][0]["content"][0]["text"] == "2" and row["chosen"][0]["content"][0]["text"] == "1"
    again = {"mixed": {"path": str(tmp_path / "out")}}
    code, text = run_cli("build", tree(tmp_path / "again", again))
    assert code == 0, text
    assert ids(tmp_path / "again") == [f"mixed/{name}" for name in ids(tmp_path / "out")]


def test_bad_rows_are_named(tmp_path: Path, run_cli: Cli) -> None:
    good = {"id": "good", "question": "How much is 1?", "answer": "1"}
    rows = [
        good,
        {"id": "none"},
        {**good, "id": "path", "images": ["no.png"]},
        {**good, "id": "two", "question": "<image>", "images": ["a", "b"]},
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "{broken\n")
    code, text = run_cli("build", tree(tmp_path / "out", {"mine": {"path": str(tmp_path / "rows.jsonl")}}))
    assert code == 0 and ids(tmp_path / "out") == ["mine/good"], text
    reasons = [row["reason"] for row in read_jsonl(tmp_path / "out/rejects/train-00000.jsonl")]
    for reason, words in zip(reasons, ["neither 'messages' nor a 'question'", "no such picture", "marks other numbers of media", "mine: not JSON"], strict=True):  # fmt: skip
        assert words in reason, reasons
    rejects = list(read_jsonl(tmp_path / "out/rejects/train-00000.jsonl"))
    assert [row.get("id") for row in rejects] == ["mine/none", "mine/path", "mine/two", None]
    assert rejects[1]["detail"].endswith("no.png") and "row 5: not JSON" in rejects[3]["detail"]
    source = {"path": str(tmp_path / "rows.jsonl"), "columns": {"answer": "label.gold"}}
    code, text = run_cli("build", tree(tmp_path / "b", {"mine": source}))
    assert code == 2 and "column 'label.gold' is missing in its first rows" in text, text


def test_a_set_on_the_hub_that_is_smaller_than_its_limit(
    tmp_path: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    write_rows(tmp_path / "hub/train.jsonl", 5)
    opened = Counter[str]()
    load = datasets.load_dataset
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **more: opened.update(["load"]) or load(*args, **more))
    code, text = run_cli("build", tree(tmp_path / "out", {"hub": {"hub": str(tmp_path / "hub"), "limit": 40}}))
    assert code == 0 and len(ids(tmp_path / "out")) == 5, text
    assert open_dataset(str(tmp_path / "out")).manifest["rejects"] == {"hub: … has fewer rows than its limit": 35}
    assert opened["load"] == 1, "it is not opened again for each row that is not there"


def test_a_hub_that_cannot_be_reached_ends_the_build(tmp_path: Path, run_cli: Cli) -> None:
    lines = write_rows(tmp_path / "a.jsonl", 50)
    sources = {"a": {"path": str(lines)}, "b": {"hub": "nobody/nothing-of-this-name", "limit": 5}}
    code, text = run_cli("build", tree(tmp_path / "out", sources))
    assert code == 2 and "nobody/nothing-of-this-name cannot be read" in text and "start the same again" in text, text
    assert not (tmp_path / "out/manifest.json").exists()


def test_a_file_of_a_folder_with_other_columns_is_named(tmp_path: Path, run_cli: Cli) -> None:
    first, second = write_rows(tmp_path / "hub/a.jsonl", 3), write_rows(tmp_path / "hub/b.jsonl", 3, images=["x.png"])
    code, text = run_cli("build", tree(tmp_path / "out", {"hub": {"hub": str(tmp_path / "hub"), "limit": 6}}))
    flat = " ".join(text.split())
    assert code == 2 and f"the columns of {second} are not those of {first}: it has further: images" in flat, text
    assert "correct that file, or name the files by path, each a source of its own" in flat


def test_how_the_columns_of_files_differ(tmp_path: Path) -> None:
    assert streams.odd_file(tmp_path) is None
    first = write_rows(tmp_path / "a.jsonl", 2)
    assert streams.odd_file(tmp_path) is None
    (tmp_path / "b.jsonl").write_text('{"id": 1, "question": "x"}')
    wanted = f"the columns of {tmp_path / 'b.jsonl'} are not those of {first}: it lacks: answer; it has others: id (str"
    assert (streams.odd_file(tmp_path) or "").startswith(wanted)


def test_a_row_that_is_rejected_is_named_by_its_source_and_its_place_there(tmp_path: Path, run_cli: Cli) -> None:
    rows = [{"question": f"How much is {place}?", "images": None if place % 2 else [5]} for place in range(6)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = {"p": {"path": str(tmp_path / "rows.jsonl"), "shuffle": True}}
    assert run_cli("build", tree(tmp_path / "out", source))[0] == 0
    lost = list(read_jsonl(tmp_path / "out/rejects/train-00000.jsonl"))
    assert {(row["source"], row["row"]) for row in lost} == {("p", 0), ("p", 2), ("p", 4)}
    manifest = open_dataset(str(tmp_path / "out")).manifest
    assert manifest["mixture"]["p"]["taken"] == 6 and manifest["splits"]["train"]["rows"] == 3


def test_passing_jumps_and_goes_on(tmp_path: Path) -> None:
    opened = []

    def start(place: int) -> Any:
        opened.append(place)
        return iter([{"n": n} for n in range(place, 10)])

    rows = streams.Passing(start, "it")
    assert [rows[place]["n"] for place in (0, 1, 2, 7, 8, 0)] == [0, 1, 2, 7, 8, 0] and opened == [0, 7, 0]
    with pytest.raises(UserError, match="it has fewer rows than its limit"):
        rows[10]
    assert rows[9]["n"] == 9


def test_killed_it_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    lines, more = write_rows(tmp_path / "a.jsonl", 2000), write_rows(tmp_path / "b.jsonl", 600)
    sources = {"a": {"path": str(lines), "shuffle": True}, "b": {"path": str(more)}}

    def command(name: str) -> list[str]:
        (tmp_path / f"{name}.json").write_text(json.dumps(tree(tmp_path / name, sources, shard_rows=100)))
        return [sys.executable, "-m", "mmreflect", "build", str(tmp_path / f"{name}.json")]

    process = subprocess.Popen(command("cut"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list((tmp_path / "cut").glob("train/*.jsonl")):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "cut/manifest.json").exists(), "killed in the middle"
    for name in ("cut", "whole"):
        subprocess.run(command(name), check=True, capture_output=True)
    assert digest(tmp_path / "cut") == digest(tmp_path / "whole")


def test_a_stream_goes_on_at_a_missing_shard(tmp_path: Path, run_cli: Cli) -> None:
    write_rows(tmp_path / "hub/train.jsonl", 40)
    config = tree(tmp_path / "out", {"hub": {"hub": str(tmp_path / "hub"), "limit": 40}}, shard_rows=10)
    assert run_cli("build", config)[0] == 0
    before = digest(tmp_path / "out")
    for file in ("train/00001.jsonl", "train/00003.jsonl", "manifest.json", "result.json"):
        (tmp_path / "out" / file).unlink()
    assert run_cli("build", config)[0] == 0
    assert digest(tmp_path / "out") == before


def test_places_of_many_rows_take_eight_bytes_each(tmp_path: Path) -> None:
    count = 200_000
    (tmp_path / "many.jsonl").write_text(
        "".join(f'{{"id": "q{n:06}", "question": "{"x" * 60}"}}\n' for n in range(count))
    )
    tracemalloc.start()
    rows = RowIndex([tmp_path / "many.jsonl"])
    held, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(rows) == count and rows[count - 1]["id"] == "q199999" and rows[-1] == rows[count - 1]
    assert held < 12 * count and most < 40 * count, "an array that grows is copied now and then"
    with pytest.raises(IndexError):
        rows[count]


def test_the_recipe(sums: Sums, tmp_path: Path, run_cli: Cli) -> None:
    recipe = (ROOT / "configs/build/mix.yaml").read_text()
    ours = sums(8)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    picture = {"bytes": None, "path": str(tmp_path / "a.png")}
    rows = [{"problem": f"<image>How much is {n}?", "answer": str(n), "images": [picture]} for n in range(9)]
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub/train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = [f"sources.questions.path={ours}", f"sources.charts.path={ours}", "sources.charts.split=train"]
    words += [f"sources.geometry3k.hub={tmp_path / 'hub'}", "sources.geometry3k.limit=9", "rows=60"]
    code, text = run_cli("build", recipe, *words, f"output={tmp_path / 'out'}")
    assert code == 0, text
    found = {sample.id: sample for sample in open_dataset(str(tmp_path / "out")).samples("train")}
    assert len(found) == 60 and found["geometry3k/row-000000"].question == "How much is 0?"
    assert [part["type"] for part in found["geometry3k/row-000000"].messages[0]["content"]] == ["image", "text"]


def test_pictures_of_the_hub_come_as_bytes(tmp_path: Path, run_cli: Cli) -> None:
    """A set with a feature of pictures, as `push_to_hub` writes it, streamed without being decoded."""
    import datasets

    Image.new("RGB", (8, 8), (9, 90, 200)).save(tmp_path / "a.jpg", quality=60)
    columns = {
        "problem": ["<image>Which colour?"] * 3,
        "answer": ["blue"] * 3,
        "images": [[str(tmp_path / "a.jpg")]] * 3,
    }
    features = datasets.Features(
        {
            "problem": datasets.Value("string"),
            "answer": datasets.Value("string"),
            "images": datasets.List(datasets.Image()),
        }
    )
    made = datasets.Dataset.from_dict(columns, features=features)
    (tmp_path / "hub/data").mkdir(parents=True)
    made.to_parquet(str(tmp_path / "hub/data/train-00000-of-00001.parquet"))
    source = {"hub": str(tmp_path / "hub"), "limit": 3, "columns": {"question": "problem"}}
    code, text = run_cli("build", tree(tmp_path / "out", {"colours": source}))
    assert code == 0, text
    for sample in open_dataset(str(tmp_path / "out")).samples("train"):
        path = Path(sample.media[0].path)
        assert path.suffix == ".jpg" and path.read_bytes() == (tmp_path / "a.jpg").read_bytes()


BAD = [
    ({"a": {"path": "x", "hub": "y"}}, {}, "either path or hub says where the rows are"),
    ({"a": {}}, {}, "either path or hub says where the rows are"),
    ({"a": {"hub": "x/y"}}, {}, "a set on the Hub needs a limit"),
    ({"a": {"hub": "x/y", "limit": 3, "shuffle": True}}, {}, "x/y is read forwards, in its own order"),
    ({"a": {"path": "x", "columns": {"id": "qid"}}}, {}, "a dataset of ours has our columns"),
    ({"a": {"path": "x.jsonl", "split": "rl"}}, {}, "is one file and has no splits"),
    ({"a": {"path": "x.jsonl", "columns": {"questoin": "q"}}}, {}, "columns names 'questoin', which is none of ours; did you mean: question"),
    ({"a": {"path": "x.jsonl", "columns": {"tools": "functions"}}}, {}, "columns maps 'tools', which can only be left out; set it to null"),
    ({"a": {"path": "x", "revision": "1"}}, {}, "config and revision belong to hub"),
    ({"a": {"path": "x", "weight": 1.0}, "b": {"path": "y"}}, {}, "some sources have a weight and others none (b)"),
    ({"a": {"path": "x", "weight": 1.0}}, {"temperature": 2.0}, "temperature takes the place of weights"),
    ({"a/b": {"path": "x"}}, {}, "a source is called 'a/b'"),
    ({"a": {"path": "x.jsonl"}}, {}, "no such file: x.jsonl"),
    ({"a": {"path": "nowhere"}}, {}, "no such dataset: nowhere"),
]  # fmt: skip


@pytest.mark.parametrize(("sources", "more", "message"), BAD)
def test_bad_options(
    sources: dict[str, Any], more: dict[str, Any], message: str, tmp_path: Path, run_cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    code, text = run_cli("build", tree(tmp_path / "out", sources, **more))
    assert code == 2 and message in text, text
