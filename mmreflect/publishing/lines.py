"""Layouts that are a JSONL file for every split, with the media beside it."""

from collections.abc import Callable, Iterator
from pathlib import Path

from mmreflect.data.store import Row, read_rows
from mmreflect.data.survey import SplitSurvey
from mmreflect.errors import UserError
from mmreflect.files import to_json
from mmreflect.publishing.conversations import Conversation, Shape, Unfit, conversations, shape_of_split
from mmreflect.publishing.layouts import Exported, Shelf, Source

ToRow = Callable[[Conversation, Shape, list[str]], Row]
"""Makes a line of a conversation, what its split trains, and the kinds of media that the split shows."""


def write_lines(source: Source, folder: Path, shelf: Shelf, to_row: ToRow, tool: str) -> Exported:
    """Write a file for every split that has rows in the layout, and the media of these rows.

    Args:
        to_row: raises `Unfit` for a row that the layout cannot hold; it is left out, and counted.

    Raises:
        UserError: no row of any split can be written.
    """
    made = Exported()
    for split in source.splits:
        shape, file, count = shape_of_split(split), folder / f"{split.name}.jsonl", 0
        with open(file, "w", encoding="utf-8") as stream:
            for row, line in _lines(source, split, shape, to_row, made):
                shelf.bring(row)
                stream.write(line + "\n")
                made.see_mask(row, shape)
                count += 1
        if count:
            made.rows[split.name], made.shapes[split.name], made.files[split.name] = count, shape, [file.name]
        else:
            file.unlink()
    if not made.rows:
        reasons = "; ".join(f"{reason} ({count})" for reason, count in made.left_out.most_common(3))
        raise UserError(
            f"no row of {source.dataset.path} can be written for {tool}: {reasons or 'it has none'}",
            "rows that its layout holds",
            "choose another format",
        )
    return made


def media_kinds(split: SplitSurvey) -> list[str]:
    """Return the kinds of media that any row of a split shows: a column is in all rows of a file, or in none."""
    return [kind for kind in ("image", "video") if split.media[kind]]


def _lines(
    source: Source, split: SplitSurvey, shape: Shape, to_row: ToRow, made: Exported
) -> Iterator[tuple[Conversation, str]]:
    kinds = media_kinds(split)
    for shard in source.shards(split.name):
        rows = read_rows(source.dataset.path / shard)
        for row in conversations(source.dataset, split.name, shard, rows, shape, made.left_out):
            try:
                yield row, to_json(to_row(row, shape, kinds))
            except Unfit as unfit:
                made.left_out[f"{split.name}: {unfit}"] += 1
