"""Running a builder: deterministic, sharded, resumable, with a rejects log and a manifest written last.

A builder leaf names its splits (`splits(config)`) and makes one row from its place (`make(config, split, index)`).
A row depends on nothing else, so that a killed build goes on at its first missing shard to the same bytes. A leaf may
also say what it builds from (`describe(config)`, for the plan) and which rows of its sources it leaves out
(`left_out(config)`, for the rejects log).
"""

import hashlib
import io
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

from pydantic import Field

from mmreflect import console
from mmreflect.config import to_tree
from mmreflect.data.store import MANIFEST, Row, sample_from_row
from mmreflect.errors import UserError
from mmreflect.files import read_jsonl, sync_folder, to_json, write_atomic, write_json, write_jsonl
from mmreflect.media.video import check_video
from mmreflect.records import FrameSampling, Media
from mmreflect.runs import Run
from mmreflect.shard_workers import Shard, build_shards, cores

if TYPE_CHECKING:
    from PIL.Image import Image

Workers = Annotated[int, Field(gt=0)] | Literal["auto"]
"""How many processes build shards at the same time: for a leaf's Config to have, as `workers`."""


@dataclass(frozen=True, slots=True)
class Example:
    """What a builder makes: a row without its media paths, and the pictures or files that belong to it.

    Attributes:
        images: in the order of the row's image placeholders; a path is copied byte for byte after a check.
        videos: files, or media that also say which span of a file is meant and how its frames are sampled. Rows of a
            shard share the copy of a file.
        link: link to the videos, by absolute path, in place of copying them.
        decode: decode the first frame of every video before it is stored; else only its presence is checked.
    """

    id: str
    messages: list[dict[str, Any]]
    images: Sequence["Image | Path"] = ()
    videos: Sequence["Path | Media"] = ()
    answer: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    link: bool = False
    decode: bool = True


class Builder(Protocol):
    """A leaf of `data_builders/`."""

    Config: Any

    def splits(self, config: Any) -> dict[str, int]:
        """Return how many rows each split has."""

    def make(self, config: Any, split: str, index: int) -> Example:
        """Make one row; a UserError quarantines it."""


def plan(builder: Builder, config: Any) -> dict[str, str]:
    """Say what will be built."""
    sizes = builder.splits(config)
    if not sizes:
        raise UserError("the dataset would have no split", "at least one split with rows", "name its splits")
    shards = sum(_shard_count(size, config.shard_rows) for size in sizes.values())
    rows = ", ".join(f"{split} {size:,}" for split, size in sizes.items())
    sources: dict[str, str] = builder.describe(config) if hasattr(builder, "describe") else {}
    shape = {"rows": rows, "shards": f"{shards} of at most {config.shard_rows:,} rows", "seed": str(config.seed)}
    return sources | shape


def build(builder: Builder, name: str, config: Any, run: Run) -> dict[str, Any]:
    """Build every missing shard, then write the manifest.

    Raises:
        UserError: a split is empty, or all of its rows were rejected.
    """
    sizes = builder.splits(config)
    manifest: dict[str, Any] = {"builder": name, "config": _content_of(config), "splits": {}, "rejects": {}}
    reasons: Counter[str] = Counter()
    left_out = _log_left_out(builder, config, run.path)
    with console.progress_bar("rows", sum(sizes.values())) as bar:
        made = _build_apart(builder, config, run.path, sizes, bar)
        for split, size in sizes.items():
            if size == 0:
                raise UserError(
                    f"split {split!r} would be empty",
                    "at least one row in every split",
                    "give it rows, or leave the split out",
                )
            shards = []
            for number in range(_shard_count(size, config.shard_rows)):
                make_shard(builder, config, run.path, (split, number, size))
                shards.append(_entry(run.path, split, number, reasons))
                if (split, number, size) not in made:
                    bar.advance(len(_places(config, size, number)))
            rows = sum(shard["rows"] for shard in shards)
            if rows == 0:
                raise UserError(
                    f"all {size} rows of split {split!r} were rejected: {_most_common(reasons)}",
                    "at least one good row",
                    f"see {run.path / 'rejects'}",
                )
            manifest["splits"][split] = {"rows": rows, "shards": shards}
    reasons.update(left_out)
    manifest["rejects"] = dict(sorted(reasons.items()))
    _refuse_leakage(run.path, manifest)
    write_json(run.path / MANIFEST, manifest)
    rejected = sum(reasons.values())
    if rejected:
        where = run.path / "rejects"
        console.say(f"[yellow]rejected {console.count(rejected, 'row')}[/]: {_most_common(reasons)}; all in {where}")
    return {"rows": {split: entry["rows"] for split, entry in manifest["splits"].items()}, "rejected": rejected}


def _log_left_out(builder: Builder, config: Any, folder: Path) -> Counter[str]:
    """Write the rows that a leaf takes no question from, and count them by reason."""
    rows: list[Row] = builder.left_out(config) if hasattr(builder, "left_out") else []
    if rows:
        write_jsonl(folder / "rejects" / "sources.jsonl", rows)
    return Counter(row["reason"] for row in rows)


def _content_of(config: Any) -> dict[str, Any]:
    """The settings that decide what is in the dataset; where it lies and who builds it are no part of that."""
    return {key: value for key, value in to_tree(config).items() if key not in ("output", "workers")}


def _shard_count(size: int, shard_rows: int) -> int:
    return -(-size // shard_rows)


def _most_common(reasons: Counter[str]) -> str:
    return "; ".join(f"{reason} ({count})" for reason, count in reasons.most_common(3))


def _places(config: Any, size: int, number: int) -> range:
    return range(number * config.shard_rows, min(size, (number + 1) * config.shard_rows))


def _build_apart(builder: Builder, config: Any, folder: Path, sizes: dict[str, int], bar: Any) -> set[Shard]:
    """Build the missing shards in worker processes, where more than one is asked for, and return which those were."""
    given = getattr(config, "workers", 1)
    workers = cores() if given == "auto" else given
    counts = {split: _shard_count(size, config.shard_rows) for split, size in sizes.items()}
    every = [(split, number, sizes[split]) for split, count in counts.items() for number in range(count)]
    missing = [shard for shard in every if not _shard_file(folder, *shard[:2]).is_file()]
    if workers < 2 or len(missing) < 2:
        return set()

    def done(shard: Shard) -> None:
        bar.advance(len(_places(config, shard[2], shard[1])))

    build_shards(builder, config, folder, missing, workers, done)
    return set(missing)


def _shard_file(folder: Path, split: str, number: int) -> Path:
    return folder / split / f"{number:05}.jsonl"


def _rejects_file(folder: Path, split: str, number: int) -> Path:
    return folder / "rejects" / f"{split}-{number:05}.jsonl"


def make_shard(builder: Builder, config: Any, folder: Path, shard: Shard) -> None:
    """Build one shard, unless an earlier run finished it. The row file is written last."""
    split, number, size = shard
    file = _shard_file(folder, split, number)
    if file.is_file():
        return
    media = folder / "media" / split / f"{number:05}"
    shutil.rmtree(media, ignore_errors=True)
    _rejects_file(folder, split, number).unlink(missing_ok=True)
    places = _places(config, size, number)
    rows, rejects = _make_rows(builder, config, folder, media, split, places)
    if rejects:
        write_atomic(_rejects_file(folder, split, number), "".join(to_json(row) + "\n" for row in rejects))
    if media.is_dir():
        sync_folder(media)
    write_atomic(file, "".join(to_json(row) + "\n" for row in rows))


def _entry(folder: Path, split: str, number: int, reasons: Counter[str]) -> dict[str, Any]:
    """Return what the manifest says of a finished shard, and count its rejects."""
    file, rejects_file = _shard_file(folder, split, number), _rejects_file(folder, split, number)
    content = file.read_bytes()
    if rejects_file.is_file():
        reasons.update(row["reason"] for row in read_jsonl(rejects_file))
    return {
        "file": str(file.relative_to(folder)),
        "rows": content.count(b"\n"),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def _make_rows(
    builder: Builder, config: Any, folder: Path, media: Path, split: str, places: range
) -> tuple[list[Row], list[Row]]:
    rows: list[Row] = []
    rejects: list[Row] = []
    stored: dict[str, Path] = {}
    for index in places:
        reject: Row = {"split": split, "index": index}
        try:
            example = builder.make(config, split, index)
            reject["id"] = example.id
            rows.append(_store(example, folder, media, index, stored))
        except UserError as error:
            reject["reason"] = error.given
            rejects.append(reject | ({"expected": error.expected} if error.expected else {}))
    return rows, rejects


def _store(example: Example, folder: Path, media: Path, index: int, stored: dict[str, Path]) -> Row:
    """Write an example's media and return its row; nothing is written for a row that does not fit the layout.

    Files are named by the row's place, never by its id: an id is the user's text.

    Args:
        stored: where the videos of this shard lie already, by their source; this example's are added.
    """
    pictures = [_png(image) if not isinstance(image, Path) else _checked_bytes(image) for image in example.images]
    names = [f"{index:06}-{place}{suffix}" for place, (_, suffix) in enumerate(pictures)]
    sources = [Path(clip.path if isinstance(clip, Media) else clip) for clip in example.videos]
    fresh: dict[str, Path] = {}
    for place, source in enumerate(sources):
        if str(source) not in stored and str(source) not in fresh:
            _check_clip(source, example.decode)
            fresh[str(source)] = media / f"{index:06}-v{place}{source.suffix.lower()}"
    places = stored | fresh
    row: Row = {"id": example.id, "messages": example.messages}
    row["images"] = [str((media / name).relative_to(folder)) for name in names]
    row["videos"] = [
        _clip_entry(clip, str(places[str(source)].relative_to(folder)))
        for clip, source in zip(example.videos, sources, strict=True)
    ]
    row |= {"answer": example.answer, "facts": example.facts}
    sample_from_row(row, folder)
    for name, (content, _) in zip(names, pictures, strict=True):
        write_media(media / name, content)
    for clip_source, target in fresh.items():
        _write_clip(Path(clip_source), target, example.link)
    stored |= fresh
    return row


def _check_clip(source: Path, decode: bool) -> None:
    if not source.is_file():
        raise UserError("a video file is missing", str(source))
    if decode:
        check_video(source)


def _clip_entry(clip: "Path | Media", path: str) -> "str | dict[str, Any]":
    """Return how a row names a video: by its path, with whatever else the leaf says about what of it is shown."""
    if not isinstance(clip, Media):
        return path
    plain, default = Media(clip.kind, clip.path), FrameSampling()
    said = {key: value for key, value in asdict(clip).items() if value != getattr(plain, key)}
    if clip.frames is not None:
        said["frames"] = {key: value for key, value in said["frames"].items() if value != getattr(default, key)}
    return {"path": path, **said} if said else path


def _write_clip(source: Path, target: Path, link: bool) -> None:
    """Copy a video in pieces, or link to it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if not link:
        shutil.copyfile(source, target)
        return
    try:
        target.symlink_to(source.absolute())
    except OSError as error:
        raise UserError(
            f"a link to a video cannot be made ({error.strerror})", "a file system that has links"
        ) from None


def write_media(path: Path, content: bytes) -> None:
    """Write one media file; the folder is flushed once per shard."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _png(image: "Image") -> tuple[bytes, str]:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=False, compress_level=6)
    return buffer.getvalue(), ".png"


def _checked_bytes(path: Path) -> tuple[bytes, str]:
    from mmreflect.media.images import load_image

    load_image(path)
    return path.read_bytes(), path.suffix.lower()


def _refuse_leakage(folder: Path, manifest: dict[str, Any]) -> None:
    """Refuse a dataset in which an id, or one question with the same pictures, stands in two splits."""
    from mmreflect.data.fingerprint import repeated_ids, shared_questions

    files = {
        split: [folder / shard["file"] for shard in entry["shards"]] for split, entry in manifest["splits"].items()
    }
    repeated = repeated_ids(files)
    if repeated:
        raise UserError(
            f"{len(repeated)} ids stand more than once (the first: {', '.join(repeated[:3])})",
            "each id once in the whole dataset",
            "give every row its own id, or none",
        )
    shared = shared_questions(folder, files) if len(files) > 1 else []  # reads every picture and video again
    if shared:
        first = "; ".join(f"{left} and {right}" for left, right in shared[:3])
        raise UserError(
            f"{len(shared)} questions stand in two splits with the same pictures (the first: {first})",
            "no question in two splits",
            "remove them from one split, or build with another seed",
        )
