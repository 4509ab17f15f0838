"""Pictures that rows hold, as files named by their content."""

import base64
import binascii
import hashlib
import io
import os
import tempfile
from pathlib import Path
from typing import Any

from mmreflect.errors import UserError
from mmreflect.files import user_cache

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
_HEADS = (
    *((b"\x89PNG", ".png"), (b"\xff\xd8\xff", ".jpg"), (b"GIF8", ".gif"), (b"BM", ".bmp")),
    *((b"II*\0", ".tif"), (b"MM\0*", ".tif")),
)
_PREFIX = ";base64,"


def bytes_of(value: Any, name: str) -> bytes:
    """Return the bytes of a picture that a row holds: bytes, `{bytes, path}`, base64 text, or a decoded one.

    Raises:
        UserError: it is none of these.
    """
    if isinstance(value, dict):
        value = value.get("bytes")
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, str):
        try:
            return base64.b64decode("".join(value.rpartition(_PREFIX)[2].split()), validate=True)
        except (binascii.Error, ValueError):
            raise UserError(f"picture {name!r} is the text {value[:40]!r}", "a path, or base64") from None
    if hasattr(value, "save") and hasattr(value, "mode"):
        return _encoded(value)
    raise UserError(f"picture {name!r} is {type(value).__name__}", "bytes, {bytes, path}, base64 text, or a path")


def _encoded(picture: Any) -> bytes:
    """Return a decoded picture as PNG, which loses nothing; modes that PNG has not (CMYK, YCbCr) become RGB."""
    held = io.BytesIO()
    kept = picture if picture.mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16") else picture.convert("RGB")
    kept.save(held, format="PNG")
    return held.getvalue()


def picture_name(content: bytes) -> str:
    """Return where a picture lies in a folder of pictures that are named by their content.

    Raises:
        UserError: it is empty.
    """
    if not content:
        raise UserError("the picture is empty (0 bytes)", "a picture")
    digest = hashlib.sha256(content).hexdigest()[:32]
    return f"{digest[:2]}/{digest}{_suffix(content)}"


def written_picture(content: bytes, folder: Path) -> Path:
    """Write a picture once and return its path; several processes may write the same one at a time.

    Raises:
        UserError: it is empty.
    """
    path = folder / picture_name(content)
    if path.is_file() and path.stat().st_size == len(content):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".partial")
    with open(handle, "wb") as file:
        file.write(content)
    os.replace(partial, path)
    return path


def cache_folder() -> Path:
    """Return where pictures and unpacked files of releases are kept for all runs."""
    return user_cache("releases")


def _suffix(content: bytes) -> str:
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return ".webp"
    return next((suffix for head, suffix in _HEADS if content.startswith(head)), ".picture")
