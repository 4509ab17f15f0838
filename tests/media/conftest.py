from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from mmreflect.media.reader import ReaderConfig, VideoReader, default_reader

BITS = 12


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The default reader of a test writes nowhere else."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    default_reader.cache_clear()
    yield
    default_reader().close()
    default_reader.cache_clear()


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[VideoReader]:
    """One worker process, frames kept in the test's own folder."""
    made = VideoReader(ReaderConfig(cache=str(tmp_path / "frames"), workers=1))
    yield made
    made.close()


def picture_of(number: int, height: int, width: int) -> npt.NDArray[np.uint8]:
    """Twelve bars, black or white: the number in binary."""
    bars = [255 * (number >> bit & 1) for bit in range(BITS)]
    return np.broadcast_to(
        np.repeat(np.array(bars, np.uint8), width // BITS)[None, :, None], (height, width // BITS * BITS, 3)
    )


def number_of(frame: npt.NDArray[np.uint8]) -> int:
    """Read the bars again, at whatever size."""
    height, width = frame.shape[:2]
    middles = [int((bit + 0.5) * width / BITS) for bit in range(BITS)]
    return sum((int(frame[height // 3, middle].mean()) > 127) << bit for bit, middle in enumerate(middles))


@pytest.fixture(scope="session")
def numbers() -> Callable[[Any], list[int]]:
    """Which frame of the source each frame of an array is."""
    return lambda frames: [number_of(frame) for frame in frames]


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Make a video whose frames carry their number."""

    def make(
        name: str = "film.mp4",
        frames: int = 90,
        *,
        fps: int = 30,
        gop: int = 250,
        size: tuple[int, int] = (64, 96),
        codec: str = "libx264",
        times: Sequence[float] | None = None,
        options: dict[str, str] | None = None,
    ) -> Path:
        import av

        path = tmp_path_factory.mktemp("film") / name
        with av.open(str(path), "w", options=options or {}) as container:
            stream: Any = container.add_stream(codec, rate=fps)
            stream.height, stream.width = size
            stream.pix_fmt = "yuv420p"
            tick = Fraction(1, 1000 if times else fps)
            stream.codec_context.time_base = tick
            if codec == "libx264":
                stream.options = {"g": str(gop), "keyint_min": str(gop), "sc_threshold": "0", "crf": "10"}
            elif codec != "rawvideo":
                stream.options = {"g": str(gop), "b": "4000000"}
            for number in range(frames):
                shown = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture_of(number, *size)), format="rgb24")
                shown.pts = round(times[number] * 1000) if times else number
                shown.time_base = tick
                for packet in stream.encode(shown):
                    container.mux(packet)
            for packet in stream.encode():
                container.mux(packet)
        return path

    return make
