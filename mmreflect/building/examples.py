"""What a builder makes of one row, and how it is laid on disk: the row, and its pictures and videos beside it."""

import io
import shutil
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmreflect.data.store import Row, conversation, sample_from_row
from mmreflect.errors import UserError
from mmreflect.media.video import check_video
from mmreflect.records import FrameSampling, Media

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, slots=True)
class Example:
    """What a builder makes: a row without its media paths, and the pictures or files that belong to it.

    Attributes:
        images: in the order of the row's image placeholders; a path is copied byte for byte after a check.
        videos: files, or media that also say which span of a file is meant and how its frames are sampled. Rows of a
            shard share the copy of a file.
        link: link to the videos, by absolute path, in place of copying them.
        decode: decode pictures that are files, and the first frame of every video, before they are stored; else only
            their presence is checked.
        rejected: of a pair for preference training the reply that shall lose; the last of `messages` shall win.
        exempt: checks that are not made of this row, beside those that its leaf exempts.
    """

    id: str
    messages: list[dict[str, Any]]
    images: Sequence["Image | Path"] = ()
    videos: Sequence["Path | Media"] = ()
    answer: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    link: bool = False
    decode: bool = True
    rejected: str | None = None
    exempt: Collection[str] = ()


def store_example(example: Example, folder: Path, media: Path, index: int, stored: dict[str, Path]) -> Row:
    """Write an example's media and return its row; nothing is written for a row that does not fit the layout.

    Files are named by the row's place, never by its id: an id is the user's text.

    Args:
        stored: where the videos of this shard lie already, by their source; this example's are added.
    """
    pictures = [
        _checked_bytes(image, example.decode) if isinstance(image, Path) else _png(image) for image in example.images
    ]
    names = [f"{index:06}-{place}{suffix}" for place, (_, suffix) in enumerate(pictures)]
    sources = [Path(clip.path if isinstance(clip, Media) else clip) for clip in example.videos]
    fresh: dict[str, Path] = {}
    for place, source in enumerate(sources):
        if str(source) not in stored and str(source) not in fresh:
            _check_clip(source, example.decode)
            fresh[str(source)] = media / f"{index:06}-v{place}{source.suffix.lower()}"
    places = stored | fresh
    row: Row = {"id": example.id, **conversation(example.messages, example.rejected)}
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


def _checked_bytes(path: Path, decode: bool) -> tuple[bytes, str]:
    from mmreflect.media.images import load_image

    if decode:
        load_image(path)
    elif not path.is_file():
        raise UserError("a picture file is missing", str(path))
    return path.read_bytes(), path.suffix.lower()
