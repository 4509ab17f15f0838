"""Media as a chat-completions request takes them: pictures as data URIs, a clip as its frames with their times.

A file is sent byte for byte where a server would see in it what we see; else it is encoded again.
"""

import base64
import hashlib
import io
import math
import threading
from collections import OrderedDict
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmreflect.errors import UserError
from mmreflect.media.stamps import stamp_text
from mmreflect.records import Media
from mmreflect.remote.settings import PictureConfig

if TYPE_CHECKING:
    from PIL.Image import Image

Part = dict[str, Any]
QUALITY = 95
"""Of a JPEG that we encode."""
_KEPT_BYTES = 128 * 2**20
_SENT_AS_IT_IS = {"JPEG": ("RGB", "L"), "PNG": ("RGB", "L", "P", "1")}
_ORIENTATION = 0x0112


class Pictures:
    """Turns media into parts of a request; what was made last is kept. Any number of threads may ask."""

    def __init__(self, options: PictureConfig) -> None:
        self._options = options
        self._digests: dict[tuple[str, int, int], str] = {}
        self._made: OrderedDict[tuple[Media, str], list[Part]] = OrderedDict()
        self._made_bytes = 0
        self._lock = threading.Lock()

    def mark(self, media: Media) -> dict[str, Any]:
        """Return what tells a medium apart from any other: the file's content, and what of it is shown how.

        Raises:
            UserError: the file is missing.
        """
        said = {key: value for key, value in asdict(media).items() if key != "path"}
        if media.kind == "video" and media.frames is None:
            said["frames"] = asdict(self._options.frames)
        return {**said, "content": self._digest(media), "max_pixels": self._options.max_pixels}

    def _digest(self, media: Media) -> str:
        file = Path(media.path)
        if not file.is_file():
            noun = "video" if media.kind == "video" or media.at is not None else "picture"
            raise UserError(f"no such {noun}: {media.path}", "the path of a file", "check the path")
        state = file.stat()
        key = (media.path, state.st_size, state.st_mtime_ns)
        if key not in self._digests:
            with open(file, "rb") as opened:
                self._digests[key] = hashlib.file_digest(opened, "sha256").hexdigest()
        return self._digests[key]

    def parts(self, media: Media) -> list[Part]:
        """Return a medium as parts of a message.

        Raises:
            UserError: the file cannot be read.
        """
        key = (media, self._digest(media))
        with self._lock:
            if key in self._made:
                self._made.move_to_end(key)
                return self._made[key]
        parts = self._clip(media) if media.kind == "video" else [self._picture(media)]
        with self._lock:
            if key not in self._made:
                self._made[key] = parts
                self._made_bytes += weight(parts)
            while self._made_bytes > _KEPT_BYTES and len(self._made) > 1:
                self._made_bytes -= weight(self._made.popitem(last=False)[1])
        return parts

    def _picture(self, media: Media) -> Part:
        from mmreflect.media.images import load_media_image

        picture = load_media_image(media)
        if media.at is not None:
            return _encoded(self._shrunk(picture), lossless=False)
        shrunk = self._shrunk(picture)
        kind, plain = _format(Path(media.path))
        if plain and shrunk is picture and media.crop is None:
            return _data_uri(kind, Path(media.path).read_bytes())
        return _encoded(shrunk, lossless=kind in ("PNG", "GIF", "BMP"))

    def _clip(self, media: Media) -> list[Part]:
        from PIL import Image

        from mmreflect.media.video import load_video

        clip = load_video(media, self._options.frames)
        parts: list[Part] = []
        shown: list[float] = []
        for frame_HWC, time in zip(clip.frames_FHWC, clip.times_F, strict=True):
            if shown and time == shown[-1]:
                continue  # a clip of fewer frames than were wanted repeats some
            shown.append(time)
            parts.append({"type": "text", "text": f"{stamp_text(time)}:"})
            parts.append(_encoded(self._shrunk(Image.fromarray(frame_HWC)), lossless=False))
        return parts

    def _shrunk(self, picture: "Image") -> "Image":
        limit = self._options.max_pixels
        if limit is None or picture.width * picture.height <= limit:
            return picture
        from PIL.Image import Resampling

        scale = math.sqrt(limit / (picture.width * picture.height))
        size = (max(1, math.floor(picture.width * scale)), max(1, math.floor(picture.height * scale)))
        return picture.resize(size, Resampling.LANCZOS)


def _format(file: Path) -> tuple[str, bool]:
    """Return a picture file's format, and whether a server sees in its bytes what `load_image` does."""
    from PIL import Image

    with Image.open(file) as opened:
        kind = str(opened.format)
        upright = opened.getexif().get(_ORIENTATION, 1) == 1
        opaque = "transparency" not in opened.info
        still = getattr(opened, "n_frames", 1) == 1
        return kind, upright and opaque and still and opened.mode in _SENT_AS_IT_IS.get(kind, ())


def _encoded(picture: "Image", lossless: bool) -> Part:
    buffer = io.BytesIO()
    if lossless:
        picture.save(buffer, format="PNG")
    else:
        picture.save(buffer, format="JPEG", quality=QUALITY)
    return _data_uri("PNG" if lossless else "JPEG", buffer.getvalue())


def _data_uri(kind: str, content: bytes) -> Part:
    text = base64.b64encode(content).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/{kind.lower()};base64,{text}"}}


def weight(parts: list[Part]) -> int:
    """Return about how many bytes some parts take."""
    return sum(len(part["text"] if part["type"] == "text" else part["image_url"]["url"]) for part in parts)
