"""Charts through the front door: built, in parallel, to the same bytes; checked, trained on, evaluated, viewed."""

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmreflect import recipes
from mmreflect.answers.grade import verify
from mmreflect.answers.spec import spec_of
from mmreflect.charts.elements import annotation_of
from mmreflect.config import load_yaml, parse
from mmreflect.data.store import open_dataset
from mmreflect.records import Sample

Cli = Callable[..., tuple[int, str]]
ROOT = Path(__file__).parent.parent.parent


def digest(folder: Path) -> dict[str, str]:
    ignored = {"config.yaml", "result.json", "run.lock", "run.json"}
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in ignored)
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def config_of(output: Path, **changes: Any) -> dict[str, Any]:
    tree = load_yaml(ROOT / "configs/build/chart.yaml")
    sizes = {"train": 12, "validation": 6}
    return tree | {
        "output": str(output),
        "splits": sizes,
        "shard_rows": 6,
        "workers": 1,
        "multiple_choice": 0.5,
        **changes,
    }


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from mmreflect.cli import main

    folder = tmp_path_factory.mktemp("charts")
    (folder / "c.yaml").write_text(json.dumps(config_of(folder / "data", workers=2)))
    assert main(["build", str(folder / "c.yaml")]) == 0
    return folder / "data"


@pytest.fixture(scope="module")
def samples(built: Path) -> list[Sample]:
    dataset = open_dataset(str(built))
    return [sample for split in dataset.splits() for sample in dataset.samples(split)]


def test_one_process_and_two_build_the_same_bytes(built: Path, run_cli: Cli, tmp_path: Path) -> None:
    code, text = run_cli("build", config_of(tmp_path / "one"))
    assert code == 0, text
    assert digest(tmp_path / "one") == digest(built)
    assert (
        len(digest(built)) == 18 + 3 + 3 + 2 + 1 + 1
    )  # pictures, shards, marks, what rows were asked and compared with, manifest, README
    quality = open_dataset(str(built)).manifest["quality"]
    assert quality["checks"]["repetition"] == {"exempt": 18}, "who counts says the same of every element"
    assert quality["dropped"] == {} and quality["compared"]["found"] == {}, "charts of one style are no repeats"


def test_a_row_is_a_function_of_its_place_alone(built: Path) -> None:
    leaf = recipes.load("builder", "chart")
    tree = config_of(Path("x"))
    tree.pop("builder")
    config = parse(leaf.Config, tree, "chart")
    last = leaf.make(config, "train", 11)
    row = list(open_dataset(str(built)).rows("train"))[11]
    assert last.facts == row["facts"] and last.messages == row["messages"] and last.answer == row["answer"]


def test_rows_are_graded_right_by_their_own_answers_and_solutions(samples: list[Sample]) -> None:
    for sample in samples:
        spec = spec_of(sample.facts)
        assert verify(f"<answer>{sample.gold}</answer>", sample.gold, spec).correct is True
        if sample.response is not None:
            assert verify(sample.response, sample.gold, spec).correct is True
    assert {sample.id.split("-")[0] for sample in samples if sample.response} == {"train"}


def test_facts_hold_the_elements_of_the_picture(samples: list[Sample]) -> None:
    from PIL import Image

    from mmreflect.charts.proof import unseen

    for sample in samples:
        note = annotation_of(sample.facts)
        with Image.open(sample.media[0].path) as picture:
            assert picture.size == note.size and unseen(picture, note.elements) == []
        assert note.kind == sample.facts["kind"] and len(note.values) == len(note.rows)
        looked = [place for _, places in note.steps for place in places]
        assert looked and max(looked) < len(note.elements), sample.question
        assert annotation_of({"chart": note.to_json()}) == note


@pytest.mark.slow
def test_the_elements_of_a_thousand_charts_are_seen_where_they_are_noted(run_cli: Cli, tmp_path: Path) -> None:
    """Of all kinds and levels, in the pictures as they are stored, and in first drawings, which nothing has refused."""
    from PIL import Image

    from mmreflect.charts.making import SKILLS, first_chart
    from mmreflect.charts.proof import CHECKED, unseen
    from mmreflect.charts.tables import KINDS

    tree = config_of(tmp_path / "data", splits={"train": 1008}, shard_rows=126, workers="auto")
    code, text = run_cli("build", tree)
    assert code == 0, text
    leaf = recipes.load("builder", "chart")
    config = parse(leaf.Config, {key: value for key, value in tree.items() if key != "builder"}, "chart")
    checked = missed = 0
    kinds, skills = Counter[str](), Counter[str]()
    for sample in open_dataset(str(tmp_path / "data")).samples("train"):
        note = annotation_of(sample.facts)
        with Image.open(sample.media[0].path) as picture:
            assert unseen(picture, note.elements) == []
        if sample.facts["refused"]:
            place = int(sample.id.split("-")[1])
            first = first_chart(config.seed, "train", place, kinds=config.kinds, skills=config.skills)
            missed += len(unseen(first.picture, first.elements))
        checked += sum(element.role in CHECKED for element in note.elements)
        kinds[note.kind] += 1
        skills[sample.facts["skill"]] += 1
        assert verify(sample.response or "", sample.gold, spec_of(sample.facts)).correct is True
    assert kinds.total() >= 1000 and checked > 30_000 and missed <= 0.005 * checked, (checked, missed)
    assert set(kinds) == set(KINDS) and min(kinds.values()) >= 50, kinds
    assert set(skills) == set(SKILLS) and min(skills.values()) >= 50, skills


def test_options_hold_the_answer_once(run_cli: Cli, tmp_path: Path) -> None:
    tree = config_of(tmp_path / "data", splits={"train": 16}, multiple_choice=1.0, kinds=["bar", "pie"], shard_rows=16)
    assert run_cli("build", tree)[0] == 0
    kinds = set()
    for sample in open_dataset(str(tmp_path / "data")).samples("train"):
        facts = sample.facts
        kinds.add(facts["answer_type"])
        if facts["answer_type"] == "multiple_choice":
            assert len(set(facts["options"])) == len(facts["options"]) >= 3
            chosen = facts["options"]["ABCD".index(sample.gold or "")]
            assert f"\n{sample.gold}. {chosen}" in sample.question and "is option" in (sample.response or "")
    assert "multiple_choice" in kinds


def test_loads_in_datasets_whatever_the_kind(run_cli: Cli, tmp_path: Path) -> None:
    """By its folder alone; in shards so small that what one kind of chart leaves empty another fills."""
    import datasets

    tree = config_of(tmp_path / "data", splits={"train": 18, "validation": 3}, shard_rows=2)
    assert run_cli("build", tree)[0] == 0
    loaded = datasets.load_dataset(str(tmp_path / "data"), cache_dir=str(tmp_path / "cache"))
    rows = list(open_dataset(str(tmp_path / "data")).rows("train"))
    assert len(loaded["train"]) == 18 and len(loaded["validation"]) == 3
    for row, own in zip(loaded["train"], rows, strict=True):
        assert annotation_of(row["facts"]) == annotation_of(own["facts"]) and annotation_of(row["facts"]).elements
        assert row["messages"][-1]["content"][0]["text"] == own["messages"][-1]["content"][0]["text"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"solutions": ["trian"]}, "did you mean 'train'?"),
        ({"kinds": ["pie"], "skills": ["trend"]}, "skills trend cannot be asked of pie"),
        ({"kinds": ["pies"]}, "kinds.0"),
        ({"workers": 0}, "workers"),
    ],
)
def test_options_that_do_not_fit(tmp_path: Path, changes: dict[str, Any], message: str, run_cli: Cli) -> None:
    code, text = run_cli("build", config_of(tmp_path / "data", **changes))
    assert code == 2 and message in text and not (tmp_path / "data").exists()


def test_without_matplotlib(tmp_path: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, text = run_cli("build", config_of(tmp_path / "data"))
    assert code == 2 and "charts are drawn by matplotlib, which is not installed" in text
    assert "pip install 'mmreflect[charts]'" in text


def test_charts_are_trained_on_evaluated_and_viewed(
    built: Path, tmp_path: Path, run_cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    from mmreflect.cli import main

    tiny = "{path: tiny, tiny: {hidden_size: 32, layers: 2, heads: 2, vision_hidden_size: 32}}"
    data = f"{{path: {built}, split: train, max_pixels: 12544}}"
    train = f"method: sft\noutput: {tmp_path / 'sft'}\nmodel: {tiny}\ndata: {data}\n"
    train += "trainer: {max_steps: 2, per_device_train_batch_size: 2, gradient_accumulation_steps: 1, bf16: false}\n"
    code, text = run_cli("check", train)
    assert code == 0, text
    code, text = run_cli("train", train)
    assert code == 0, text
    asked = {"path": str(built), "split": "validation", "max_pixels": 12544}
    evaluation = {"benchmark": "dataset", "output": str(tmp_path / "eval"), "model": str(tmp_path / "sft/model"), "data": asked, "max_new_tokens": 4}  # fmt: skip
    code, text = run_cli("eval", evaluation)
    assert code == 0, text
    assert len((tmp_path / "eval/samples.jsonl").read_text().splitlines()) == 6
    capsys.readouterr()
    assert main(["view", str(built)]) == 0
    page = Path(capsys.readouterr().out.split("page: ")[1].strip()).read_text()
    question = next(open_dataset(str(built)).samples("validation")).question.splitlines()[0]
    assert "multi_step" in page and question.replace("'", "&#39;") in page and "data:image" in page
