"""The recipes of the builders that ask a teacher, and of the charts, run as they stand but for who speaks and how much."""

import json
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
