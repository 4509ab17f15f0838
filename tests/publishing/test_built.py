"""A set that a teacher made, from its YAML to the card, the page and the tables of other trainers."""

import json
from collections.abc import Callable
from pathlib import Path

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
