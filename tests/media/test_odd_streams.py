"""Healthy videos of rarer make, and files that end early: open groups, late tracks, times that begin anew or bunch up."""

import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmreflect.errors import UserError
from mmreflect.media import worker as worker_module
from mmreflect.media.decoders import open_video
from mmreflect.media.decoders._pyav_scan import from_key, joins
from mmreflect.media.reader import VideoReader
from mmreflect.media.video import load_video, video_info
from mmreflect.records import FrameSampling, Media

Film = Callable[..., Path]
Numbers = Callable[[Any], list[int]]
PACKET = 188
"""Bytes of one packet of a transport stream."""


def remade(source: Path, path: Path, change: Callable[[int], tuple[int, int]]) -> Path:
    """Write the packets of a video again, in ticks of a hundredth of a frame; `change` gives decoding and showing time."""
    import av

    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        stream: Any = new.add_stream_from_template(old.streams.video[0])
        for number, packet in enumerate(old.demux(video=0)):
            if packet.size:
                packet.stream, packet.time_base = stream, Fraction(1, 3000)
                packet.dts, packet.pts = change(number)
                packet.duration = 100
                new.mux(packet)
    return path


@pytest.fixture(scope="module")
def open_groups(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty seconds whose keyframes every 48 frames lean on what was before."""
    import av

    path = tmp_path_factory.mktemp("open") / "open.mp4"
    draw = np.random.Generator(np.random.Philox(0))
    ground = draw.integers(0, 255, (24, 40, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=30)
        stream.height, stream.width, stream.pix_fmt = 96, 160, "yuv420p"
        stream.options = {"g": "48", "sc_threshold": "0", "preset": "veryfast", "bf": "3", "x264-params": "open-gop=1"}
        for number in range(600):
            picture = np.roll(ground, (number * 2, number * 3), (0, 1))
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


@pytest.mark.parametrize("threads", [1, 2])
def test_open_groups_are_sought_like_closed_ones(threads: int, open_groups: Path) -> None:
    """The first frames of every group, those just before its keyframe too; nothing is read twice."""
    import av

    with av.open(str(open_groups)) as container:
        truth = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    source = open_video(str(open_groups), "pyav", threads)
    starts = range(48, 600, 48)
    for places in (*([start + step] for start in starts for step in (-2, 0, 1, 10)), [30, 150, 320, 599]):
        for place, picture in zip(places, source.frames([place / 30 for place in places]), strict=True):
            assert np.abs(picture.astype(int) - truth[place]).mean() < 1, place
    assert source.second_passes == 0


def test_packets_begin_with_one_that_decodes() -> None:
    """Before the first keyframe, and shown before it in its own group: left out; a later group is whole."""

    class Packet:
        def __init__(self, pts: int | None, is_keyframe: bool = False) -> None:
            self.pts, self.is_keyframe = pts, is_keyframe

    packets = [Packet(3), Packet(8, True), Packet(6), Packet(7), Packet(9), Packet(12, True), Packet(2), Packet(13)]
    assert [packet.pts for packet in from_key(iter(packets))] == [8, 9, 12, 2, 13]
    untimed = [Packet(None), Packet(None, True), Packet(None), Packet(None)]
    assert len(list(from_key(iter(untimed)))) == 3
    assert not list(from_key(iter(packets[:1])))


@pytest.mark.parametrize(
    ("content", "extra", "found"),
    [
        (b"\0\0\0\2\x06\0" + b"\0\0\0\2\x65\0", b"\1xxx\xff", False),
        (b"\0\0\0\2\x06\0" + b"\0\0\0\2\x41\0", b"\1xxx\xff", True),
        (b"\0\0\0\1\x09\xf0" + b"\0\0\1\x67\x42" + b"\0\0\1\x65\x88", b"", False),
        (b"\0\0\0\1\x09\xf0" + b"\0\0\1\x06\x42" + b"\0\0\1\x21\x88", b"", True),
        (b"\0\0\0\1\x09\xf0", b"", False),
        (b"\0\0\0\x09", b"\1xxx\xff", False),
    ],
)
def test_a_keyframe_that_joins_is_told_by_its_slices(content: bytes, extra: bytes, found: bool) -> None:
    """Type 5 begins everything anew, 1 to 4 do not; with lengths of four bytes, and with start codes."""

    class Stream:
        class codec_context:
            name, extradata = "h264", extra

    assert joins(content, Stream) is found


def test_a_track_that_appears_late_is_damage_and_no_bug(film: Film, tmp_path: Path, reader: VideoReader) -> None:
    """One packet of a transport stream names a track that was not there at opening; PyAV raises an IndexError."""
    content = bytearray(film("a.ts", frames=120, gop=50).read_bytes())
    starts = [at for at in range(0, len(content), PACKET) if content[at + 1 : at + 3] == b"\x41\x00"]
    content[starts[-20] + 2] = 0x54
    path = tmp_path / "late.ts"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"the video is damaged at \d\.\d s: .*late.ts"):
        load_video(Media("video", str(path)), FrameSampling(fps=4), reader=reader)


def test_what_a_library_raises_is_no_bug_of_ours(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    import av

    def fail(*_: Any) -> Any:
        return av.VideoFrame(4, 4, "no such format")

    monkeypatch.setattr(worker_module, "open_video", fail)
    path = str(film(frames=2))
    given, _, do = worker_module._Worker("pyav").answer({"op": "open", "path": path, "threads": 1})["error"]
    assert given == f"pyav fails over {path} (ValueError: not a pixel format: 'no such format')"
    assert do == "try another decoder, or remove its row"
    assert "ValueError" in worker_module._Worker("decord").answer({"op": "open", "path": path, "threads": 1})["bug"]


def test_streams_put_one_behind_the_other_are_one_video(film: Film, tmp_path: Path, numbers: Numbers) -> None:
    """Both begin at the same time: 90 frames and 60."""
    path = tmp_path / "both.ts"
    path.write_bytes(film("a.ts", frames=90).read_bytes() + film("b.ts", frames=60, gop=20).read_bytes())
    source = open_video(str(path), "pyav", 1)
    assert (source.info.frames, source.info.duration) == (150, pytest.approx(5.0))
    assert numbers(source.frames([0.5, 2.9, 3.5, 4.9])) == [15, 87, 15, 57]


def test_a_stream_cut_in_a_group_begins_with_the_next(film: Film, tmp_path: Path, numbers: Numbers) -> None:
    content = film("a.ts", frames=120, gop=50).read_bytes()
    path = tmp_path / "cut.ts"
    path.write_bytes(content[len(content) // 3 // PACKET * PACKET :])
    source = open_video(str(path), "pyav", 2)
    shown = numbers(source.frames([0.0, 1.0]))
    assert shown[0] in (50, 100) and shown[1] - shown[0] in (30, 19)


def test_an_even_index_is_not_believed_where_showing_is_uneven(film: Film, tmp_path: Path, numbers: Numbers) -> None:
    """Decoded every 100 ticks of 3000; a pause of half a second before frame 20.

    In one file it lasts to the end, which the last frame tells at opening. In the other frames 85 to 99 catch up, so
    that frame 100 is in time again and only the packets know.
    """
    film_path = film(frames=120, gop=50, codec="mpeg4")
    lasts = remade(film_path, tmp_path / "lasts.mp4", lambda place: (place * 100, place * 100 + 1500 * (place >= 20)))
    source = open_video(str(lasts), "pyav", 1)
    assert source.info.variable_rate and source.info.duration == pytest.approx(4.5, abs=0.01)
    assert numbers(source.frames([0.6, 0.9, 1.18, 3.0])) == [18, 19, 20, 75]

    def closes(place: int) -> tuple[int, int]:
        late = 9900 + (place - 85) * 5 if 85 <= place < 100 else place * 100 + 1500 * (20 <= place < 85)
        return place * 100, late

    source = open_video(str(remade(film_path, tmp_path / "closes.mp4", closes)), "pyav", 1)
    assert source.info.frames == 120 and source.info.duration == pytest.approx(4.0, abs=0.01)
    assert numbers(source.frames([0.6, 0.9, 1.18, 3.0, 3.7])) == [18, 19, 20, 75, 111]
    assert numbers(source.frames([1.0])) == [19]


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "libx264"), ("a.webm", "libvpx"), ("a.avi", "mpeg4")])
def test_files_shorter_than_they_say_are_refused(name: str, codec: str, film: Film, tmp_path: Path) -> None:
    import av

    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV cannot write {codec}")
    content = film(name, frames=120, gop=12, codec=codec).read_bytes()
    path = tmp_path / name
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(
        UserError, match=r"the video breaks off after \d\.\d of \d\.\d s \(\d\d of \d+ frames are there\)"
    ):
        open_video(str(path), "pyav", 1)
    path.write_bytes(content[:-5])
    assert open_video(str(path), "pyav", 1).info.frames >= 118, "the end of the index is no loss"


def test_a_claim_without_proof_is_counted(film: Film, reader: VideoReader) -> None:
    """The header of this MKV says 999 seconds, and the file is as long as it says."""
    path = film("a.mkv", frames=60)
    content = path.read_bytes()
    place = content.index(b"\x44\x89\x88") + 3
    content = content.replace(b"DURATION", b"XURATION")
    path.write_bytes(content[:place] + struct.pack(">d", 999_000.0) + content[place + 8 :])
    info = video_info(path, reader)
    assert info.claimed == pytest.approx(999.0) and info.duration == pytest.approx(2.0, abs=0.01)
    assert reader.counts == {"shorter than claimed": 1}
    assert video_info(film("b.mkv", frames=60), reader).claimed is None
    assert reader.counts == {"shorter than claimed": 1}


@pytest.mark.parametrize(
    ("matrix", "sides"),
    [
        ((1, 0, 0, 1), ("left", "top")),
        ((-1, 0, 0, 1), ("right", "top")),
        ((1, 0, 0, -1), ("left", "bottom")),
        ((0, 1, 1, 0), ("top", "left")),
        ((0, -1, -1, 0), ("bottom", "right")),
        ((0, 1, -1, 0), ("top", "right")),
    ],
)
def test_a_mirrored_video_is_shown_as_players_do(
    matrix: tuple[int, ...], sides: tuple[str, str], tmp_path: Path
) -> None:
    """White at the left and grey at the top as stored; x' = ax + cy, y' = bx + dy."""
    import av

    path = tmp_path / "m.mp4"
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[:16], picture[:, :16] = 100, 255
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=30)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        for packet in [*stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")), *stream.encode()]:
            container.mux(packet)
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 44
    a, b, c, d = (value << 16 for value in matrix)
    content[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    (frame,) = open_video(str(path), "pyav", 1).frames([0.0])
    assert frame.shape == ((64, 96, 3) if matrix[0] else (96, 64, 3)) and frame.flags.c_contiguous
    parts = {"top": frame[:8], "bottom": frame[-8:], "left": frame[:, :8], "right": frame[:, -8:]}
    white = max(parts, key=lambda side: (parts[side] > 200).mean())
    grey = max(parts, key=lambda side: ((parts[side] > 60) & (parts[side] < 140)).mean())
    assert (white, grey) == sides


def test_an_impossible_rate_is_refused(film: Film, tmp_path: Path) -> None:
    """The rate of an AVI patched to a frame in some 400 days, and to a billion frames a second."""
    content = film("a.avi", frames=10, codec="mpeg4").read_bytes()
    place = content.index(b"strh") + 8 + 20
    scale, rate = struct.unpack("<2I", content[place : place + 8])
    assert rate == 30 * scale
    for numbers in ((35_000_000, 1), (1, 1_000_000_000)):
        path = tmp_path / "odd.avi"
        path.write_bytes(content[:place] + struct.pack("<2I", *numbers) + content[place + 8 :])
        with pytest.raises(UserError, match=r"the header of .*odd.avi gives an impossible length \([\d,]+\.\d s at "):
            open_video(str(path), "pyav", 1)
