"""The page of a dataset: what was built and from what, what was left out and why, and rows to read."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from mmreflect.data.survey import ROWS_PER_KIND, Lengths, SplitSurvey, mean, quantile, shared_facts
from mmreflect.report.album import Album
from mmreflect.report.checking import flat, quality_section, rejects_section, words
from mmreflect.report.data import DatasetView, dataset_of
from mmreflect.report.folders import Folder
from mmreflect.report.gallery import left_out_notes
from mmreflect.report.histograms import histogram
from mmreflect.report.layout import Cell, Figures, Gallery, Parts, PlotBlock, Section, Table, plots_section
from mmreflect.report.numbers import NONE, Figure, counted, percent, quantity
from mmreflect.report.plots import Bar, bars
from mmreflect.report.rows import row_example

MOST_KINDS = 10
"""A split with more kinds of rows shows as many as this times the rows of one kind, of every kind in turn."""
_DRAWN = (
    "kind",
    "regime",
    "first_correct",
    "final_correct",
    "error_kind",
    "error_type",
    "answer_type",
    "skill",
    "level",
)
"""Facts whose shares are drawn, where a dataset has them; all are in the table."""


def parts(run: Folder, album: Album, each: int = ROWS_PER_KIND) -> Parts:
    """Return what the page of a build, or of a dataset without its run, shows.

    Args:
        each: rows of each kind of each split to look at.
    """
    view = dataset_of(run, each)
    total = sum(split.rows for split in view.splits)
    sections = [
        _content(view),
        plots_section("shares", "Shares", [_shares(view.splits)]),
        plots_section("lengths", "Lengths", [_lengths(view.splits)]),
        _rows(run, view, album, each),
        rejects_section(view),
        quality_section(view),
        plots_section("made", "How it was made", [_made(run, view)]),
    ]
    lead = [] if view.complete else [_so_far(view, total)]
    return "A dataset", f"Built by {run.name}.", lead, _figures(view, total), sections


def _so_far(view: DatasetView, total: int) -> str:
    if view.part:
        return (
            f"This is part {view.part} of a dataset: {total:,} rows, and {view.rejected:,} rejected. No other part is "
            "in it, and rows are compared with those of other parts when all are put together: mmreflect build merge "
            "OUT PART PART ..."
        )
    done, asked = total + view.rejected, "" if view.planned is None else f" of {view.planned:,}"
    return (
        f"This build is not finished: {done:,}{asked} rows are done, {total:,} of them made and {view.rejected:,} "
        "rejected. Run the same mmreflect build again; it goes on where it stopped."
    )


def _figures(view: DatasetView, total: int) -> Figures:
    figures = [("rows", Figure(f"{total:,}", remark=_extent(view)))]
    figures += [("splits", Figure(f"{len(view.splits):,}")), ("rejected", Figure(f"{view.rejected:,}"))]
    for kind, name in (("image", "pictures"), ("video", "videos")):
        if count := sum(split.media[kind] for split in view.splits):
            figures.append((name, Figure(f"{count:,}")))
    costs = [told["cost"] for told in view.manifest.get("asked", {}).values() if told.get("cost") is not None]
    return figures + ([("cost", Figure(quantity(sum(costs)), remark="at the price set"))] if costs else [])


def _extent(view: DatasetView) -> str:
    return "" if view.complete else f"of part {view.part}" if view.part else "so far"


def _content(view: DatasetView) -> Section:
    total = sum(split.rows for split in view.splits)
    header = ("split", "rows", "share", "shards", "what", "pictures", "videos", "with an answer")
    rows = [
        [
            split.name,
            f"{split.rows:,}",
            percent(split.rows / total if total else 0.0),
            f"{split.shards:,}",
            ", ".join(shape for shape, _ in split.shapes.most_common()) or NONE,
            f"{split.media['image']:,}",
            f"{split.media['video']:,}",
            f"{split.answered:,}",
        ]
        for split in view.splits
    ]
    tables = [Table(header, rows)] if rows else []
    shards = f"part {view.part}" if view.part else "the shards so far"
    notes = [] if view.complete else [f"There is no manifest.json yet: the counts are of {shards}."]
    if len({split.name for split in view.splits if split.shapes["pairs"]}):
        notes.append("Pairs have a reply that shall win and one that shall lose.")
    return Section("content", "What was built", "gallery", Gallery(notes, tables, []))


def _shares(splits: Sequence[SplitSurvey]) -> PlotBlock:
    facts = shared_facts(splits)
    block = PlotBlock(packed=True)
    total = sum(split.rows for split in splits)
    known = [key for key in _DRAWN if sum(name == key for name, _ in facts) > 1]
    for key in known:
        values: Counter[str] = Counter()
        for split in splits:
            values.update(split.facts.get(key, {}))
        told = [Bar(_short(value), count / total) for value, count in sorted(values.items(), key=lambda item: -item[1])]
        block.plots.append(bars(key.replace("_", " "), told))
    if facts:
        rows = [[f"{key}: {value}", *(_share(split, key, value) for split in splits)] for key, value in facts]
        block.tables.append(Table(("share of rows with", *(split.name for split in splits)), rows))
    if block.plots:
        block.notes.append("Of all rows; the table has them by split.")
    return block


def _share(split: SplitSurvey, key: str, value: str) -> str:
    values = split.facts.get(key)
    return NONE if values is None or not split.rows else percent(values[value] / split.rows)


def _short(text: str) -> str:
    return text if len(text) <= 18 else f"{text[:17]}…"


def _lengths(splits: Sequence[SplitSurvey]) -> PlotBlock:
    block = PlotBlock()
    names = list(dict.fromkeys(name for split in splits for name in split.lengths))
    for name in names:
        words: Counter[int] = Counter()
        for split in splits:
            words.update(split.lengths[name].words if name in split.lengths else {})
        block.plots.append(histogram(name.capitalize(), words, "words"))
    header = ("of", "mean, words", "median", "95 % at most", "longest", "longest, characters")
    rows = [[f"{split.name}, {name}", *_length(found)] for split in splits for name, found in split.lengths.items()]
    block.tables += [Table(header, rows, whole=True)] if rows else []
    return block


def _length(found: Lengths) -> list[str]:
    middle = mean(found.words)
    values = [quantile(found.words, share) for share in (0.5, 0.95, 1)] + [quantile(found.characters, 1)]
    return [
        NONE if middle is None else quantity(middle),
        *(NONE if value is None else f"{value:,}" for value in values),
    ]


def _made(run: Folder, view: DatasetView) -> PlotBlock:
    config, manifest = run.config, view.manifest
    rows: list[Sequence[Cell]] = [["builder", run.name], ["seed", str(config.get("seed", "not recorded"))]]
    if "prompts" in manifest:
        rows.append(["hash of the prompts", str(manifest["prompts"])])
    for key in ("source", "sources"):
        rows += [[key, words(config[key])]] if config.get(key) else []
    tables = [Table(("", "value"), rows, prose=True, whole=True)]
    asked = manifest.get("asked") or {}
    if asked:
        header = ("asked", "model", "sampler", "requests", "refused replies", "tokens in", "tokens out", "cost")
        tables.append(Table(header, [_asked(part, told) for part, told in asked.items()], prose=True, whole=True))
    lines = flat(manifest.get("counted"))
    tables += [Table(("counted while building", "value"), lines, whole=True)] if lines else []
    notes = [] if asked or not view.complete else ["No model was asked."]
    notes += [] if view.complete else ["Who was asked, and what it took, is in the manifest once the dataset is whole."]
    return PlotBlock(notes=notes, tables=tables)


def _asked(part: str, told: Mapping[str, Any]) -> list[str]:
    numbers = [f"{told.get(key, 0):,}" for key in ("requests", "refused_replies", "tokens_in", "tokens_out")]
    cost = told.get("cost")
    return [
        part,
        str(told.get("model")),
        words(told.get("sampler") or {}),
        *numbers,
        NONE if cost is None else f"{cost:,}",
    ]


def _rows(run: Folder, view: DatasetView, album: Album, each: int) -> Section | None:
    left_out, stills, groups = album.left_out, album.stills_left_out, []
    for split in view.splits:
        rows = split.sample(each * MOST_KINDS)
        examples = [row_example(row, run.path, album) for row in rows]
        groups += [(f"{split.name}: {len(rows):,} of {counted(split.rows, 'row')}", examples)] if rows else []
    if not groups:
        return None
    notes = ["Drawn by the seed, not hand-picked: of every split, and within it of every kind in turn."]
    notes.append(f"At most {each:,} of each kind; mmreflect view FOLDER rows=N shows N.")
    if count := album.stills_left_out - stills:
        notes.append(f"{counted(count, 'picture')} left out: the page has room for no more; pictures=N sets it.")
    return Section(
        "rows", "Rows to look at", "gallery", Gallery([*notes, *left_out_notes(album, left_out)], [], groups)
    )
