"""Loading pictures: fully decoded RGB, or an error that says what is wrong with the file."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mmreflect.errors import UserError
from mmreflect.records import Media

if TYPE_CHECKING:
    from PIL.Image import Image


def load_image(path: str | Path, crop: tuple[int, int, int, int] | None = None) -> "Image":
    """Decode a picture completely and return it as RGB, rotated as its EXIF data says.

    Transparent pixels are laid on white, which is how charts with an alpha channel are meant to look.

    Args:
        crop: left, top, right, bottom in pixels of the upright picture.

    Raises:
        UserError: the file is missing, no picture, truncated, or the crop is empty or outside.
    """
    file = Path(path)
    if not file.is_file():
        raise UserError(f"no such picture: {path}", "the path of an image file", "check the path")
    picture = _decoded(file, f"{path}", lambda: (file.stat().st_size, _first_bytes(file)))
    return picture if crop is None else _cropped(picture, crop, path)


def image_from_bytes(content: bytes) -> "Image":
    """Decode a picture that is no file, as `load_image` does.

    Raises:
        UserError: it is no picture, or truncated.
    """
    return _decoded(io.BytesIO(content), "bytes", lambda: (len(content), repr(content[:8])))


def _decoded(source: "Path | io.BytesIO", name: str, head: Callable[[], tuple[int, str]]) -> "Image":
    """Decode a picture; `head` returns how many bytes it has, and the first of them."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(source) as opened:
            opened.load()
            picture = ImageOps.exif_transpose(opened)
    except UnidentifiedImageError:
        size, first = head()
        raise UserError(
            f"not a picture: {name} ({size:,} bytes, starts with {first})",
            "a PNG, JPEG, WebP, GIF, BMP or TIFF file",
            "replace the file or remove its row",
        ) from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(
            f"the picture cannot be decoded: {name} ({error})",
            "a whole picture",
            "download or export it again, or remove its row",
        ) from None
    return _on_white(picture)


def _first_bytes(file: Path) -> str:
    with open(file, "rb") as opened:
        return repr(opened.read(8))


def _on_white(picture: "Image") -> "Image":
    from PIL import Image

    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        picture = Image.alpha_composite(white, layer)
    return picture.convert("RGB")


def _cropped(picture: "Image", crop: tuple[int, int, int, int], path: str | Path) -> "Image":
    check_crop(crop, picture.width, picture.height, path)
    return picture.crop(crop)


def check_crop(crop: tuple[int, int, int, int], width: int, height: int, path: str | Path) -> None:
    """Refuse a crop (left, top, right, bottom) that is empty or reaches over the edge of a picture.

    Raises:
        UserError: it does not fit.
    """
    left, top, right, bottom = crop
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise UserError(
            f"crop {crop} does not fit {path}",
            f"left < right <= {width} and top < bottom <= {height}, in pixels",
            "correct the crop",
        )


def picture_pixels(media: Media) -> int:
    """Return how many pixels a picture's header names, at most; 0 where there is none to read."""
    from PIL import Image, UnidentifiedImageError

    if media.at is not None:
        return 0
    try:
        with Image.open(media.path) as opened:
            return int(opened.width * opened.height)
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError, Image.DecompressionBombError):
        return 0


def load_media_image(media: Media) -> "Image":
    """Load the picture that a `Media` of kind image points to: a file, or a frame of a video."""
    if media.at is None:
        return load_image(media.path, media.crop)
    from mmreflect.media.video import load_still

    return load_still(media)
