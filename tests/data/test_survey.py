"""What a survey counts, by hand."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from mmreflect.data.survey import mean, quantile, shape_of, shared_facts, survey_split


def row(number: int, reply: str | None = "a b c", **facts: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "two words"}]}]
    if reply is not None:
        messages.append({"role": "assistant", "content": reply})  # type: ignore[dict-item]
    return {"id": f"r{number}", "messages": messages, "images": ["x.png"], "answer": None, "facts": facts}


def write(folder: Path, rows: list[dict[str, Any]], shard: int = 2) -> list[str]:
    names = []
    for start in range(0, len(rows), shard):
        names.append(f"{start:05}.jsonl")
        (folder / names[-1]).write_text("".join(json.dumps(item) + "\n" for item in rows[start : start + shard]))
    return names


def test_quantiles_and_means() -> None:
    """Of 1, 1, 2, 9: half are at most 1, three quarters at most 2; the mean is 13 / 4."""
    counts = Counter({1: 2, 2: 1, 9: 1})
    assert [quantile(counts, share) for share in (0.5, 0.51, 0.75, 0.76, 1)] == [1, 2, 2, 9, 9]
    assert mean(counts) == 3.25
    assert quantile(Counter(), 0.5) is None and mean(Counter()) is None


def test_counts_of_a_split(tmp_path: Path) -> None:
    pair = {"prompt": [{"role": "user", "content": "q"}], "chosen": [{"role": "assistant", "content": "so it is"}]}
    pair |= {"id": "p", "rejected": [{"role": "assistant", "content": "no"}], "images": [], "answer": "1"}
    rows = [row(0, ok=True), row(1, "d", ok=False, level=2), row(2, None, ok=True, nested={"a": 1}), pair]
    found = survey_split(tmp_path, "train", write(tmp_path, rows))
    assert (found.rows, found.shards, found.answered, found.with_media) == (4, 2, 1, 3)
    assert found.shapes == {"sft": 2, "prompts": 1, "pairs": 1} and found.media == {"image": 3, "video": 0}
    assert found.facts == {"ok": {"yes": 2, "no": 1}, "level": {"2": 1}}
    words = {name: dict(lengths.words) for name, lengths in found.lengths.items()}
    assert words == {"question": {2: 3, 1: 1}, "response": {3: 1, 1: 1}, "chosen": {3: 1}, "rejected": {1: 1}}
    assert dict(found.lengths["rejected"].characters) == {2: 1}
    assert [shape_of(item) for item in rows] == ["sft", "sft", "prompts", "pairs"]


def test_facts_with_many_or_long_values_have_no_shares(tmp_path: Path) -> None:
    rows = [row(n, many=str(n), long="x" * 41, each=f"v{n % 8}", two=n % 2 == 0) for n in range(15)]
    found = survey_split(tmp_path, "train", write(tmp_path, rows))
    assert found.varied == {"many", "long"} and len(found.facts["each"]) == 8
    assert {key for key, _ in shared_facts([found])} == {"two"}, "8 values of 15 rows nearly name them"
    few = survey_split(tmp_path, "few", write(tmp_path, [row(n, many="same", two=True) for n in range(4)]))
    assert shared_facts([few]) == [("many", "same"), ("two", "yes")]
    keys = {key for key, _ in shared_facts([found, few])}
    assert keys == {"two", "each"}, "a fact varied in one split has no shares in any"


def test_every_kind_is_drawn_and_the_seed_decides(tmp_path: Path) -> None:
    """96 rows of one kind first, then 3 of a rare one."""
    rows = [row(n, kind="common") for n in range(96)] + [row(n, kind="rare") for n in range(96, 99)]
    shards = write(tmp_path, rows, 40)
    found = survey_split(tmp_path, "train", shards, seed=1)
    assert [(kind, len(drawn)) for kind, drawn in found.drawn.items()] == [("common", 12), ("rare", 3)]
    shown = [item["facts"]["kind"] for item in found.sample(4)]
    assert shown == ["common", "common", "rare", "rare"]
    names = [item["id"] for item in found.sample(4)]
    assert names[:2] != ["r0", "r1"], "not the first ones"
    assert names == [item["id"] for item in survey_split(tmp_path, "train", shards, seed=1).sample(4)]
    assert names != [item["id"] for item in survey_split(tmp_path, "train", shards, seed=2).sample(4)]
