"""Pictures and film strips as the page holds them: made small and written as data URIs."""

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

PICTURE_SIDE = 448
"""Longest side of a picture, in pixels."""
THUMBNAIL_SIDE = 320
"""Longest side of a picture where hundreds of them are on one page; about 15 KB each."""
FRAME_SIDE = 144
"""Longest side of a frame in a film strip."""
_EXACT_SIDE = 160
"""Up to this size a picture stays a PNG, pixel for pixel; above it is a JPEG."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture for the page, or (`source` empty) the reason why it cannot be shown; `remark` stands below it."""

    name: str
    source: str = ""
    width: int = 0
    height: int = 0
    problem: str = ""
    remark: str = ""
    title: str = ""


@dataclass(frozen=True, slots=True)
class Strip:
    """Frames of a video side by side, each with its time as `remark`; `caption` says what part of it they are."""

    name: str
    caption: str
    frames: tuple[Picture, ...]
    title: str = ""


Shown = Picture | Strip


def encode(picture: "Image", name: str, remark: str = "", side: int = PICTURE_SIDE) -> Picture:
    """Return a picture, made small in place: drawings of few pixels keep every one of them."""
    picture.thumbnail((side, side))
    if max(picture.size) > _EXACT_SIDE:
        return _jpeg(picture, name, remark, quality=82)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return Picture(name, _uri("png", buffer), *picture.size, remark=remark)


def encode_frame(picture: "Image", name: str, remark: str) -> Picture:
    """Return a frame of a film strip, made small in place."""
    picture.thumbnail((FRAME_SIDE, FRAME_SIDE))
    return _jpeg(picture, name, remark, quality=72)


def _jpeg(picture: "Image", name: str, remark: str, quality: int) -> Picture:
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=quality, optimize=True)
    return Picture(name, _uri("jpeg", buffer), *picture.size, remark=remark)


def _uri(kind: str, buffer: io.BytesIO) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
