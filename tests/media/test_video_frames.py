"""Which frames of real files are shown, by every decoder and through the whole reader."""

import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmreflect.errors import UserError
from mmreflect.media.decoders import load, open_video
from mmreflect.media.images import load_media_image
from mmreflect.media.reader import ReaderConfig, VideoReader
from mmreflect.media.video import load_stills, load_video, video_info
from mmreflect.records import FrameSampling, Media

Film = Callable[..., Path]
Numbers = Callable[[Any], list[int]]


@pytest.fixture(params=["pyav", "decord", "torchcodec"])
def decoder(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(
        {"pyav": "av"}.get(request.param, request.param),
        reason=f"{request.param} is not installed",
        exc_type=ImportError,
    )
    try:
        load(request.param)
    except UserError as error:
        pytest.skip(error.given)
    return str(request.param)


@pytest.mark.parametrize("gop", [250, 12])
def test_every_decoder_gives_the_frames_of_their_times(decoder: str, gop: int, film: Film, numbers: Numbers) -> None:
    """Forwards, again from the start, and single frames; the same picture as the reference, PyAV without tricks."""
    import av

    path = film(frames=90, gop=gop)
    source = open_video(str(path), decoder, 2)  # type: ignore[arg-type]
    assert (source.info.frames, source.info.fps, source.info.duration) == (90, pytest.approx(30.0), pytest.approx(3.0))
    assert (source.info.width, source.info.height, source.info.variable_rate) == (96, 64, False)
    with av.open(str(path)) as container:
        truth = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    for times in ([0.0, 0.7, 0.7, 1.52, 2.9667], [0.1, 0.2], [2.5], [0.0], [-1.0, 99.0]):
        got = list(source.frames(times))
        wanted = [min(89, max(0, int(time * 30 + 0.1))) for time in times]
        assert numbers(got) == wanted
        assert (
            max(np.abs(frame.astype(int) - truth[number]).mean() for frame, number in zip(got, wanted, strict=True)) < 2
        )
    source.close()
    assert source.second_passes == 0


VARIABLE = [number / 20 for number in range(20)] + [1 + 0.4 * number for number in range(10)]


@pytest.mark.parametrize("decoder_name", ["pyav", "decord"])
def test_a_variable_rate_is_read_by_time(decoder_name: str, film: Film, numbers: Numbers) -> None:
    """A second at 20 frames per second, then one frame every 0.4 seconds until 4.6."""
    source = open_video(str(film(frames=30, times=VARIABLE)), decoder_name, 1)  # type: ignore[arg-type]
    info = source.info
    assert info.variable_rate and info.frames == 30 and 4.6 < info.duration <= 5.0
    assert info.fps == pytest.approx(30 / info.duration)
    assert numbers(source.frames([0.0, 0.51, 0.99, 1.0, 1.39, 1.4, 3.3, 4.7])) == [0, 10, 19, 20, 20, 21, 25, 29]


def test_torchcodec_refuses_a_variable_rate(film: Film) -> None:
    pytest.importorskip("torchcodec", reason="torchcodec is not installed")
    try:
        source = open_video(str(film(frames=30, times=VARIABLE)), "torchcodec", 1)
    except UserError as error:
        if "does not load" in error.given:
            pytest.skip(error.given)
        raise
    with pytest.raises(UserError, match=r"torchcodec does not tell which frame is shown at 0.5 s"):
        list(source.frames([0.5]))


@pytest.mark.parametrize(
    ("name", "codec", "gop"),
    [
        ("a.mkv", "libx264", 12),
        ("a.ts", "libx264", 12),
        ("a.avi", "mpeg4", 12),
        ("a.webm", "libvpx", 12),
        ("a.mp4", "libx265", 12),
    ],
)
def test_every_container_gives_every_frame(name: str, codec: str, gop: int, film: Film, numbers: Numbers) -> None:
    """Also those without an index, with rounded times, with times that do not begin at 0, and with open groups."""
    import av

    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV cannot write {codec}")
    source = open_video(str(film(name, frames=40, gop=gop, codec=codec)), "pyav", 2)
    assert source.info.frames == 40 and source.info.duration == pytest.approx(40 / 30, abs=0.01)
    for step in (1, 7, 19):
        places = list(range(3, 40, step))
        assert numbers(source.frames([place / 30 for place in places])) == places


@pytest.mark.parametrize(
    ("matrix", "size"), [((0, 1, -1, 0), (96, 48)), ((-1, 0, 0, -1), (48, 96)), ((0, -1, 1, 0), (96, 48))]
)
def test_a_turned_video_is_shown_upright(matrix: tuple[int, ...], size: tuple[int, int], film: Film) -> None:
    """The matrix of a quarter turn clockwise brings the first column, which is bright, to the top."""
    path = film(frames=2, size=(48, 96))
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 44  # the matrix of a version 0 header
    upright = struct.unpack(">9i", content[place : place + 36])
    assert upright == (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    a, b, c, d = (value << 16 for value in matrix)
    content[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    source = open_video(str(path), "pyav", 1)
    assert (source.info.height, source.info.width) == size
    (frame,) = source.frames([0.04])
    bright = {"top": frame[:6], "bottom": frame[-6:], "left": frame[:, :6], "right": frame[:, -6:]}
    expected = {(0, 1, -1, 0): "top", (-1, 0, 0, -1): "right", (0, -1, 1, 0): "bottom"}[matrix]
    assert max(bright, key=lambda side: bright[side].mean()) == expected


def test_a_clip_is_sampled_sized_and_timed(film: Film, numbers: Numbers, reader: VideoReader) -> None:
    path = film(frames=120, gop=30)
    clip = load_video(Media("video", str(path)), FrameSampling(fps=2, max_tokens=4, min_tokens=1), 28, None, reader)
    assert numbers(clip.frames_FHWC) == [0, 17, 34, 51, 68, 85, 102, 119]
    assert clip.frames_FHWC.shape == (8, 28, 56, 3) and clip.frames_FHWC.flags.writeable
    assert clip.times_F == pytest.approx([number / 30 for number in (0, 17, 34, 51, 68, 85, 102, 119)])
    own = Media("video", str(path), span=(1.0, 3.0), frames=FrameSampling(nframes=4, min_pixels=1024, max_pixels=4096))
    part = load_video(own, FrameSampling(fps=30), 32, None, reader)
    assert numbers(part.frames_FHWC) == [30, 50, 69, 89] and part.frames_FHWC.shape == (4, 32, 64, 3)
    assert part.fps == pytest.approx(2.0) and part.times_F[0] == pytest.approx(1.0)
    assert reader.counts == {"decoded": 2}


def test_a_crop_is_cut_before_it_is_resized(film: Film, reader: VideoReader) -> None:
    path = film(frames=4)
    shown = load_video(Media("video", str(path), crop=(0, 0, 48, 64)), FrameSampling(), 28, (784, 784 * 4), reader)
    assert shown.frames_FHWC.shape == (4, 56, 56, 3)
    with pytest.raises(UserError, match=r"crop \(0, 0, 97, 64\) does not fit .*[\s\S]*right <= 96"):
        load_video(Media("video", str(path), crop=(0, 0, 97, 64)), reader=reader)


def test_one_frame_becomes_two(film: Film, numbers: Numbers, reader: VideoReader) -> None:
    clip = load_video(Media("video", str(film(frames=1))), reader=reader)
    assert numbers(clip.frames_FHWC) == [0, 0] and reader.counts["repeated frames"] == 1


def test_stamps_run_from_the_start_to_the_end_of_the_span(
    film: Film, monkeypatch: pytest.MonkeyPatch, reader: VideoReader
) -> None:
    asked: list[Any] = []
    inner = VideoReader.read
    monkeypatch.setattr(
        VideoReader,
        "read",
        lambda self, path, requests, limit: (asked.extend(requests), inner(self, path, requests, limit))[1],
    )
    sampling = FrameSampling(nframes=4, timestamps=True, min_tokens=50, max_tokens=100)
    path = film(frames=120)
    whole = load_video(Media("video", str(path)), sampling, reader=reader)
    part = load_video(Media("video", str(path), span=(1.0, 99.0)), sampling, reader=reader)
    assert [request.stamps for request in asked] == [
        ("0.0 s", "1.3 s", "2.7 s", "4.0 s"),
        ("1.0 s", "2.0 s", "3.0 s", "4.0 s"),
    ]
    red = [
        int(((frames[..., 0].astype(int) - frames[..., 1]) > 120).sum())
        for frames in (*whole.frames_FHWC, *part.frames_FHWC)
    ]
    assert min(red) > 20, "every frame is stamped"


def test_what_does_not_fit_the_video_is_refused(film: Film, reader: VideoReader) -> None:
    path = film(frames=30)
    with pytest.raises(UserError, match=r"film.mp4: the span starts at 3 s, after the video's end at 1 s"):
        load_video(Media("video", str(path), span=(3.0, 4.0)), reader=reader)


def test_stills_are_frames_at_their_times(film: Film, numbers: Numbers, reader: VideoReader) -> None:
    path, other = film(frames=90, gop=20), film("b.mp4", frames=30)
    stills = [
        Media("image", str(path), at=2.0, scale=0.5),
        Media("image", str(other), at=0.5),
        Media("image", str(path), at=0.99),
        Media("image", str(path), at=99.0, crop=(0, 0, 96, 32)),
        Media("image", str(path), at=-1.0),
    ]
    pictures = load_stills(stills, reader)
    assert [picture.size for picture in pictures] == [(48, 32), (96, 64), (96, 64), (96, 32), (96, 64)]
    assert numbers([np.asarray(picture) for picture in pictures]) == [60, 15, 29, 89, 0]
    assert reader.counts == {"decoded": 5}
    load_stills(stills[:1], reader)
    assert reader.counts == {"decoded": 5, "cached": 1}
    assert load_media_image(stills[0]).size == (48, 32), "through the reader of this process"


def test_length_is_counted_and_not_believed(film: Film, reader: VideoReader) -> None:
    """The header of this MKV says 999 seconds."""
    path = film("a.mkv", frames=60)
    content = path.read_bytes()
    place = content.index(b"\x44\x89\x88") + 3
    assert struct.unpack(">d", content[place : place + 8])[0] == pytest.approx(2000.0, abs=40)
    path.write_bytes(content[:place] + struct.pack(">d", 999_000.0) + content[place + 8 :])
    info = video_info(path, reader)
    assert (
        info.frames == 60
        and info.duration == pytest.approx(2.0, abs=0.01)
        and info.fps == pytest.approx(30.0, abs=0.01)
    )


def test_what_is_not_installed_is_named(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(film(frames=2))
    real = __import__("importlib.util").util.find_spec
    hidden = {"decord"}
    monkeypatch.setattr(
        "mmreflect.media.decoders.importlib.util.find_spec", lambda name: None if name in hidden else real(name)
    )
    with pytest.raises(UserError, match=r"the decoder decord is not installed[\s\S]*pip install decord"):
        VideoReader(ReaderConfig(decoder="decord", cache="off")).info(path)
    hidden |= {"av", "torchcodec"}
    with pytest.raises(UserError, match=r"needs PyAV, decord or torchcodec[\s\S]*mmreflect\[video\]"):
        VideoReader(ReaderConfig(cache="off")).info(path)


def test_importing_costs_no_numpy() -> None:
    code = "import sys; import mmreflect.media.video, mmreflect.media.images; assert not {'numpy', 'torch', 'av', 'PIL'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_it_seeks_where_that_is_cheaper_and_reads_on_where_not(
    film: Film, numbers: Numbers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keyframes every 25 of 300 frames: far frames cost their own groups, near ones no seek but where a keyframe waits."""
    from mmreflect.media.decoders import pyav

    decoded: list[Any] = []
    seeks: list[int] = []
    inner_decode, inner_seek = pyav.PyAvSource._decode, pyav.PyAvSource._seek

    def decode(self: Any, packet: Any, skip: str) -> None:
        decoded.append(packet)
        inner_decode(self, packet, skip)

    def seek(self: Any, key: int, target: int) -> None:
        seeks.append(key)
        inner_seek(self, key, target)

    monkeypatch.setattr(pyav.PyAvSource, "_decode", decode)
    monkeypatch.setattr(pyav.PyAvSource, "_seek", seek)
    path = str(film(frames=300, gop=25))
    source = pyav.open_video(path, 1)
    decoded.clear()
    assert numbers(source.frames([0.0, 140 / 30, 290 / 30])) == [0, 140, 290]
    assert seeks == [125, 275] and len(decoded) <= 2 * 25

    seeks.clear()
    assert numbers(source.frames([60 / 30, 65 / 30, 72 / 30, 78 / 30, 101 / 30])) == [60, 65, 72, 78, 101]
    assert seeks == [50, 100], "the keyframe at 75 is 3 frames ahead of 72, the one at 100 is 22 ahead of 78"
