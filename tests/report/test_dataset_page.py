"""The page of a dataset, entered by `mmreflect view` on folders made by hand."""

import base64
import html
import io
import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mmreflect.cli import main
from mmreflect.report.boxes import boxes_of
from mmreflect.report.histograms import bin_width, histogram

NASTY = "<script>alert(1)</script>"


def user(text: str, media: int = 0) -> dict[str, Any]:
    return {"role": "user", "content": [*[{"type": "image"}] * media, {"type": "text", "text": text}]}


def says(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": [{"type": "text", "text": text}]}


def row(number: int, reply: str | None = "<answer>1</answer>", **facts: Any) -> dict[str, Any]:
    turns = [user(f"Question {number}?", 1), *([] if reply is None else [says(reply)])]
    return {"id": f"r{number}", "messages": turns, "images": [f"media/{number}.png"], "answer": "1", "facts": facts}


def write_lines(file: Path, rows: list[dict[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(item) + "\n" for item in rows))


def write_dataset(folder: Path, splits: dict[str, list[dict[str, Any]]], whole: bool = True, **manifest: Any) -> Path:
    for split, rows in splits.items():
        write_lines(folder / split / "00000.jsonl", rows)
        for item in rows:
            for path in item["images"]:
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (120, 80), "white").save(folder / path)
    if whole:
        entries = {
            split: {"rows": len(rows), "shards": [{"file": f"{split}/00000.jsonl", "rows": len(rows), "sha256": ""}]}
            for split, rows in splits.items()
        }
        told = {"builder": "made", "config": {"seed": 3}, "splits": entries, "rejects": {}, **manifest}
        (folder / "manifest.json").write_text(json.dumps(told))
    return folder


def view(folder: Path) -> str:
    assert main(["view", str(folder)]) == 0
    return (folder / "index.html").read_text()


def words(page: str) -> str:
    body = re.sub(r"<style>.*?</style>", " ", page, flags=re.DOTALL)
    body = re.sub(r"<(script|svg).*?</\1>", " ", body, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def pictures(page: str) -> list[Image.Image]:
    found = re.findall(r'src="data:image/\w+;base64,([^"]+)"', page)
    return [Image.open(io.BytesIO(base64.b64decode(item))).convert("RGB") for item in found]


def test_a_dataset_without_its_run(tmp_path: Path) -> None:
    """As it comes from the Hub: who was asked, what was checked, and what was left out stand in the manifest."""
    told = {"model": "gpt-x", "sampler": {"temperature": 0.5}, "requests": 12, "refused_replies": 1, "tokens_in": 3400}
    asked = {"teacher": told | {"tokens_out": 560, "cost": 0.25}}
    folder = write_dataset(
        tmp_path / "set", {"train": [row(0), row(1, None)]}, asked=asked, prompts="beef", rejects={"too long": 9},
        counted={"attempts": 4}, quality={"checked": {"answers": 2}, "dropped": {"near duplicate": 7}},
        config={"seed": 3, "source": {"path": "mine", "split": "all"}},
    )  # fmt: skip
    text = words(view(folder))
    assert "Built by made." in text and "Not finished" not in text
    assert "train 2 100.0 % 1 sft, prompts 2 0 2" in text
    assert "seed 3" in text and "hash of the prompts beef" in text and "source path mine, split all" in text
    assert "teacher gpt-x temperature 0.5 12 1 3,400 560 0.25" in text
    assert "attempts 4" in text and "checked, answers 2" in text and "near duplicate 7 7" in text
    assert "too long 9" in text and "Their log is not in this folder." in text
    assert "rows 2 splits 1 rejected" in text


def test_an_unfinished_build_says_how_far_it_is(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "set", {"train": [row(0), row(1)]}, whole=False)
    (folder / "run.json").write_text(json.dumps({"verb": "build", "name": "made", "mmreflect": "0.1.0"}))
    (folder / "config.yaml").write_text("seed: 0\nsplits: {train: 8, test: 2}\n")
    write_lines(folder / "rejects" / "train-00000.jsonl", [{"split": "train", "index": 2, "reason": "off"}])
    text = words(view(folder))
    assert "Not finished: this run has no result.json yet." in text
    assert "This build is not finished: 3 of 10 rows are done, 2 of them made and 1 rejected." in text
    assert "rows 2 so far" in text and "Who was asked, and what it took, is in the manifest once" in text


def test_rejected_rows_stand_apart_with_their_reason(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "set", {"train": [row(0)]}, rejects={"off": 9, NASTY: 1})
    rejects = [
        {"split": "train", "index": n, "id": f"x{n}", "reason": "off", "detail": f"detail {n}"} for n in range(9)
    ]
    write_lines(folder / "rejects" / "train-00000.jsonl", [*rejects, {"split": "train", "index": 9, "reason": NASTY}])
    page = view(folder)
    text = words(page)
    shown, rejected = text.split("These rows are no part of the dataset.")
    assert "detail" not in shown and "Question 0?" in shown
    assert "off 9 <script>" in rejected and "<script>alert" not in page
    assert [int(place) for place in re.findall(r"detail: detail (\d)", rejected)] == [0, 3, 6]
    assert "train 3 x3" in rejected and "nothing more" in rejected


def test_pairs_stand_side_by_side(tmp_path: Path) -> None:
    pair = {
        "id": "p", "prompt": [{"role": "system", "content": "Be brief."}, user("Which?")], "chosen": [says("This one")],
        "rejected": [says("That <think>one</think>")], "images": [], "videos": [], "answer": "this", "facts": {"error_step": 2},
    }  # fmt: skip
    page = view(write_dataset(tmp_path / "set", {"train": [pair]}))
    (article,) = re.findall(r"<article>.*?</article>", page, re.DOTALL)
    assert article.count('<div class="reply">') == 2
    told = words(article)
    assert told.index("chosen shall win This one 2 words, 8 characters") < told.index("rejected shall lose That")
    assert '<span class="chip wrong">shall lose</span>' in article and '<div class="block think">' in article
    assert "system prompt Be brief." in told and "error step 2" in told and "right answer this" in told


def test_reflections_and_verdicts_are_marked(tmp_path: Path) -> None:
    tagged = row(0, "<think>t</think><answer>2</answer><reflection>Wait</reflection><answer>1</answer>",
                 kind="srpo_reflection", first_answer="2", first_correct=False, final_answer="1", final_correct=True)  # fmt: skip
    plain = row(1, "So it is 2. Wait, it is 1.", kind="lemma_fix", error_prefix=11)
    safety = row(2, "<think>t</think><reflect>It harms.</reflect><revise>No.</revise>", kind="revision")
    page = view(write_dataset(tmp_path / "set", {"train": [tagged, plain, safety]}))
    articles = {words(item).split("?")[0][-1]: item for item in re.findall(r"<article>.*?</article>", page, re.DOTALL)}
    assert "first 2 ✗ wrong" in words(articles["0"]) and "final 1 ✓ right" in words(articles["0"])
    assert re.search(r'class="block reflection"><span class="tag">&lt;reflection', articles["0"])
    assert (
        '<div class="block plain">So it is 2.</div><div class="block reflection"> Wait, it is 1.</div>' in articles["1"]
    )
    assert 'class="block reflection"><span class="tag">&lt;reflect&gt;' in articles["2"]
    assert 'class="block answer"><span class="tag">&lt;revise&gt;' in articles["2"]


def test_noted_places_are_drawn_into_the_picture(tmp_path: Path) -> None:
    """The picture is white; the outline runs through (20, 10) and (60, 40), and nothing is inside it."""
    noted = row(0, boxes=[{"label": "cat", "box": [20, 10, 60, 40]}])
    page = view(write_dataset(tmp_path / "set", {"train": [noted, row(1)]}))
    found = pictures(page)
    assert len(found) == 3, "the picture as it is, with its places, and the other one"
    drawn = next(item for item in found if item.getpixel((20, 20)) != (255, 255, 255))
    assert drawn.getpixel((40, 10)) == drawn.getpixel((60, 30)) == drawn.getpixel((20, 20)) == (209, 36, 47)
    assert drawn.getpixel((50, 35)) == drawn.getpixel((80, 60)) == (255, 255, 255)
    assert "1 noted place: cat 1" in words(page)


def test_places_are_read_from_both_forms() -> None:
    chart = {"elements": [{"role": "bar", "box": [1, 9, 4, 2]}, {"role": "title"}, "x"]}
    for form in (chart, json.dumps(chart)):
        (box,) = boxes_of({"chart": form})
        assert (box.label, box.edges, box.named) == ("bar", (1.0, 2.0, 4.0, 9.0), False)
    (box,) = boxes_of({"boxes": [{"label": "a", "box": [0, 0, 2, 2]}, {"box": [1, 2, 3]}, {"box": [0, 0, None, 1]}, 3]})
    assert box.named and box.label == "a"
    assert boxes_of({"chart": "no JSON", "boxes": "none"}) == boxes_of({}) == []


def test_every_kind_and_split_is_shown(tmp_path: Path) -> None:
    rows = [row(number, kind="common") for number in range(40)] + [row(40, kind="rare")]
    folder = write_dataset(tmp_path / "set", {"train": rows, "test": [row(50)]})
    text = words(view(folder))
    assert (
        "train: 13 of 41 rows" in text
        and "test: 1 of 1 row" in text
        and "Question 40?" in text
        and "Question 50?" in text
    )
    assert view(folder) == view(folder)


@pytest.mark.parametrize(("low", "high", "width"), [(0, 0, 1), (0, 23, 1), (0, 24, 2), (6, 31, 2), (0, 119, 5), (0, 120, 10), (3, 1000, 50)])  # fmt: skip
def test_widths_of_bins(low: int, high: int, width: int) -> None:
    assert bin_width(low, high) == width


def test_a_histogram_by_hand() -> None:
    """0 to 24 needs bins of 2: 0 and 1 are three, 24 is one; the higher bar has 106 of the plot's height."""
    plot = histogram("Words", Counter({0: 1, 1: 2, 24: 1}), "words")
    found = re.findall(r'<rect class="bin" x="([\d.]+)" y="([\d.]+)" width="[\d.]+" height="([\d.]+)"', plot.svg)
    assert [(float(x), float(height)) for x, _, height in found] == [(8, 106), (325.54, 35.33)]
    assert histogram("Words", Counter([3]), "words").remark == "1 text, 1 word to a bar."
    assert plot.remark == "4 texts, 2 words to a bar." and "0 to 1: 3; 24 to 25: 1." in plot.svg
    with pytest.raises(ValueError, match="nothing is counted"):
        histogram("Words", Counter(), "words")


def test_a_real_build_through_the_front_door(tmp_path: Path, run_cli: Callable[..., tuple[int, str]]) -> None:
    tree = {"builder": "grid", "splits": {"train": 6, "rl": 3}, "output": str(tmp_path / "data")}
    code, text = run_cli("build", tree)
    assert code == 0, text
    shown = words(view(tmp_path / "data"))
    assert "train: 6 of 6 rows" in shown and "rl: 3 of 3 rows" in shown and "No model was asked." in shown


def test_a_part_says_what_it_is(tmp_path: Path, run_cli: Callable[..., tuple[int, str]]) -> None:
    tree = {"builder": "grid", "splits": {"train": 6}, "shard_rows": 2, "output": str(tmp_path / "part")}
    assert run_cli("build", tree, "shard=1/2")[0] == 0
    shown = words(view(tmp_path / "part"))
    assert "This is part 1/2 of a dataset: 4 rows, and 0 rejected." in shown and "mmreflect build merge OUT" in shown
    assert "rows 4 of part 1/2" in shown and "train: 4 of 4 rows" in shown and "not finished" not in shown


def test_a_cut_build_with_marks_is_shown(tmp_path: Path, run_cli: Callable[..., tuple[int, str]]) -> None:
    tree = {"builder": "grid", "splits": {"train": 6}, "shard_rows": 2, "output": str(tmp_path / "cut")}
    assert run_cli("build", tree)[0] == 0
    for name in ("manifest.json", "result.json", "train/00002.jsonl"):
        (tmp_path / "cut" / name).unlink()
    shown = words(view(tmp_path / "cut"))
    assert "This build is not finished: 4 of 6 rows are done" in shown


def quality() -> dict[str, Any]:
    checks = {"answer": {"passed": 5, "failed": 2}, "rejected_side": {"does not apply": 7}, "leak": {"exempt": 7}}
    compared = {"rows": 5, "exempt": 0, "found": {"near": 3}, "dropped": {"near": 1}}
    return {"checks": checks, "compared": compared, "dropped": {"near": 1, "wrong": 2}, "settings": {"likeness": 0.8}}


def test_quality_is_one_table_below_the_rows(tmp_path: Path) -> None:
    page = view(write_dataset(tmp_path / "set", {"train": [row(0)]}, quality=quality()))
    text = words(page)
    assert text.index("Question 0?") < text.index("check passed failed exempt does not apply")
    assert "answer 5 2 – – rejected side – – – 7 leak – – 7 –" in text
    assert "found rows dropped near 3 1 wrong 2 2" in text and "compared with each other rows rows 5" in text
    assert "likeness" not in text and "checks, " not in text


def test_how_many_rows_and_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_dataset(tmp_path / "set", {"train": [row(number) for number in range(30)]})
    assert "train: 12 of 30 rows" in words(view(folder))
    assert main(["view", str(folder), "rows=20", "pictures=5"]) == 0
    page = (folder / "index.html").read_text()
    assert "train: 20 of 30 rows" in words(page) and len(pictures(page)) == 5
    assert "15 pictures left out: the page has room for no more; pictures=N sets it." in words(page)
    assert main(["view", str(folder), "rows=0"]) == 0
    assert "Question 1" not in words((folder / "index.html").read_text())
    assert main(["view", str(folder), "rows=few"]) == 2 and "rows=few" in capsys.readouterr().err


def test_rejected_rows_can_be_read(tmp_path: Path, run_cli: Callable[..., tuple[int, str]]) -> None:
    """A right answer that is taken for a leak: the page shows question and response beside the reason."""
    long = " ".join(f"word{number}" for number in range(400))
    rows = [
        {"id": "good", "question": "How much is 2 + 2?", "answer": "4", "response": "It is \\boxed{4}"},
        {
            "id": "lost",
            "question": f"How much is 1 + 2? {long}",
            "answer": "3",
            "response": "The ground truth is \\boxed{3}",
        },
    ]
    write_lines(tmp_path / "rows.jsonl", rows)
    tree = {
        "builder": "rows",
        "source": str(tmp_path / "rows.jsonl"),
        "validation": 0.0,
        "output": str(tmp_path / "out"),
    }
    code, text = run_cli("build", tree)
    assert code == 0, text
    (reject,) = [json.loads(line) for line in (tmp_path / "out/rejects/train-00000.jsonl").read_text().splitlines()]
    assert reject["response"] == "The ground truth is \\boxed{3}" and len(reject["question"]) == 1500
    page = view(tmp_path / "out")
    shown = words(page).split("These rows are no part of the dataset.")[1]
    assert "How much is 1 + 2?" in shown and "The ground truth is" in shown and f"{reject['reason']}: 1 of 1" in shown
    assert f'<span class="chip wrong">{reject["reason"]}</span>' in page
