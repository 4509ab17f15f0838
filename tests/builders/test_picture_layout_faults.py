"""Faults in the files of published picture datasets are named, or cost a row; and how single texts of them are read."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from picture_releases import (
    ai2d,
    chartqa,
    chartqa_hub,
    dvqa,
    geometry3k,
    geometry3k_hub,
    held,
    llava_cot,
    mathv360k,
    mulberry,
    png,
    r1_onevision,
    scienceqa,
    virl39k,
    visual_cot,
    visual_cot_363k,
    write_parquet,
)

from mmreflect.data.store import open_dataset
from mmreflect.files import read_jsonl
from mmreflect.layouts import UnusableError, box
from mmreflect.layouts._turns import ending, letter_of, options_in

Cli = Callable[..., tuple[int, str]]


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


def refusal(run_cli: Cli, root: Path, layout: dict[str, Any]) -> str:
    output = str(root / "refused")
    code, text = run_cli("build", {"builder": "pictures", "output": output, "sources": [{"layout": layout}]})
    assert code == 2 and "Traceback" not in text, text
    return " ".join(text.split())


def rows_of(output: Path, split: str = "train") -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in open_dataset(str(output)).rows(split)}


@pytest.mark.parametrize(
    ("layout", "missed", "there"),
    [
        (virl39k, "answer", "answers"), (geometry3k, "problem_text", "text"), (geometry3k_hub, "problem", "problems"),
        (chartqa, "query", "question"), (chartqa_hub, "label", "labels"), (dvqa, "question_id", "questionid"),
        (scienceqa, "choices", "options"), (mathv360k, "conversations", "conversation"), (mulberry, "messages", "message"),
        (llava_cot, "image", "img"), (visual_cot, "bboxs", "bboxes"), (visual_cot_363k, "dataset", "data_set"),
        (r1_onevision, "conversations", "messages"),
    ],
)  # fmt: skip
def test_a_missed_column_is_named(
    layout: Callable[..., Any], missed: str, there: str, run_cli: Cli, root: Path
) -> None:
    source = layout(root)
    place = Path(source["annotations"])
    files = sorted(place.parent.glob(place.name)) if place.suffix == ".parquet" else [place]
    if place.is_dir():
        files = sorted(place.rglob("data.json"))
    for file in files:
        renamed(file, missed, there)
    shown = refusal(run_cli, root, source)
    assert f"column {missed!r}" in shown or f"key {missed!r}" in shown
    found = shown.partition("(found: ")[2].partition(")")[0].split(", ")
    assert there in found and missed not in found
    assert "the layout of" in shown and "check that it is the right file of the release" in shown


def renamed(file: Path, key: str, other: str) -> None:
    """Give a key of every row another name."""
    if file.suffix == ".parquet":
        import pyarrow.parquet as pq

        table = pq.read_table(file)
        pq.write_table(table.rename_columns([other if name == key else name for name in table.column_names]), file)
    elif file.suffix == ".jsonl":
        file.write_text(
            "".join(json.dumps(moved(json.loads(line), key, other)) + "\n" for line in file.read_text().splitlines())
        )
    else:
        tree = json.loads(file.read_text())
        if isinstance(tree, list):
            tree = [moved(row, key, other) for row in tree]
        elif key not in tree:
            tree = {name: moved(row, key, other) for name, row in tree.items()}
        else:
            tree = moved(tree, key, other)
        file.write_text(json.dumps(tree))


def moved(row: dict[str, Any], key: str, other: str) -> dict[str, Any]:
    return {other if name == key else name: value for name, value in row.items()}


def test_missed_keys_inside_files_and_the_nearest_name(run_cli: Cli, root: Path) -> None:
    source = ai2d(root)
    for file in Path(source["annotations"]).glob("*.json"):
        file.write_text(file.read_text().replace("correctAnswer", "correct_answer"))
    shown = refusal(run_cli, root, source)
    assert "questions: no row has the key 'correctAnswer' (found: abcLabel, answerTexts, correct_answer, questionId)" in shown  # fmt: skip
    assert "the layout of AI2D" in shown and "did its name change to 'correct_answer'?" in shown
    renamed(Path(virl39k(root)["annotations"]), "qid", "q_id")
    shown = refusal(run_cli, root, {"name": "virl39k", "annotations": str(root / "ViRL39K/39Krelease.parquet"), "pictures": str(root / "ViRL39K")})  # fmt: skip
    assert "39Krelease.parquet has no column 'qid' (found: q_id, question, answer, image" in shown
    assert "the layout of ViRL39K" in shown and "did its name change to 'q_id'?" in shown


def test_files_that_are_not_there_or_of_another_form(run_cli: Cli, root: Path) -> None:
    both = str(Path(chartqa_hub(root)["annotations"]).parent)
    shown = refusal(run_cli, root, {"name": "chartqa", "annotations": both})
    assert f"{both} holds several splits: test, train" in shown and "train-*.parquet" in shown
    assert "no parquet files at" in refusal(run_cli, root, {"name": "r1_onevision", "annotations": str(root / "no/*.parquet")})  # fmt: skip
    assert "no files */data.json in" in refusal(run_cli, root, {"name": "geometry3k", "annotations": str(root / "no")})
    assert "no such folder of pictures" in refusal(run_cli, root, {**dvqa(root), "pictures": str(root / "no")})
    assert "ChartQA's JSON holds no pictures" in refusal(run_cli, root, {**chartqa(root), "pictures": None})
    (root / "broken.parquet").write_bytes(b"PAR1 and no more")
    shown = refusal(run_cli, root, {"name": "geoqa_r1v", "annotations": str(root / "broken.parquet")})
    assert "broken.parquet cannot be read" in shown and "a whole .parquet file" in shown
    assert "sources.0.layout: unknown key 'picture'; did you mean 'pictures'?" in refusal(run_cli, root, {**dvqa(root), "picture": "x"})  # fmt: skip


NAMES = [
    (chartqa, "imgname"), (dvqa, "image"), (mathv360k, "image"), (mulberry, "images"), (llava_cot, "image"),
    (visual_cot, "image"), (scienceqa, "image"),
]  # fmt: skip


@pytest.mark.parametrize(("layout", "key"), NAMES)
def test_names_that_no_file_can_have_cost_their_rows(
    layout: Callable[..., Any], key: str, run_cli: Cli, root: Path
) -> None:
    source = layout(root)
    place = Path(source["annotations"])
    text = place.read_text()
    rows: Any = [json.loads(line) for line in text.splitlines()] if place.suffix == ".jsonl" else json.loads(text)
    first = rows["1"] if isinstance(rows, dict) else rows[0]
    odd = [{**first, key: name, "question_id": number} for number, name in enumerate(("a\0", "a\ud800"), 90)]
    rows = {**rows, "90": odd[0], "91": odd[1]} if isinstance(rows, dict) else [*rows, *odd]
    place.write_text("\n".join(map(json.dumps, rows)) if place.suffix == ".jsonl" else json.dumps(rows))
    shown = build(run_cli, root / "out", source)
    assert "the picture's name cannot be a file's (2)" in shown
    rejects = open_dataset(str(root / "out")).manifest["rejects"]
    assert rejects[f"{source['name']}: the picture's name cannot be a file's"] == 2


def test_ids_and_texts_that_cannot_be_written_cost_their_rows(run_cli: Cli, root: Path) -> None:
    source = dvqa(root)
    place = Path(source["annotations"])
    rows = json.loads(place.read_text())
    rows += [{**rows[0], "question_id": "a\ud800"}, {**rows[0], "question_id": 91, "question": "How many\ud800?"}]
    place.write_text(json.dumps(rows))
    assert "a text holds half of a surrogate pair (2)" in build(run_cli, root / "out", source)
    named = [line["row"] for line in read_jsonl(root / "out/rejects/sources.jsonl")]
    assert "a\\ud800" in named and "91" in named


@pytest.mark.parametrize("content", ["[]", '"Find"', "{", "[" * 200_000])
def test_a_logic_form_of_another_form_costs_its_problem(content: str, run_cli: Cli, root: Path) -> None:
    source = geometry3k(root)
    (Path(source["annotations"]) / "10/logic_form.json").write_text(content)
    assert "logic_form.json holds no mapping (1)" in build(run_cli, root / "out", source)
    assert set(rows_of(root / "out")) == {"geometry3k-2"}


def test_the_dataset_of_a_picture_by_its_path(run_cli: Cli, root: Path) -> None:
    source = mathv360k(root)
    place = Path(source["annotations"])
    rows = json.loads(place.read_text())[:4]
    for row, image in zip(rows, (["GeoQA+/images/1.png"], "/TabMWP/images/2.png", ["2.png"], "2.png"), strict=True):
        row["image"] = image
    (Path(source["pictures"]) / "2.png").write_bytes(png(9))
    place.write_text(json.dumps(rows))
    build(run_cli, root / "out", source)
    found = {name: row["facts"]["category"] for name, row in rows_of(root / "out").items()}
    assert found == {"mathv360k-0": "GeoQA+", "mathv360k-1": "TabMWP", "mathv360k-2": None, "mathv360k-3": None}


def test_missing_and_broken_pictures_are_quarantined_by_one_reason_each(run_cli: Cli, root: Path) -> None:
    source = mathv360k(root)
    folder = Path(source["pictures"])
    (folder / "GeoQA+/images/1.png").unlink()
    (folder / "TabMWP/images/2.png").write_bytes(png(2)[:60])
    (folder / "PlotQA/images/2.png").write_bytes(b"no picture")
    build(run_cli, root / "out", source)
    assert list(rows_of(root / "out")) == ["mathv360k-3"]
    rejects = open_dataset(str(root / "out")).manifest["rejects"]
    assert rejects["a picture file is missing"] == 1 and rejects["a picture cannot be opened"] == 2
    logged = {row["id"]: row["detail"] for row in read_jsonl(root / "out/rejects/train-00000.jsonl")}
    assert logged["mathv360k-0"].endswith("GeoQA+/images/1.png") and "not a picture" in logged["mathv360k-2"]


def test_a_reference_that_nothing_can_be_graded_against_is_rejected_or_kept(run_cli: Cli, root: Path) -> None:
    rows = [{"images": [held(1)], "problem": "Find x.", "answer": answer} for answer in ("12", "\\frac{1}{")]
    source = {"name": "geometry3k", "annotations": write_parquet(root / "g/train.parquet", rows)}
    build(run_cli, root / "out", source)
    assert [row["answer"] for row in rows_of(root / "out").values()] == ["12"]
    reason = "Geometry3K: nothing can be graded against the reference answer"
    assert open_dataset(str(root / "out")).manifest["rejects"] == {reason: 1}
    (row,) = read_jsonl(root / "out/rejects/train-00000.jsonl")
    assert row["reason"] == reason and row["id"].endswith("-1") and "\\\\frac{1}{" in row["detail"]
    build(run_cli, root / "all", source, ungradable="keep")
    assert len(rows_of(root / "all")) == 2


def test_boxes_may_stand_over_by_a_little() -> None:
    assert box((-1.5, 2, 41, 30), (40, 30)) == (0.0, 2, 40, 30)
    for corners, reason in (((-3, 0, 4, 4), "does not lie"), ((5, 5, 5, 9), "no area"), ((41, 0, 42, 9), "no area")):
        with pytest.raises(UnusableError, match=reason):
            box(corners, (40, 30))


@pytest.mark.parametrize(
    ("text", "question", "options"),
    [
        ("Find it.\n(A) 145°\n(B) 35°", "Find it.", ("145°", "35°")),
        ("Which? (A) 1 (B) 2, (C) 3", "Which?", ("1", "2", "3")),
        ("Which?\nA. red\nB) blue\nC: green", "Which?", ("red", "blue", "green")),
        (
            "Which?\nA. red\nB. blue\nAnswer with the option's letter from the given choices directly.",
            "Which?",
            ("red", "blue"),
        ),
        ("Which?\nA. red\nB. blue\nThe sky is clear.", "Which?\nA. red\nB. blue\nThe sky is clear.", ()),
        ("From (B) to (A)?", "From (B) to (A)?", ()),
        ("Only one\nA. red", "Only one\nA. red", ()),
        ("A gap\nA. red\nC. blue", "A gap\nA. red\nC. blue", ()),
        ("Empty (A) (B) 2", "Empty (A) (B) 2", ()),
    ],
)
def test_options_are_read_off_the_end_of_a_text(text: str, question: str, options: tuple[str, ...]) -> None:
    assert options_in(text) == (question, options)


@pytest.mark.parametrize(
    ("answer", "letter"),
    [("B", "B"), ("(b)", "B"), ("B.", "B"), ("B. blue", "B"), ("option B", "B"), ("Blue", "B"), ("B. red", None), ("D", None), ("C. dark green", "C"), ("both", None)],
)  # fmt: skip
def test_a_letter_is_read_off_an_answer(answer: str, letter: str | None) -> None:
    """A letter with the text of another option names none; one with other words than its option's does."""
    assert letter_of(answer, ("red", "blue", "green")) == letter


def test_a_short_reply_after_thinking_is_the_answer() -> None:
    assert ending("<think>I count 3.</think>\n\n3 cubes") == "3 cubes"
    with pytest.raises(UnusableError, match="states no final answer"):
        ending("<think>.</think>\n\nThe picture shows a long street with many people and a number of cars in it.")
