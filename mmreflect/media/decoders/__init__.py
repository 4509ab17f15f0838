"""The libraries that decode videos, each behind the same two functions; one file each."""

import importlib
import importlib.util
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

from mmreflect.errors import UserError
from mmreflect.media import faults
from mmreflect.media.timeline import VideoInfo

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Picture = npt.NDArray[np.uint8]

DecoderName = Literal["pyav", "decord", "torchcodec"]
PACKAGES: dict[DecoderName, str] = {"pyav": "av", "decord": "decord", "torchcodec": "torchcodec"}
"""The package of each decoder, in the order in which they are tried.

PyAV comes first: it was the fastest where benchmarks/video_decode.py raced it, at every count and on every clip, with
decord at 1.2 to 2.2 times its time (docs/evidence/video_decode.md); it alone reads every form of file that we tried
right, where decord shows wrong frames of open groups; and it says what is wrong with a broken file. torchcodec comes
last because it brings torch into every worker and refuses variable rates; it has not been raced.
"""


class Source(Protocol):
    """An open video.

    Attributes:
        info: read from its packets; the first frame has been decoded.
        second_passes: how often the quick way to the frames failed and they were read once more from the start.
    """

    info: VideoInfo
    second_passes: int

    def frames(self, times: Sequence[float]) -> Iterator["Picture"]:
        """Yield the frame that is shown at each time, upright RGB (height, width, 3), uint8.

        Args:
            times: seconds from the first frame, ascending; the last frame stands for what comes after it.

        Raises:
            UserError: a frame cannot be decoded.
        """

    def close(self) -> None:
        """Let the file go."""


def open_video(path: str, decoder: DecoderName, threads: int) -> Source:
    """Open a video with one decoder and decode its first frame; `threads` is how many the decoder may use.

    Raises:
        UserError: why the file cannot be read; or the decoder is installed but does not load.
    """
    faults.check_content(path)
    source: Source = load(decoder).open_video(path, threads)
    try:
        faults.check_rate(path, source.info.duration, source.info.fps)
    except UserError:
        source.close()
        raise
    return source


def load(decoder: DecoderName) -> Any:
    """Import a decoder.

    Raises:
        UserError: it is installed but does not load.
    """
    try:
        return importlib.import_module(f"mmreflect.media.decoders.{decoder}")
    except (ImportError, OSError, RuntimeError) as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"the decoder {decoder} is installed but does not load ({said})", "a decoder that loads", _LOADS[decoder]
        ) from None


_LOADS: dict[DecoderName, str] = {
    "pyav": "pip install --force-reinstall av",
    "decord": "pip install --force-reinstall decord",
    "torchcodec": "install FFmpeg's libraries (Debian: apt-get install ffmpeg) and the torchcodec that fits torch",
}


def choose(wanted: Literal["auto"] | DecoderName) -> DecoderName:
    """Return the decoder to use; `auto` takes the first that is installed.

    Raises:
        UserError: the one named, or every one, is not installed.
    """
    for name, package in PACKAGES.items():
        if wanted in ("auto", name) and importlib.util.find_spec(package):
            return name
    if wanted == "auto":
        raise UserError(
            "reading videos needs PyAV, decord or torchcodec", "the extra 'video'", "pip install 'mmreflect[video]'"
        )
    raise UserError(
        f"the decoder {wanted} is not installed",
        "an installed decoder, or 'auto'",
        f"pip install {PACKAGES[wanted]}",
    )
