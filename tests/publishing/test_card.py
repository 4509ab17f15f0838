"""The card of a dataset: what it says, and what it says it does not know."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from publishing.conftest import Make, asked, example, pair, replied

from mmreflect.building.examples import Example
from mmreflect.cli import main
from mmreflect.data.readme import hub_split
from mmreflect.data.store import open_dataset
from mmreflect.publishing.card import cell

ASKED = {
    "teacher": {
        "model": "gpt-x", "sampler": {"temperature": 0.7, "max_new_tokens": 64}, "requests": 1200, "refused_replies": 3,
        "tokens_in": 45000, "tokens_out": 6000, "cost": 1.25,
    },
    "judge": {"model": "local", "sampler": {}, "requests": 4, "refused_replies": 0, "tokens_in": 9, "tokens_out": 1, "cost": None},
}  # fmt: skip

CONTENT = [{"name": "type", "dtype": "string"}, {"name": "text", "dtype": "string"}]


def read(file: Path) -> tuple[dict[str, Any], str]:
    _, front, text = file.read_text().split("---\n", 2)
    return yaml.safe_load(front), text


def table(text: str, title: str) -> list[list[str]]:
    """The cells of the rows of the first table after a heading."""
    body = text.split(f"## {title}\n", 1)[1].split("\n## ")[0]
    rows = [line for line in body.splitlines() if line.startswith("|")]
    return [[item.strip() for item in row.strip("|").split("|")] for row in rows[2:]]


def test_the_card_of_a_dataset(dataset: Make) -> None:
    """Words of the replies: 2 three times and 4 once, so the mean is 2.5 and 95 % have at most 4."""
    rows = [example(number, reply="so <answer>1</answer>") for number in range(3)]
    rows.append(example(3, reply="I see it: <answer>1</answer>", facts={"kind": "b"}))
    folder = dataset(
        {"train": rows, "dev-set": [Example("t", [asked("Why?")])]},
        config={"seed": 7, "source": {"path": "outputs/mine", "split": "train"}},
        asked=ASKED, prompts="abc123", counted={"attempts, right": 5}, rejects={"too | long": 2, "off": 30},
        quality={"checked": {"answers": 4}, "dropped": {"near duplicate": 1}, "overlap": {"mathvista": 0}},
    )  # fmt: skip
    assert main(["export", str(folder), "format=card", "license=cc-by-4.0"]) == 0
    front, text = read(folder / "README.md")
    (types,) = front.pop("dataset_info")
    turns = [{"name": "role", "dtype": "string"}, {"name": "content", "list": CONTENT}]
    assert types["config_name"] == "default" and types["features"][1] == {"name": "messages", "list": turns}
    assert types["features"][-1] == {"name": "facts", "struct": [{"name": "kind", "dtype": "string"}]}
    assert front == {
        "license": "cc-by-4.0",
        "task_categories": ["image-text-to-text"],
        "tags": ["mmreflect", "made"],
        "size_categories": ["n<1K"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [
                    {"split": "train", "path": ["train/00000.jsonl", "train/00001.jsonl"]},
                    {"split": "dev_set", "path": ["dev-set/00000.jsonl"]},
                ],
            }
        ],
    }
    assert table(text, "What is in it") == [
        ["train", "4", "sft", "4", "0", "4"],
        ["dev-set", "1", "prompts", "0", "0", "0"],
    ]
    assert table(text, "Shares") == [["kind: a", "75.0 %", "–"], ["kind: b", "25.0 %", "–"]]
    assert table(text, "Lengths")[1] == ["train, response", "2.5", "2", "4", "4", "28"]
    made = table(text, "How it was made")
    sampler = "temperature 0.7, max\\_new\\_tokens 64"
    assert made[0] == ["teacher", "gpt-x", sampler, "1,200", "3", "45,000", "6,000", "1.25"]
    assert made[1][-1] == "not recorded" and ["attempts, right", "5"] in made
    assert (
        "seed: 7" in text and "their hash is `abc123`" in text and '{"path": "outputs/mine", "split": "train"}' in text
    )
    assert table(text, "Quality") == [
        ["checked, answers", "4"],
        ["dropped, near duplicate", "1"],
        ["overlap, mathvista", "0"],
    ]
    assert "| 30 | off |\n| 2 | too \\| long |" in text and "Rejected rows are no part of the dataset." in text
    assert "licence" not in text and "no such check" not in text and "where no price was set" in text


def test_the_card_says_what_is_unknown(dataset: Make) -> None:
    folder = dataset({"train": [example(1)]})
    assert main(["export", str(folder), "format=card"]) == 0
    front, text = read(folder / "README.md")
    assert "license" not in front
    assert "Its licence: none was given." in text and "the manifest records no such check" in text
    assert "No model was asked." in text and "No row was rejected." in text and "the manifest records none" in text


def test_splits_with_other_columns_are_configurations_of_their_own(dataset: Make, tmp_path: Path) -> None:
    folder = dataset({"train": [example(1)], "pairs": [pair(2)], "rl": [example(3, None)]})
    assert main(["export", str(folder), "format=card", f"output={tmp_path / 'card.md'}"]) == 0
    front, _ = read(tmp_path / "card.md")
    assert [(one["config_name"], [file["split"] for file in one["data_files"]]) for one in front["configs"]] == [
        ("conversations", ["train", "rl"]),
        ("pairs", ["pairs"]),
    ]
    assert not (folder / "README.md").exists()
    assert main(["export", str(folder), "format=trl", f"output={tmp_path / 'out'}"]) == 0
    front, text = read(tmp_path / "out" / "README.md")
    assert [one["config_name"] for one in front["configs"]] == ["sft", "pairs", "prompts"]
    assert 'pairs = load_dataset("THIS FOLDER", "pairs", split="pairs")  # for DPOTrainer' in text


def test_many_shards_are_named_by_what_they_have_in_common(dataset: Make, tmp_path: Path) -> None:
    from datasets import load_dataset

    rows = [Example(f"r{number}", [asked("Why?"), replied("So.")]) for number in range(23)]
    folder = dataset({"train": rows, "train-1": rows[:2]})
    assert main(["export", str(folder), "format=trl", f"output={tmp_path / 'out'}"]) == 0
    assert main(["export", str(folder), "format=card"]) == 0
    front, _ = read(folder / "README.md")
    files = front["configs"][0]["data_files"]
    assert [file["path"] for file in files] == [["train/?????.jsonl"], ["train-1/00000.jsonl"]]
    front, _ = read(tmp_path / "out" / "README.md")
    assert front["configs"][0]["data_files"][0]["path"] == ["data/train-?????-of-?????.parquet"]
    table = load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert table["id"] == [f"r{number}" for number in range(23)]


def test_a_built_dataset_keeps_its_bytes(grid: Path, tmp_path: Path) -> None:
    """The card is beside the dataset and no part of it; the same files give the same card."""
    for name in ("a", "b"):
        assert main(["export", str(grid), "format=card", f"output={tmp_path / name}"]) == 0
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert f"| train | {open_dataset(str(grid)).manifest['splits']['train']['rows']} |" in (tmp_path / "a").read_text()


@pytest.mark.parametrize(
    ("given", "written"),
    [("a|b", "a\\|b"), ("x\n# y", "x \\# y"), ("<b>", "\\<b\\>"), ("[a](b)", "\\[a\\](b)"), (3, "3")],
)
def test_cells_hold_no_markup(given: object, written: str) -> None:
    assert cell(given) == written


def test_names_of_splits_on_the_hub() -> None:
    assert re.fullmatch(r"\w+", hub_split("dev-set/1")) and hub_split("train") == "train"


def test_replies_are_never_markdown_of_the_card(dataset: Make) -> None:
    nasty = "---\nlicense: mit\n---\n# Mine | yours"
    folder = dataset(
        {"train": [example(1, facts={"kind": nasty}), example(2, facts={"kind": nasty})]}, rejects={nasty: 1}
    )
    assert main(["export", str(folder), "format=card"]) == 0
    front, text = read(folder / "README.md")
    assert "license" not in front and "\n# Mine" not in text and "\\# Mine \\| yours" in text
    assert replied("x")["role"] == "assistant"
