"""What the log keeps of rows that are dropped by comparison, and what is shown in two splits."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from quality.planted import SAME, digest, kept, rejects, row, scene

from mmreflect.building.rejecting import LONGEST, texts_of_row
from mmreflect.data.store import open_dataset
from mmreflect.quality.texts import repetition_in

Cli = Callable[..., tuple[int, str]]
LONG = "Again, " * 300


def test_a_row_dropped_by_comparison_keeps_its_texts(
    run_cli: Cli, tmp_path: Path, source: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [row(name, f"{LONG}how many?", r"It is \boxed{4}.", "4", "0.png") for name in ("a", "b", "c")]
    tree = {"builder": "rows", "source": str(source(rows)), "validation": 0.0, "quality": {"repetition": None}}
    code, text = run_cli("build", {**tree, "output": str(tmp_path / "out")})
    assert code == 0, text
    line = rejects(tmp_path / "out")["c"]
    assert line["question"] == f"{LONG[: LONGEST - 1]}…" and line["response"] == r"It is \boxed{4}."
    assert (line["reason"], line["of"], line["index"]) == (SAME, "a", 2) and kept(tmp_path / "out") == ["a"]

    from mmreflect.building import sifting

    swept = sifting._sweep

    def killed(*given: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sifting, "_sweep", killed)  # after rows were taken out, before their media
    assert run_cli("build", {**tree, "output": str(tmp_path / "again")})[0] != 0
    monkeypatch.setattr(sifting, "_sweep", swept)
    assert run_cli("build", {**tree, "output": str(tmp_path / "again")})[0] == 0
    assert digest(tmp_path / "again") == digest(tmp_path / "out")


def test_of_a_pair_the_losing_side_is_kept() -> None:
    turns = {"prompt": [{"role": "user", "content": "q"}], "chosen": [{"role": "assistant", "content": "a"}]}
    lost = [{"role": "assistant", "content": [{"type": "text", "text": "b"}]}]
    assert texts_of_row({**turns, "rejected": lost}) == {"question": "q", "response": "a", "losing": "b"}


def pictured(folder: Path, pictures: int, questions: int) -> Path:
    for number in range(pictures):
        scene(number).save(folder / f"{number}.png")
    rows = [
        {"id": f"r{n}-{q}", "question": f"What is {q} of {n}?", "answer": "1", "images": [f"{n}.png"]}
        for n in range(pictures)
        for q in range(questions)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    return folder / "rows.jsonl"


def test_rows_that_show_one_picture_stay_in_one_split(run_cli: Cli, tmp_path: Path) -> None:
    """12 pictures with 3 questions each; of 36 rows 11 are wanted, and 4 pictures with 12 rows come nearest."""
    tree = {"builder": "rows", "source": str(pictured(tmp_path, 12, 3)), "validation": 0.3}
    code, text = run_cli("build", {**tree, "output": str(tmp_path / "out")})
    assert code == 0 and "12 for 11 rows: those that ask or show the same stay in one split" in " ".join(text.split())
    dataset = open_dataset(str(tmp_path / "out"))
    shown = {split: {str(one["id"]).split("-")[0] for one in dataset.rows(split)} for split in dataset.splits()}
    assert len(shown["validation"]) == 4 and not shown["train"] & shown["validation"]
    assert dataset.manifest["quality"]["compared"]["media_in_two_splits"] == 0


def test_where_pictures_join_all_rows_that_is_told(run_cli: Cli, tmp_path: Path) -> None:
    tree = {"builder": "rows", "source": str(pictured(tmp_path, 1, 4)), "validation": 0.5}
    code, text = run_cli("build", {**tree, "output": str(tmp_path / "out")})
    said = " ".join(text.split())
    assert code == 0 and "2 rows, which show what train shows: all rows share pictures or videos" in said
    assert "1 pictures or videos are shown in more than one split" in said
    manifest = open_dataset(str(tmp_path / "out")).manifest
    assert manifest["quality"]["compared"]["media_in_two_splits"] == 1 and manifest["splits"]["validation"]["rows"] == 2


def test_one_large_group_does_not_become_the_validation_split(run_cli: Cli, tmp_path: Path) -> None:
    """Nine rows show one picture, and one shows another: of the two groups the small one is held out."""
    file = pictured(tmp_path, 1, 9)
    scene(5).save(tmp_path / "5.png")
    lone = {"id": "lone", "question": "And this?", "answer": "1", "images": ["5.png"]}
    file.write_text(file.read_text() + json.dumps(lone) + "\n")
    for seed in range(3):
        tree = {"builder": "rows", "source": str(file), "validation": 0.1, "seed": seed}
        assert run_cli("build", {**tree, "output": str(tmp_path / f"out-{seed}")})[0] == 0
        held = [one["id"] for one in open_dataset(str(tmp_path / f"out-{seed}")).rows("validation")]
        assert held == ["lone"]


LOOPS = [
    ("a" * 3000, "a (3000 times without a break)"),
    ("Ha" * 65, "Ha (65 times without a break)"),
    ("It is " + "!?" * 300, "!? (300 times without a break)"),
    ("b" * 128, None),
    ("-" * 512 + " 0." + "3" * 400, None),
    ("| --- | --- |\n" * 3 + "=" * 80, None),
    ("All is well, and so it goes on and on.", None),
]


@pytest.mark.parametrize(("text", "run"), LOOPS)
def test_characters_that_repeat_without_a_blank(text: str, run: str | None) -> None:
    assert repetition_in(text) == run


def test_such_a_response_is_dropped(build: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    manifest = build([row("a", "How many?"), row("loop", "How much?", "a" * 3000 + r" \boxed{4}")])
    assert kept(tmp_path / "out") == ["a"]
    assert manifest["rejects"] == {"the response repeats itself more than 4 times": 1}
