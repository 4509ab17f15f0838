"""Folders of frames as video files: what the reader of videos reads has frames, a rate and times."""

import hashlib
import os
import re
import tempfile
from fractions import Fraction
from pathlib import Path

from mmreflect.errors import UserError
from mmreflect.media.images import load_image
from mmreflect.media.pictures import PICTURES

_DIGITS = re.compile(r"(\d+)")
_CRF = "12"
"""Nearly lossless: the frames were compressed once already."""


def joined_frames(folder: Path, fps: float, films: Path) -> Path:
    """Return a video of the frames of a folder, in the order of their numbers, written once into `films`.

    Sides are cut to even numbers of pixels, which H.264 needs.

    Raises:
        UserError: PyAV is missing, a frame cannot be decoded, or frames differ in size.
    """
    frames = sorted((path for path in folder.iterdir() if path.suffix.lower() in PICTURES), key=_numbered)
    state = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in frames]
    mark = hashlib.sha256(f"{folder.resolve()} {fps} {state}".encode()).hexdigest()[:32]
    target = films / f"{mark}.mp4"
    if not target.is_file():
        films.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=films, prefix=".", suffix=".mp4")
        os.close(handle)
        try:
            _write(frames, fps, partial)
            os.replace(partial, target)
        finally:
            Path(partial).unlink(missing_ok=True)
    return target


def _numbered(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (0, part) for part in _DIGITS.split(path.stem)]


def _write(frames: list[Path], fps: float, path: str) -> None:
    try:
        import av
    except ImportError:
        raise UserError(
            "a video is a folder of frames, and PyAV is not installed", "PyAV", "pip install 'mmreflect[video]'"
        ) from None
    width, height = (side - side % 2 for side in load_image(frames[0]).size)
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000), options={"crf": _CRF})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for name in frames:
            picture = load_image(name)
            if (picture.width - picture.width % 2, picture.height - picture.height % 2) != (width, height):
                raise UserError(f"the frames of a video differ in size: {name}", f"{width}x{height}")
            container.mux(stream.encode(av.VideoFrame.from_image(picture.crop((0, 0, width, height)))))
        container.mux(stream.encode())
