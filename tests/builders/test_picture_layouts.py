"""Converters for published picture datasets, on miniature releases with real, tiny pictures."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from picture_outcomes import EXPECTED, LAYOUTS, OPENED
from picture_releases import (
    SIZE,
    ai2d,
    chartqa,
    dvqa,
    geometry3k,
    geometry3k_hub,
    held,
    llava_cot,
    mathv360k,
    mulberry,
    png,
    scienceqa,
    virl39k,
    visual_cot,
    write_parquet,
)

from mmreflect.data.loading import DataConfig, load_samples
from mmreflect.data.store import open_dataset
from mmreflect.files import read_jsonl
from mmreflect.media.images import load_image

Cli = Callable[..., tuple[int, str]]
ROOT = Path(__file__).parent.parent.parent
TWO_ANSWERS = {"final_answer": "off"}
"""Lets pass the row of Mulberry's that names an answer in its thinking too: the converter takes the last."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pictures out of parquet files go to a folder of this test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/mmreflect/releases/pictures"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data"


def build(run_cli: Cli, output: Path, *layouts: dict[str, Any], **keys: Any) -> str:
    sources = [item if "layout" in item else {"layout": item} for item in layouts]
    code, text = run_cli("build", {"builder": "pictures", "output": str(output), "sources": sources, **keys})
    assert code == 0, text
    return " ".join(text.split())


def rows_of(output: Path, split: str = "train") -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in open_dataset(str(output)).rows(split)}


def parts(row: dict[str, Any]) -> list[str]:
    """The user's turn with [] for a picture."""
    return ["[]" if part["type"] == "image" else part["text"] for part in row["messages"][0]["content"]]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
def test_a_release_becomes_questions_and_counted_drops(layout: Callable[..., Any], run_cli: Cli, root: Path) -> None:
    name, source = layout.__name__, layout(root)
    answers, reasons, shown = EXPECTED[name]
    text = build(run_cli, root / "out", source, quality=TWO_ANSWERS if name == "mulberry" else {})
    assert all(words in text for words in shown), text
    rows = rows_of(root / "out")
    assert {key: row["answer"] for key, row in rows.items()} == answers
    dropped = {f"{source['name']}: {reason}": count for reason, count in reasons.items()}
    assert open_dataset(str(root / "out")).manifest["rejects"] == dict(sorted((dropped | OPENED.get(name, {})).items()))
    logged = list(read_jsonl(root / "out/rejects/sources.jsonl"))
    assert len(logged) == sum(reasons.values())
    assert all(row["row"] and row["source"] == source["name"] for row in logged)
    for row in rows.values():
        assert parts(row).count("[]") == len(row["images"])
        assert [load_image(root / "out" / path).size for path in row["images"]] == [SIZE] * len(row["images"])


def test_rows_have_one_form_and_load_for_training(run_cli: Cli, root: Path) -> None:
    """Pictures in their places, options lettered, one set of facts in every row, solutions as the assistant's turn."""
    build(run_cli, root / "out", *(layout(root) for layout in LAYOUTS), quality={"repeats": "off"} | TWO_ANSWERS)
    rows = rows_of(root / "out")
    assert len(rows) == sum(len(answers) for answers, _, _ in EXPECTED.values())
    assert len({tuple(row["facts"]) for row in rows.values()}) == 1
    assert parts(rows["virl39k-P-1"]) == ["[]", "Find x."]
    assert parts(rows["virl39k-P-2"]) == ["As in ", "[]", " shown, what is it?\n(A) 1\n(B) 2"]
    assert parts(rows["virl39k-P-3"]) == ["Compare the two.", "[]", "[]"]
    assert parts(rows["virl39k-P-4"]) == ["What is 2+2?"] and rows["virl39k-P-4"]["images"] == []
    assert parts(rows["geometry3k-hub-train-00000-of-00001-1"]) == ["[]", "[]", "Which is larger?"]
    assert parts(rows["geometry3k-2"]) == ["[]", "Find m \\angle A.\nA. 30\nB. 40\nC. 60\nD. 80"]
    assert parts(rows["scienceqa-1"]) == ["[]", "Look at the picture.\nWhich is a mammal?\nA. cat\nB. crow"]
    assert parts(rows["mulberry-0"]) == ["[]", "How many cubes are there?"]
    assert parts(rows["mulberry-1"]) == ["[]", "Which bar?\nA. red\nB. blue"]
    samples = {
        sample.id: sample for sample in load_samples(DataConfig(path=str(root / "out"), tolerate=0.0), need="answer")
    }
    assert (
        samples["scienceqa-1"].response == "A cat has fur.\nThe answer is A."
        and samples["scienceqa-4"].response is None
    )
    assert samples["mulberry-0"].response.startswith("### Image Description:\nA scene.")  # type: ignore[union-attr]
    assert "<REASONING> It is 4. </REASONING>" in (samples["llava-cot-0"].response or "")
    assert len(samples["virl39k-P-3"].media) == 2


def test_facts_hold_what_a_release_says(run_cli: Cli, root: Path) -> None:
    sources = [virl39k(root), geometry3k(root), chartqa(root), dvqa(root), ai2d(root), mathv360k(root), visual_cot(root), scienceqa(root), mulberry(root), llava_cot(root)]  # fmt: skip
    build(run_cli, root / "out", *sources)
    facts = {name: row["facts"] for name, row in rows_of(root / "out").items()}
    rates = {name: (facts[f"virl39k-P-{name}"]["PassRate_32BTrained"], facts[f"virl39k-P-{name}"]["PassRate_7BBase"]) for name in range(1, 5)}  # fmt: skip
    assert rates == {1: (0.625, 0.25), 2: (0.625, None), 3: (0.625, None), 4: (0.0, 0.25)}
    assert facts["virl39k-P-1"]["origin"] == "Processed"
    assert facts["geometry3k-2"]["diagram_logic_form"] == ["Circle(O)"] and facts["geometry3k-10"]["diagram_logic_form"] == []  # fmt: skip
    assert (facts["geometry3k-2"]["option"], facts["geometry3k-2"]["category"]) == ("D", "Circle")
    assert facts["chartqa-train_human-0"]["human"] is True
    assert (facts["mulberry-0"]["category"], facts["llava-cot-1"]["category"]) == ("clevr", "geoqa+")
    assert facts["dvqa-train-2"]["boxes"] == [[4.5, 10.0, 24.5, 18.0]] and facts["dvqa-train-1"]["boxes"] == []
    assert facts["dvqa-train-3"]["category"] == "data"
    assert facts["visual-cot-mixed_cot_train-1"]["boxes"] == [[0.0, 0.0, 10.0, 10.0], [20.0, 5.0, 40.0, 30.0]]
    assert facts["mathv360k-1"]["answer_type"] == "math"
    assert (facts["mathv360k-2"]["answer_type"], facts["mathv360k-2"]["precision"]) == ("float", 2)
    assert (facts["mathv360k-0"]["options"], facts["mathv360k-0"]["category"]) == (["145°", "35°"], "GeoQA+")
    assert facts["scienceqa-1"]["lecture"] == "Mammals have fur." and facts["scienceqa-4"]["lecture"] is None
    assert facts["ai2d-0.png-0"]["abc_label"] is True and facts["ai2d-0.png-1"]["abc_label"] is False
    rows = rows_of(root / "out")
    letters = [(root / "out" / rows[f"ai2d-0.png-{number}"]["images"][0]).read_bytes() for number in (0, 1)]
    assert letters == [png(100), png(0)], "a question about letters shows the picture with letters"


def test_the_set_loads_in_datasets(run_cli: Cli, root: Path) -> None:
    import datasets

    build(run_cli, root / "out", *(layout(root) for layout in LAYOUTS), shard_rows=2)
    loaded = datasets.load_dataset(str(root / "out"), split="train", cache_dir=str(root / "hf"))
    own = rows_of(root / "out")
    assert loaded["id"] == list(own)
    assert {row["id"]: row["answer"] for row in loaded} == {name: row["answer"] for name, row in own.items()}
    boxes = {row["id"]: row["facts"]["boxes"] for row in loaded}
    assert boxes["dvqa-train-2"] == [[4.5, 10.0, 24.5, 18.0]]


@pytest.mark.parametrize("layout", [mathv360k, visual_cot, scienceqa], ids=lambda layout: layout.__name__)
def test_each_set_loads_in_datasets_by_its_folder(layout: Callable[..., Any], run_cli: Cli, root: Path) -> None:
    import datasets

    build(run_cli, root / "out", layout(root), shard_rows=1)
    loaded = datasets.load_dataset(str(root / "out"), split="train", cache_dir=str(root / "hf"))
    assert loaded["id"] == list(rows_of(root / "out"))


def test_solutions_are_left_out_where_none_are_wanted(run_cli: Cli, root: Path) -> None:
    build(run_cli, root / "out", llava_cot(root), responses="none")
    assert all(len(row["messages"]) == 1 for row in rows_of(root / "out").values())


def test_text_alone_is_an_option(run_cli: Cli, root: Path) -> None:
    text = build(run_cli, root / "virl", {**virl39k(root), "text_only": False})
    assert "virl39k-P-4" not in rows_of(root / "virl") and "a question without a picture (2)" in text
    build(run_cli, root / "science", {**scienceqa(root), "text_only": True})
    assert parts(rows_of(root / "science")["scienceqa-2"])[0].startswith("Look at the picture.\nWhich")


def test_a_picture_stands_in_one_split(run_cli: Cli, root: Path) -> None:
    """Questions hang together by their pictures: 0 and 1 by one that parquet holds twice, 1 and 2 by another."""
    cells = {0: [held(1)], 1: [held(1, "copy.png"), held(2)], 2: [held(2)], 3: [held(3)], 4: [held(4)], 5: [held(5)]}
    rows = [{"images": images, "problem": f"Find {name}.", "answer": "1"} for name, images in cells.items()]
    source = {"name": "geometry3k", "annotations": write_parquet(root / "g/train.parquet", rows)}
    for seed in range(3):
        build(run_cli, root / f"out{seed}", source, validation=0.4, seed=seed)
        where = {name.rpartition("-")[2]: split for split in ("train", "validation") for name in rows_of(root / f"out{seed}", split)}  # fmt: skip
        assert where["0"] == where["1"] == where["2"] and set(where.values()) == {"train", "validation"}
        assert sorted(where) == ["0", "1", "2", "3", "4", "5"]


def test_copies_of_a_picture_in_two_releases_stand_in_one_split(run_cli: Cli, root: Path) -> None:
    """The first picture of MathV360K and of Mulberry, and that of a parquet file, are the same bytes."""
    rows = [{"images": [held(shade)], "problem": "Find x.", "answer": "1"} for shade in (1, 30, 31, 32)]
    hub = {"name": "geometry3k", "annotations": write_parquet(root / "g/train.parquet", rows)}
    for seed in range(3):
        build(run_cli, root / f"out{seed}", mathv360k(root), mulberry(root), hub, validation=0.4, seed=seed)
        where = {name: split for split in ("train", "validation") for name in rows_of(root / f"out{seed}", split)}
        assert where["mathv360k-0"] == where["mulberry-0"] == where["geometry3k-hub-train-0"]
        assert set(where.values()) == {"train", "validation"}


def test_pictures_in_parquet_are_brought_once_and_only_those_drawn(run_cli: Cli, root: Path, cache: Path) -> None:
    rows = [{"images": [held(shade)], "problem": "Find x.", "answer": "1"} for shade in range(12)]
    source = {"name": "geometry3k", "annotations": write_parquet(root / "g/train.parquet", rows)}
    tree = {"builder": "pictures", "output": str(root / "out"), "sources": [{"layout": source, "limit": 5}]}
    code, text = run_cli("build", tree, "--plan")
    assert code == 0 and "5 of 12 questions" in text and not cache.exists(), "a plan writes nothing"
    build(run_cli, root / "out", {"layout": source, "limit": 5}, shard_rows=2)
    brought = {path: path.stat().st_mtime_ns for path in cache.rglob("*.png")}
    assert len(brought) == 5
    drawn = rows_of(root / "out")
    assert all((root / "out" / row["images"][0]).read_bytes() == png(int(name.rpartition("-")[2])) for name, row in drawn.items())  # fmt: skip
    build(run_cli, root / "again", {"layout": source, "limit": 5}, shard_rows=2)
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.png")} == brought


def test_a_cut_build_goes_on_to_the_same_bytes(run_cli: Cli, root: Path, cache: Path) -> None:
    layouts = [layout(root) for layout in (virl39k, geometry3k_hub, llava_cot, dvqa)]
    for name in ("whole", "cut"):
        build(run_cli, root / name, *layouts, shard_rows=3)
    for name in ("manifest.json", "result.json", "train/00001.jsonl"):
        (root / "cut" / name).unlink()
    shutil.rmtree(cache)
    build(run_cli, root / "cut", *layouts, shard_rows=3)
    assert digest(root / "cut") == digest(root / "whole")


def digest(folder: Path) -> dict[str, bytes]:
    ignored = {"config.yaml", "result.json", "run.lock"}
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in ignored}  # fmt: skip


def test_changed_annotations_are_another_dataset(run_cli: Cli, root: Path) -> None:
    for source, change in (
        (geometry3k_hub(root), lambda: write_parquet(root / "geo3k/train-00000-of-00001.parquet", [{"images": [held(9)], "problem": "Other?", "answer": "1"}])),
        (ai2d(root), lambda: (root / "ai2d/questions/2.png.json").write_text('{"imageName": "2.png", "questions": {"x": {}}}')),
    ):  # fmt: skip
        output = root / f"out-{source['name']}"
        build(run_cli, output, source)
        change()
        tree = {"builder": "pictures", "output": str(output), "sources": [{"layout": source}]}
        code, text = run_cli("build", tree)
        assert code == 2 and f"holds a run on another {source['annotations']}" in " ".join(text.split()), text


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "configs/build").glob("pictures_*.yaml")))
def test_recipes_run_on_releases_at_their_places(
    name: str, monkeypatch: pytest.MonkeyPatch, run_cli: Cli, tmp_path: Path
) -> None:
    """The recipes of the project, as they are, with miniature releases where their placeholders point."""
    from mmreflect.config import load_yaml

    monkeypatch.chdir(tmp_path)
    tree = load_yaml(ROOT / "configs/build" / name)
    for source in tree["sources"]:
        put(source["layout"], tmp_path)
    code, text = run_cli("build", (ROOT / "configs/build" / name).read_text())
    assert code == 0, text
    dataset = open_dataset(tree["output"])
    found = {
        row["facts"]["source"] for split in dataset.splits() for row in rows_of(Path(tree["output"]), split).values()
    }
    assert len(found) == len(tree["sources"]), "every source gives rows"


def put(layout: dict[str, Any], root: Path) -> None:
    """Make the miniature release that fits a layout of a recipe, and put its files where the recipe looks."""
    parquet = layout["annotations"].endswith(".parquet")
    fitting = [maker for maker in LAYOUTS if fits(maker(root / "made" / maker.__name__), layout, parquet)]
    made = fitting[0](root / "made" / fitting[0].__name__)
    for key in ("annotations", "pictures", "letters", "test_ids"):
        if key not in layout:
            continue
        target = Path(layout[key].replace("*", "x"))
        source = Path(made[key])
        if "*" in source.name:
            source = next(source.parent.glob(source.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copyfile(source, target)


def fits(made: dict[str, Any], layout: dict[str, Any], parquet: bool) -> bool:
    suffix = Path(layout["annotations"]).suffix
    same = Path(made["annotations"]).suffix == suffix
    return made["name"] == layout["name"] and made["annotations"].endswith(".parquet") == parquet and same
