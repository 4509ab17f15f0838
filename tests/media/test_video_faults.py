"""Broken files: each names its own fault, costs at most its time limit, and leaves the reader as it was."""

import os
import re
import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmreflect.errors import UserError
from mmreflect.media.decoders import load, open_video
from mmreflect.media.faults import check_file
from mmreflect.media.reader import ReaderConfig, VideoReader
from mmreflect.media.video import check_video, load_video
from mmreflect.records import FrameSampling, Media

Film = Callable[..., Path]
FAST = {"movflags": "faststart"}


@pytest.fixture(scope="module")
def content(film: Film) -> bytes:
    """Ten seconds with the index in front."""
    return film(frames=300, gop=50, options=FAST).read_bytes()


@pytest.fixture(scope="module")
def reader() -> Iterator[VideoReader]:
    """One worker for all that is broken."""
    made = VideoReader(ReaderConfig(cache="off", workers=1))
    yield made
    made.close()


@pytest.fixture(scope="module")
def index_last(film: Film) -> bytes:
    return film(frames=300, gop=50).read_bytes()


def nothing(path: Path, content: bytes, index_last: bytes) -> None:
    pass


def folder(path: Path, content: bytes, index_last: bytes) -> None:
    path.mkdir()


def pipe(path: Path, content: bytes, index_last: bytes) -> None:
    os.mkfifo(path)


def empty(path: Path, content: bytes, index_last: bytes) -> None:
    path.write_bytes(b"")


def zeros(path: Path, content: bytes, index_last: bytes) -> None:
    path.write_bytes(bytes(100_000))


def text(path: Path, content: bytes, index_last: bytes) -> None:
    path.write_text("404: no such video\n" * 40)


def picture(path: Path, content: bytes, index_last: bytes) -> None:
    Image.new("RGB", (64, 64)).save(path, format="PNG")


def picture_in_boxes(path: Path, content: bytes, index_last: bytes) -> None:
    path.write_bytes(b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf" + b"\0\0\0\x08meta" + bytes(300))


def icon(path: Path, content: bytes, index_last: bytes) -> None:
    Image.new("RGB", (64, 64)).save(path, format="ICO")


def no_index(path: Path, content: bytes, index_last: bytes) -> None:
    path.write_bytes(index_last[: len(index_last) // 2])


def half_an_index(path: Path, content: bytes, index_last: bytes) -> None:
    path.write_bytes(index_last[:-500])


def half_the_frames(path: Path, content: bytes, index_last: bytes) -> None:
    path.write_bytes(content[: len(content) - (len(content) - content.index(b"mdat")) // 2])


def scrambled(path: Path, content: bytes, index_last: bytes) -> None:
    changed = bytearray(content)
    start = content.index(b"mdat") + (len(content) - content.index(b"mdat")) // 3
    changed[start : start + 200] = (
        np.random.Generator(np.random.Philox(1)).integers(0, 256, 200, dtype=np.uint8).tobytes()
    )
    path.write_bytes(changed)


def unknown_codec(path: Path, content: bytes, index_last: bytes) -> None:
    path.write_bytes(content.replace(b"avc1", b"zzzz"))


def sound(path: Path, content: bytes, index_last: bytes) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16_000))


def no_frame(path: Path, content: bytes, index_last: bytes) -> None:
    """The index of a streamed video, before its first part."""
    import av

    options = {"movflags": "frag_keyframe+empty_moov+delay_moov"}
    with av.open(str(path), "w", format="mp4", options=options) as container:
        stream: Any = container.add_stream("libx264", rate=30)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for shade in (0, 99):
            for packet in stream.encode(
                av.VideoFrame.from_ndarray(np.full((64, 64, 3), shade, np.uint8), format="rgb24")
            ):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"moof") - 4])


def huge_frames(path: Path, content: bytes, index_last: bytes) -> None:
    import av

    with av.open(str(path), "w", format="avi") as container:
        stream: Any = container.add_stream("rawvideo", rate=30)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for packet in stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")):
            container.mux(packet)
    small, large = (side.to_bytes(4, "little") * 2 for side in (64, 12_000))
    assert small in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(small, large))


BROKEN = [
    (nothing, r"no such video: "),
    (folder, r"a folder, no video: "),
    (pipe, r"a pipe or device, no file: "),
    (empty, r"the video file is empty: "),
    (zeros, r"the file starts with 65,536 zero bytes: "),
    (text, r"not a video, or broken from the start: .* \(760 bytes, starts with b'404: no '; it is text\)"),
    (picture, r"not a video, .*PNG.*; it is a picture\)"),
    (picture_in_boxes, r"not a video, .*ftyp'; it is a picture\)"),
    (icon, r"not a video, .*; FFmpeg reads it as ico\)"),
    (no_index, r"the video is cut off before its index \(no moov box in [\d,]+ bytes\): "),
    (half_an_index, r"the video is cut off inside its index \([\d,]+ of at least [\d,]+ bytes\): "),
    (half_the_frames, r"the video breaks off after \d\.\d of 10\.0 s \(1\d\d of 300 frames are there\): "),
    (scrambled, r"the video is damaged at \d\.\d s: "),
    (unknown_codec, r"no decoder for the pictures of "),
    (sound, r"no picture track in .*: it holds sound only"),
    (no_frame, r"the video holds no frame: "),
    (huge_frames, r"the header of .* names an impossible frame size \(12000x12000 pixels\)"),
]


@pytest.mark.parametrize(("broken", "reason"), BROKEN, ids=lambda item: getattr(item, "__name__", ""))
def test_each_fault_has_its_own_reason(
    broken: Callable[[Path, bytes, bytes], None],
    reason: str,
    tmp_path: Path,
    content: bytes,
    index_last: bytes,
    reader: VideoReader,
    film: Film,
) -> None:
    path = tmp_path / "broken.mp4"
    broken(path, content, index_last)
    began = time.monotonic()
    with pytest.raises(UserError, match=reason) as caught:
        load_video(Media("video", str(path)), FrameSampling(fps=4), reader=reader)
    assert time.monotonic() - began < 10 and caught.value.do
    assert [other for _, other in BROKEN if re.match(other, caught.value.given)] == [reason], "a reason of its own"
    reader.info(film(frames=2))
    assert not reader.counts["killed"] and not reader.counts["crashed"], "the worker lives on"


@pytest.mark.parametrize("broken", [text, no_index, half_the_frames])
def test_a_check_finds_what_does_not_open(
    broken: Callable[[Path, bytes, bytes], None], tmp_path: Path, content: bytes, index_last: bytes
) -> None:
    broken(tmp_path / "broken.mp4", content, index_last)
    with pytest.raises(UserError, match=r"not a video|cut off|breaks off"):
        check_video(tmp_path / "broken.mp4")
    (tmp_path / "whole.mp4").write_bytes(content)
    check_video(tmp_path / "whole.mp4")


def test_frames_around_the_damage_are_shown(tmp_path: Path, content: bytes, reader: VideoReader) -> None:
    path = tmp_path / "broken.mp4"
    scrambled(path, content, content)
    with pytest.raises(UserError, match=r"damaged at (\d\.\d) s") as caught:
        load_video(Media("video", str(path)), FrameSampling(fps=4), reader=reader)
    damage = float(caught.value.given.split(" s: ")[0].rpartition(" ")[2])
    for span in ((0.0, damage - 1.8), (damage + 3.5, 10.0)):
        assert len(load_video(Media("video", str(path), span=span), FrameSampling(fps=4), reader=reader).times_F) >= 4


@pytest.mark.parametrize("decoder", ["decord", "torchcodec"])
def test_other_decoders_give_a_reason_too(decoder: str, tmp_path: Path, content: bytes, index_last: bytes) -> None:
    """The same for what the file itself shows; only PyAV tells more apart."""
    pytest.importorskip(decoder, reason=f"{decoder} is not installed", exc_type=ImportError)
    try:
        load(decoder)  # type: ignore[arg-type]
    except UserError as error:
        pytest.skip(error.given)
    for number, (broken, reason) in enumerate(BROKEN):
        path = tmp_path / f"{number}.mp4"
        broken(path, content, index_last)
        with pytest.raises(UserError) as caught:
            check_file(str(path))
            list(open_video(str(path), decoder, 1).frames([place / 4 for place in range(40)]))  # type: ignore[arg-type]
        if broken in (nothing, folder, pipe, empty, zeros, text, picture, no_index, half_an_index):
            assert caught.match(reason)
