"""Pictures inside the page: found, decoded, made small, written as data URIs; a missing one is named, never fatal."""

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mmreflect.errors import UserError
from mmreflect.media.images import load_image
from mmreflect.records import Media

LONGEST_SIDE = 448
_EXACT_SIDE = 160
"""Up to this size a picture stays a PNG, pixel for pixel; above it is a JPEG."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture for the page, or (`source` empty) the reason why it cannot be shown."""

    name: str
    source: str = ""
    width: int = 0
    height: int = 0
    problem: str = ""


class Album:
    """Loads the pictures of a run; a picture used twice is encoded once.

    Args:
        folder: the run's folder. A relative path is tried from the current folder, then from the run's folder and
            those above it, then with its leading folders left out: a moved run finds its pictures.
    """

    def __init__(self, folder: Path) -> None:
        self._roots = [Path.cwd(), folder, *folder.parents]
        self._known: dict[Media, Picture] = {}

    def show(self, media: Media) -> Picture:
        """Return a medium as a picture."""
        if media not in self._known:
            self._known[media] = self._load(media)
        return self._known[media]

    def _load(self, media: Media) -> Picture:
        name = Path(media.path).name or media.path
        if media.kind == "video":
            span = f" {media.span[0]:g} to {media.span[1]:g} s" if media.span else ""
            return Picture(name, problem=f"video{span}, not shown here")
        file = next((path for path in self._places(media.path) if path.is_file()), None)
        if file is None:
            return Picture(name, problem="picture not found")
        try:
            return self._encode(name, file, media.crop)
        except UserError as error:
            return Picture(name, problem=error.given.replace(str(file), name))

    def _places(self, path: str) -> Iterator[Path]:
        given = Path(path)
        if given.is_absolute():
            yield given
        else:
            yield from (root / given for root in self._roots)
        parts = given.parts[1:] if given.is_absolute() else given.parts
        for root in self._roots[1:4]:
            yield from (root.joinpath(*parts[start:]) for start in range(1, len(parts)))

    def _encode(self, name: str, file: Path, crop: tuple[int, int, int, int] | None) -> Picture:
        picture = load_image(file, crop)
        picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
        buffer = io.BytesIO()
        exact = max(picture.size) <= _EXACT_SIDE
        if exact:
            picture.save(buffer, format="PNG", optimize=True)
        else:
            picture.save(buffer, format="JPEG", quality=82)
        kind = "png" if exact else "jpeg"
        content = base64.b64encode(buffer.getvalue()).decode()
        return Picture(name, f"data:image/{kind};base64,{content}", *picture.size)
