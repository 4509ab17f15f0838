"""The card of a dataset: README.md as the Hub shows it, from the dataset's own files alone.

What nobody has recorded is said to be unknown; a licence is only ever the one that the user names.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from mmreflect import __version__
from mmreflect.config import to_yaml
from mmreflect.data.readme import configs_of, newer_words, types_of
from mmreflect.data.survey import Lengths, SplitSurvey, mean, quantile, shared_facts
from mmreflect.publishing.layouts import Exported, Source

_SIZES = (
    *((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M")),
    *((10_000_000, "1M<n<10M"), (100_000_000, "10M<n<100M"), (1_000_000_000, "100M<n<1B")),
)
_SHAPES = {
    "sft": "conversations that end with the reply to learn",
    "pairs": "a prompt with a reply that shall win (`chosen`) and one that shall lose (`rejected`)",
    "prompts": "questions without a reply, for reinforcement learning or evaluation",
}


def card_of(source: Source, made: Exported | None, license_name: str | None, layout: str) -> str:
    """Return the card's text; the same files give the same text.

    Args:
        made: what was exported in another layout; None: the card is of the dataset's own folder.
        layout: its name, `dataset` for the dataset's own.
    """
    environment = Environment(
        loader=PackageLoader("mmreflect.publishing"),
        autoescape=False,  # Markdown: what comes from outside goes through `cell`
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = cell
    manifest = source.dataset.manifest
    front = front_matter(source, made, license_name, layout)
    values = {
        "front": to_yaml(front),
        "newer": newer_words(front.get("dataset_info", [])).strip(),
        "name": source.dataset.path.resolve().name,
        "manifest": manifest,
        "layout": layout,
        "made": made,
        "license": license_name,
        "splits": [_split_row(split, made) for split in _shown(source, made)],
        "shapes": [(shape, _SHAPES[shape]) for shape in _SHAPES if any(split.shapes[shape] for split in source.splits)],
        "shares": _shares(source.splits),
        "split_names": [split.name for split in source.splits],
        "lengths": [row for split in source.splits for row in _length_rows(split)],
        "asked": _asked(manifest),
        "counted": _flat(manifest.get("counted")),
        "quality": _flat(manifest.get("quality")),
        "sources": _sources(manifest),
        "rejects": sorted(manifest.get("rejects", {}).items(), key=lambda item: (-item[1], item[0])),
        "unknown": _unknown(manifest, license_name),
        "version": __version__,
    }
    return environment.get_template("card.md.jinja").render(values)


def front_matter(source: Source, made: Exported | None, license_name: str | None, layout: str) -> dict[str, Any]:
    """Return what the Hub reads of the card: which files are which split, size, tasks, tags, and the licence if given.

    Splits whose rows have other columns are configurations of their own.
    """
    rows = _rows(source, made)
    media = {kind for kind in ("image", "video") for split in _shown(source, made) if split.media[kind]}
    task = "video-text-to-text" if "video" in media else "image-text-to-text" if media else "text-generation"
    front: dict[str, Any] = {"license": license_name} if license_name else {}
    front["task_categories"] = [task]
    front["tags"] = ["mmreflect", str(source.dataset.manifest.get("builder", "unknown")), *([layout] if made else [])]
    front["size_categories"] = [_size(sum(rows.values()))]
    files = {split: made.files[split] if made else source.shards(split) for split in rows}
    columns = {split: _columns(source, made, split) for split in rows}
    front["configs"] = configs_of(files, columns)
    if made is None:  # what is exported is a table already, or rows without facts
        front["dataset_info"] = types_of(source.dataset.path, files, columns)
    return front


def cell(value: object) -> str:
    """Return a value as a cell of a Markdown table: one line, no markup of its own."""
    text = " ".join(str(value).split())
    return re.sub(r"([\\`*_\[\]|<>#])", r"\\\1", text)


def _columns(source: Source, made: Exported | None, split: str) -> str:
    if made:
        return made.shapes[split]
    found = next(item for item in source.splits if item.name == split)
    return "pairs" if found.shapes["pairs"] else "conversations"


def _rows(source: Source, made: Exported | None) -> dict[str, int]:
    return made.rows if made else {split.name: split.rows for split in source.splits}


def _shown(source: Source, made: Exported | None) -> list[SplitSurvey]:
    rows = _rows(source, made)
    return [split for split in source.splits if split.name in rows]


def _size(rows: int) -> str:
    return next((name for limit, name in _SIZES if rows < limit), "n>1T" if rows >= 10**12 else "1B<n<10B")


def _split_row(split: SplitSurvey, made: Exported | None) -> dict[str, Any]:
    shapes = made.shapes[split.name] if made else ", ".join(shape for shape, count in split.shapes.items() if count)
    rows = made.rows[split.name] if made else split.rows
    return {
        "name": split.name, "rows": rows, "shape": shapes, "images": split.media["image"],
        "videos": split.media["video"], "answered": split.answered, "shards": split.shards,
    }  # fmt: skip


def _shares(splits: Sequence[SplitSurvey]) -> list[tuple[str, list[str]]]:
    return [
        (f"{fact}: {value}", [_share(split, fact, value) for split in splits]) for fact, value in shared_facts(splits)
    ]


def _share(split: SplitSurvey, fact: str, value: str) -> str:
    values = split.facts.get(fact)
    return "–" if values is None or not split.rows else f"{100 * values[value] / split.rows:.1f} %"


def _length_rows(split: SplitSurvey) -> list[dict[str, Any]]:
    return [{"what": f"{split.name}, {name}", **_length(found)} for name, found in split.lengths.items()]


def _length(found: Lengths) -> dict[str, str]:
    middle = mean(found.words)
    quantiles = {key: quantile(found.words, share) for key, share in (("median", 0.5), ("most", 0.95), ("longest", 1))}
    told = {key: "–" if value is None else f"{value:,}" for key, value in quantiles.items()}
    longest = quantile(found.characters, 1)
    return told | {
        "mean": "–" if middle is None else f"{middle:,.1f}",
        "characters": "–" if longest is None else f"{longest:,}",
    }


def _asked(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for part, told in manifest.get("asked", {}).items():
        numbers = {key: f"{told.get(key, 0):,}" for key in ("requests", "refused_replies", "tokens_in", "tokens_out")}
        cost = "not recorded" if told.get("cost") is None else f"{told['cost']:,}"
        sampler = ", ".join(f"{key} {value}" for key, value in (told.get("sampler") or {}).items() if value is not None)
        rows.append({"part": part, "model": told.get("model", "unknown"), "sampler": sampler, **numbers, "cost": cost})
    return rows


def _flat(value: Any, path: str = "") -> list[tuple[str, str]]:
    """Return a mapping of mappings of counts as lines, in its own order."""
    if isinstance(value, Mapping):
        return [line for key, item in value.items() for line in _flat(item, f"{path}, {key}" if path else str(key))]
    if value is None or not path:
        return []
    return [(path, f"{value:,}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value))]


def _sources(manifest: Mapping[str, Any]) -> list[str]:
    config = manifest.get("config") or {}
    found = [config[key] for key in ("source", "sources") if config.get(key)]
    listed = [item for one in found for item in (one if isinstance(one, list) else [one])]
    return [item if isinstance(item, str) else json.dumps(item, ensure_ascii=False) for item in listed]


def _unknown(manifest: Mapping[str, Any], license_name: str | None) -> list[str]:
    missing = [] if license_name else ["Its licence: none was given. Ask whoever made it before you use it."]
    if not _sources(manifest):
        missing.append("A source: the manifest names none, as where rows are made by a program.")
    if manifest.get("asked") and any(told.get("cost") is None for told in manifest["asked"].values()):
        missing.append("What asking has cost, where no price was set.")
    if "quality" not in manifest:
        missing.append("Duplicates and overlap with evaluation sets: the manifest records no such check.")
    return [*missing, "Whether the rows are free of personal data or bias: nothing here has checked that."]
