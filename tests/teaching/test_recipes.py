"""The recipes of the builders that ask a teacher, and of the charts, run as they stand but for who speaks and how much."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from builders.test_lemma import ANALYSIS, ATTEMPT, FIX, injection
from builders.test_re_rest import OTHER, REPAIR, RIGHT, WRONG
from builders.test_super_correct import OWN, correction, template, verdict
from builders.test_super_correct import WRONG as WRONG_STEPS
from builders.test_trr_safety import FIRST, judged, revision, write_requests
from teaching.schooling import scripted

from mmreflect.config import load_yaml
from mmreflect.data.store import open_dataset

Cli = Callable[..., tuple[int, str]]
Sums = Callable[..., Path]
BUILD = Path(__file__).parents[2] / "configs/build"

REASONED = "<think>I look at them. I add them. That is it.</think><answer>{}</answer>"
DISTILLED = "I count from one on and add nothing, so it stays at one as it was: \\boxed{1}"
THOUGHTS = "<think>\n" + "So it is 1\n" * 8 + "</think>\nIt is \\boxed{1}"
INJECTED = injection("I take both.\nThe first one is 3.\nSo it is \\boxed{3}")
SMOOTH = "I take both. The first one, it seems, is 3. Hm. No: it is a 1. So \\boxed{1}"
SPOKEN: dict[str, tuple[dict[str, list[str]], list[str], int]] = {
    "srpo_reflection": (
        {"policy": [REASONED.format(2)], "teacher": ['{"reflection": "I see.", "score": 4}'] * 2 + [REASONED.format(1)]},
        ["keep=1.0"], 1,
    ),
    "cold_start": ({"teacher": [DISTILLED]}, [], 1),
    "first_try": ({"policy": [THOUGHTS, "It is \\boxed{1}"]}, [], 1),
    # Of 1 + 0, where nothing is to be seen: the student's error and six injected ones, each put right twice.
    "lemma": ({"student": [ATTEMPT], "teacher": [ANALYSIS, *[INJECTED] * 6, *[FIX] * 14, *[SMOOTH] * 14]}, ["quality.repeats=off"], 14),
    "re_rest": ({"agent": [RIGHT, WRONG, OTHER, "It is \\boxed{1}"], "reflector": [REPAIR]}, [], 2),
    "super_correct": ({"teacher": [template(1)]}, [], 1),
    "super_correct_pairs": ({"student": [WRONG_STEPS, OWN], "teacher": [correction(), verdict(True), verdict(False)]}, [], 1),
    "trr_safety": ({"writer": [FIRST, revision()], "guard": [judged(False), judged(True, True)]}, [], 1),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOKEN)
def test_recipes_run_by_a_script(name: str, sums: Sums, tmp_path: Path, run_cli: Cli) -> None:
    said, settings, rows = SPOKEN[name]
    recipe = load_yaml(BUILD / f"{name}.yaml")
    for part, replies in said.items():
        block = scripted(tmp_path / f"{part}.jsonl", {"*": replies}, temperature=recipe[part].get("temperature", 0.0))
        settings = [*settings, f"{part}={json.dumps(block)}"]
    source = sums(1, write_requests, harmful=1) if name == "trr_safety" else sums(1)
    text_of_recipe = (BUILD / f"{name}.yaml").read_text()
    code, text = run_cli("build", text_of_recipe, *settings, f"source.path={source}", f"output={tmp_path / 'out'}")
    assert code == 0, text
    dataset = open_dataset(str(tmp_path / "out"))
    assert len(list(dataset.rows("train"))) == rows, dataset.manifest["rejects"]
    manifest: dict[str, Any] = dataset.manifest
    assert all(part["model"] == "scripted" for part in manifest["asked"].values())


def test_the_scripts_that_a_recipe_shows_run(tmp_path: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they stand in its head, in the folder of a user who has one sum, 3 + 4."""
    head = [line.removeprefix("#").strip() for line in (BUILD / "srpo_reflection.yaml").read_text().splitlines()]
    monkeypatch.chdir(tmp_path)
    for name in ("policy.jsonl", "teacher.jsonl"):
        (said,) = [line.removeprefix(f"{name}:").strip() for line in head if line.startswith(f"{name}:")]
        (tmp_path / name).write_text(f"{said}\n")
    (tmp_path / "q.jsonl").write_text('{"id": "sum", "question": "How much is 3 + 4?", "answer": "7"}\n')
    mine = {"builder": "rows", "source": "q.jsonl", "validation": 0.0, "output": "outputs/mine"}
    assert run_cli("build", mine)[0] == 0
    (line,) = [line for line in head if line.startswith("mmreflect build ")]
    words = shlex.split(line)[3:]
    code, text = run_cli("build", (BUILD / "srpo_reflection.yaml").read_text(), *words)
    assert code == 0, text
    (row,) = open_dataset("outputs/srpo-reflection").samples("train")
    assert row.facts["first_answer"] == "8" and "The sum is off by one." in (row.response or "")


def test_every_recipe_that_asks_a_teacher_is_run() -> None:
    """Those with a part that has an engine of its own; that of augment is run beside its builder's tests."""
    asking = {path.stem for path in BUILD.glob("*.yaml") if any("engine" in part for part in parts_of(path))}
    assert asking == {*SPOKEN, "augment"}


def parts_of(path: Path) -> list[dict[str, Any]]:
    return [part for part in load_yaml(path).values() if isinstance(part, dict)]


def test_the_recipe_of_charts_runs(tmp_path: Path, run_cli: Cli) -> None:
    settings = ["splits={train: 9, validation: 3}", "workers=1", f"output={tmp_path / 'out'}"]
    code, text = run_cli("build", (BUILD / "chart.yaml").read_text(), *settings)
    assert code == 0, text
    rows = list(open_dataset(str(tmp_path / "out")).samples("train"))
    assert len(rows) == 9 and all(row.response and row.facts["chart"] for row in rows)
