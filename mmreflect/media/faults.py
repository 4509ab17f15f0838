"""What is wrong with a video file, said so that something can be done about it."""

import os
import stat
from collections.abc import Iterator
from typing import BinaryIO

from mmreflect.errors import UserError

HEAD_BYTES = 1 << 16
MAX_PIXELS = 1 << 26
"""Frames larger than this (8192x8192) are taken for a broken header."""
MAX_LENGTH_S = 1e6
MAX_FPS = 1e4
"""Longer (eleven days) or faster than this is taken for a broken header."""
_STILL_BRANDS = (b"avif", b"heic", b"heix", b"mif1")
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_REMOVE = "export it again, or remove its row"


def check_file(path: str) -> os.stat_result:
    """Look at a file without opening it, which on a pipe would wait for ever.

    Raises:
        UserError: it is missing, a folder, no regular file, not readable, or empty.
    """
    try:
        found = os.stat(path)
    except FileNotFoundError:
        raise UserError(f"no such video: {path}", "the path of a video file", "check the path") from None
    except (OSError, ValueError) as error:
        raise UserError(f"the video cannot be looked at: {path} ({error})", "a readable file", "check it") from None
    if stat.S_ISDIR(found.st_mode):
        raise UserError(f"a folder, no video: {path}", "the path of a video file", "name a file in it")
    if not stat.S_ISREG(found.st_mode):
        raise UserError(f"a pipe or device, no file: {path}", "a regular file", "write the video to a file first")
    if found.st_size == 0:
        raise UserError(f"the video file is empty: {path}", "a video", "copy or download it again, or remove its row")
    return found


def unreadable(path: str, error: object) -> UserError:
    """Return why a decoder could not open a file, from the file's own bytes; `error` is what the decoder said."""
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
            boxes = dict(_boxes(file)) if head[4:8] in (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide") else {}
    except OSError as problem:
        return UserError(f"the video cannot be read: {path} ({problem})", "a readable file", "check its permissions")
    size = os.path.getsize(path)
    if not head.strip(b"\0"):
        return UserError(f"the file starts with {len(head):,} zero bytes: {path}", "a video", "download it again")
    if boxes and b"moov" not in boxes:
        return UserError(
            f"the video is cut off before its index (no moov box in {size:,} bytes): {path}",
            "a whole file",
            "download or export it again, or remove its row",
        )
    if boxes and boxes[b"moov"] > size:
        return UserError(
            f"the video is cut off inside its index ({size:,} of at least {boxes[b'moov']:,} bytes): {path}",
            "a whole file",
            "download or export it again, or remove its row",
        )
    return _no_video(path, size, head, error)


def _no_video(path: str, size: int, head: bytes, why: object) -> UserError:
    return UserError(
        f"not a video, or broken from the start: {path} ({size:,} bytes, starts with {head[:8]!r}; {why})",
        "a video file, such as MP4, WebM, MKV, MOV or AVI",
        "replace the file or remove its row",
    )


def check_content(path: str) -> None:
    """Refuse text and pictures by their first bytes: decoders show them as videos.

    Raises:
        UserError: it is one of these.
    """
    with open(path, "rb") as file:
        head = file.read(512)
    still = head[8:12] == b"WEBP" or (head[4:8] == b"ftyp" and head[8:12] in _STILL_BRANDS)
    if still or head.startswith((b"\x89PNG", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*")):
        raise _no_video(path, os.path.getsize(path), head, "it is a picture")
    if head and not any((byte < 32 and byte not in b"\t\n\f\r") or byte > 126 for byte in head):
        raise unreadable(path, "it is text")


def _boxes(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yield the kind and end of an MP4 file's outermost boxes."""
    start = 0
    for _ in range(10_000):
        file.seek(start)
        header = file.read(16)
        if len(header) < 8:
            return
        length = int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        elif length == 0:
            length = os.fstat(file.fileno()).st_size - start
        yield header[4:8], start + length
        if length < 8:
            return
        start += length


def no_pictures(path: str, sound: bool) -> UserError:
    """Return the error for a file without a picture track."""
    what = "it holds sound only" if sound else "it holds neither pictures nor sound"
    return UserError(f"no picture track in {path}: {what}", "a video with pictures", "remove its row")


def no_frames(path: str) -> UserError:
    """Return the error for a picture track without frames."""
    return UserError(f"the video holds no frame: {path}", "at least one frame", _REMOVE)


def no_codec(path: str, name: str) -> UserError:
    """Return the error for a picture track that no decoder here understands."""
    return UserError(
        f"no decoder for the pictures of {path} (codec {name})",
        "a codec that FFmpeg decodes, such as H.264, HEVC, VP9 or AV1",
        "convert it, for instance: ffmpeg -i IN -c:v libx264 OUT.mp4",
    )


def check_size(path: str, width: int, height: int) -> None:
    """Refuse frames that only a broken header can ask for; FFmpeg shows sizes that it cannot work with as 0x0.

    Raises:
        UserError: a side is zero, or the frame is larger than `MAX_PIXELS`.
    """
    if width <= 0 or height <= 0 or width * height > MAX_PIXELS:
        raise UserError(
            f"the header of {path} names an impossible frame size ({width}x{height} pixels)",
            f"1 to {MAX_PIXELS:,} pixels per frame",
            _REMOVE,
        )


def check_rate(path: str, duration: float, fps: float) -> None:
    """Refuse lengths and rates that only a broken header can give.

    Raises:
        UserError: the video lasts no time or longer than `MAX_LENGTH_S`, or has more than `MAX_FPS` frames a second.
    """
    if not 0 < duration <= MAX_LENGTH_S or fps > MAX_FPS:
        raise UserError(
            f"the header of {path} gives an impossible length ({duration:,.1f} s at {fps:,.6g} frames per second)",
            f"at most {MAX_LENGTH_S:,.0f} s and {MAX_FPS:,.0f} frames per second",
            _REMOVE,
        )


def ends_early(path: str) -> bool:
    """Say whether a Matroska, WebM or AVI file is shorter than its own outermost parts claim.

    False also where that is not written down, as in streams that were recorded live, and for other kinds of file.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        head = file.read(4)
        if head == b"RIFF":
            return any(end > size for end in _riffs(file))
        end = _element_end(file) if head == _EBML else None
        if end is None:
            return False
        file.seek(end)
        end = _element_end(file) if file.read(4) == _SEGMENT else None
        return end is not None and end > size


def _element_end(file: BinaryIO) -> int | None:
    """Return where a Matroska element ends whose length comes next in a file; None where that is not known."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    length = int.from_bytes(bytes([first[0] & 0x7F >> more]) + file.read(more), "big")
    return None if length == (1 << 7 * (more + 1)) - 1 else file.tell() + length


def _riffs(file: BinaryIO) -> Iterator[int]:
    """Yield the ends of an AVI file's outermost chunks."""
    start = 0
    for _ in range(10_000):
        file.seek(start)
        header = file.read(8)
        if len(header) < 8 or header[:4] != b"RIFF":
            return
        start += 8 + int.from_bytes(header[4:], "little")
        yield start


def cut_off(path: str, frames: int, total: int, fps: float) -> UserError:
    """Return the error for a video whose index names more frames than the file holds."""
    return UserError(
        f"the video breaks off after {frames / fps:.1f} of {total / fps:.1f} s"
        f" ({frames:,} of {total:,} frames are there): {path}",
        "a whole file",
        f"download it again, or cut it there: ffmpeg -i IN -t {frames / fps:.1f} -c copy OUT.mp4",
    )


def damaged(path: str, time: float) -> UserError:
    """Return the error for frames that were asked for and cannot be decoded, or only with errors."""
    return UserError(
        f"the video is damaged at {time:.1f} s: {path}",
        "frames that decode without errors",
        "download or export it again, or remove its row",
    )


def undecoded(path: str, time: float, decoder: str) -> UserError:
    """Return the error for a frame that one of the simpler decoders gives up on."""
    return UserError(
        f"{decoder} cannot decode the frame at {time:.1f} s: {path}",
        "a whole video of a form that it reads",
        "use the decoder pyav, which reads more forms and says what is wrong",
    )
