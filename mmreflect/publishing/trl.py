"""Tables for TRL's own trainers: parquet with the pictures inside, as `datasets` loads it.

What TRL 1.16 takes for vision: SFTTrainer `messages` and `images`, DPOTrainer `prompt`, `chosen`, `rejected` and
`images`, GRPOTrainer `prompt` and `images`; all other columns reach the rewards of GRPO, and are dropped elsewhere.
Each placeholder of a picture is filled from `images` in order. None of them takes videos. Where no row of a split
shows a picture there is no `images` column and content is text, so that a language model trains on it too.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from mmreflect.data.store import Row, read_rows
from mmreflect.data.survey import SplitSurvey
from mmreflect.errors import UserError
from mmreflect.files import to_json
from mmreflect.publishing.conversations import Conversation, Shape, Unfit, conversations, shape_of_split
from mmreflect.publishing.layouts import Exported, Shelf, Source, medium
from mmreflect.records import Message, content_parts, text_of

ROW_GROUP = 64
"""Rows that are in memory with their pictures at the same time."""
TRAINERS: dict[Shape, str] = {"sft": "SFTTrainer", "pairs": "DPOTrainer", "prompts": "GRPOTrainer"}
_TURNS: dict[Shape, tuple[str, ...]] = {
    "sft": ("messages",), "pairs": ("prompt", "chosen", "rejected"), "prompts": ("prompt",),
}  # fmt: skip


def write(source: Source, folder: Path, shelf: Shelf, name: str) -> Exported:
    """Write a parquet file for every shard that has rows in this layout.

    Args:
        shelf, name: not used: the pictures are inside the tables, which need no name.

    Raises:
        UserError: no row of any split can be written.
    """
    made = Exported()
    for split in source.splits:
        shape = shape_of_split(split)
        files, rows = _write_split(source, split, shape, folder, made)
        if rows:
            made.files[split.name], made.shapes[split.name], made.rows[split.name] = files, shape, rows
    if not made.rows:
        reasons = "; ".join(f"{reason} ({count})" for reason, count in made.left_out.most_common(3))
        raise UserError(
            f"no row of {source.dataset.path} can be written for TRL: {reasons or 'it has none'}",
            "rows with text and pictures",
            "choose format=llama_factory or format=ms_swift, which take videos",
        )
    made.usage = ["```python", "from datasets import load_dataset", ""]
    configs = len(set(made.shapes.values())) > 1
    for split_name, shape in made.shapes.items():
        config = f', "{shape}"' if configs else ""
        made.usage.append(
            f'{split_name} = load_dataset("THIS FOLDER"{config}, split="{split_name}")  # for {TRAINERS[shape]}'
        )
    made.usage.append("```")
    return made


def _write_split(
    source: Source, split: SplitSurvey, shape: Shape, folder: Path, made: Exported
) -> tuple[list[str], int]:
    import pyarrow  # type: ignore[import-untyped]
    from pyarrow import parquet

    shards, files, count = source.shards(split.name), [], 0
    pictured = bool(split.media["image"])
    schema = _features(shape, pictured).arrow_schema
    for number, shard in enumerate(shards):
        file = folder / "data" / f"{split.name}-{number:05}-of-{len(shards):05}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        before = count
        with parquet.ParquetWriter(file, schema) as writer:
            rows = _rows(source, split, shard, shape, made)
            while batch := [_row(source, row, shape, pictured) for row in islice(rows, ROW_GROUP)]:
                writer.write_table(pyarrow.Table.from_pylist(batch, schema=schema))
                count += len(batch)
        if count == before:
            file.unlink()
        else:
            files.append(str(file.relative_to(folder)))
    return files, count


def _features(shape: Shape, pictured: bool) -> Any:
    from datasets import Features, Image, List, Value

    content = List({"type": Value("string"), "text": Value("string")}) if pictured else Value("string")
    turns = List({"role": Value("string"), "content": content})
    columns: dict[str, Any] = {"id": Value("string"), **dict.fromkeys(_TURNS[shape], turns)}
    if pictured:
        columns["images"] = List(Image())
    return Features(columns | {"answer": Value("string"), "facts": Value("string")})


def _rows(source: Source, split: SplitSurvey, shard: str, shape: Shape, made: Exported) -> Iterator[Conversation]:
    rows = read_rows(source.dataset.path / shard)
    for row in conversations(source.dataset, split.name, shard, rows, shape, made.left_out):
        try:
            _check(row)
        except Unfit as unfit:
            made.left_out[f"{split.name}: {unfit}"] += 1
            continue
        made.see_mask(row, shape)
        yield row


def _check(row: Conversation) -> None:
    if row.videos:
        raise Unfit("it shows a video, which TRL's trainers do not take")
    if any(part["type"] != "text" for turn in [*row.chosen, *row.rejected] for part in content_parts(turn["content"])):
        raise Unfit("a reply shows a picture")


def _row(source: Source, row: Conversation, shape: Shape, pictured: bool) -> Row:
    whole = [*row.prompt, *row.chosen] if shape == "sft" else row.prompt
    columns = dict(zip(_TURNS[shape], (whole, row.chosen, row.rejected), strict=False))
    found: Row = {"id": row.id, **{name: _turns(turns, pictured) for name, turns in columns.items()}}
    if pictured:
        folder = source.dataset.path
        found["images"] = [
            {"bytes": medium(folder, row.id, path).read_bytes(), "path": Path(path).name} for path in row.images
        ]
    return found | {"answer": row.answer, "facts": to_json(row.facts)}


def _turns(turns: list[Message], pictured: bool) -> list[Row]:
    if not pictured:
        return [{"role": turn["role"], "content": text_of(turn["content"])} for turn in turns]
    return [
        {
            "role": turn["role"],
            "content": [{"type": part["type"], "text": part.get("text")} for part in content_parts(turn["content"])],
        }
        for turn in turns
    ]
