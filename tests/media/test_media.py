"""Pictures and videos from real files."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmreflect.errors import UserError
from mmreflect.media.images import load_image
from mmreflect.media.video import even_times, load_video
from mmreflect.records import Media


def test_transparent_pixels_become_white_and_exif_is_obeyed(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (4, 2), (255, 0, 0, 0))
    clear.save(tmp_path / "clear.png")
    assert load_image(tmp_path / "clear.png").getpixel((0, 0)) == (255, 255, 255)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (4, 2)).save(tmp_path / "turned.jpg", exif=exif)
    assert load_image(tmp_path / "turned.jpg").size == (2, 4)


@pytest.mark.parametrize("crop", [(0, 0, 5, 2), (2, 0, 2, 2), (-1, 0, 2, 2)])
def test_a_crop_that_does_not_fit_is_refused(crop: tuple[int, int, int, int], tmp_path: Path) -> None:
    Image.new("RGB", (4, 2)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"does not fit .*[\s\S]*left < right <= 4 and top < bottom <= 2"):
        load_image(tmp_path / "a.png", crop)


def test_times_are_even_in_number_and_in_distance() -> None:
    assert even_times(0, 4, fps=1, max_frames=64) == [0.5, 1.5, 2.5, 3.5]
    assert even_times(0, 100, fps=1, max_frames=5) == [12.5, 37.5, 62.5, 87.5]
    assert even_times(2, 2.1, fps=1, max_frames=8) == pytest.approx([2.025, 2.075])


@pytest.mark.parametrize("decoder", ["av", "decord"])
def test_frames_are_those_at_their_times(decoder: str, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clip has 4 frames a second, each 20 brighter than the last."""
    import mmreflect.media.video as video

    monkeypatch.setattr(video.importlib.util, "find_spec", lambda name: name == decoder or None)
    video._length.cache_clear()
    found = load_video(Media("video", str(clip)), fps=2.0)
    assert found.frames_FHWC.shape == (6, 64, 64, 3) and found.fps == pytest.approx(2.0)
    expected = [round(time * 4) * 20 for time in found.times_F]
    assert np.abs(found.frames_FHWC.mean((1, 2, 3)) - expected).max() < 4
    part = load_video(Media("video", str(clip), span=(1.0, 2.0)), fps=4.0)
    assert part.frames_FHWC.shape[0] == 4 and 1.0 <= part.times_F[0] <= part.times_F[-1] < 2.0


@pytest.mark.parametrize("decoder", ["av", "decord"])
def test_what_is_no_video_is_named(decoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mmreflect.media.video as video

    monkeypatch.setattr(video.importlib.util, "find_spec", lambda name: name == decoder or None)
    (tmp_path / "x.mp4").write_text("no video")
    with pytest.raises(UserError, match="the video cannot be decoded"):
        load_video(Media("video", str(tmp_path / "x.mp4")))
    with pytest.raises(UserError, match="no such video"):
        load_video(Media("video", str(tmp_path / "gone.mp4")))


def test_without_a_decoder_the_extra_is_named(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mmreflect.media.video as video

    monkeypatch.setattr(video.importlib.util, "find_spec", lambda name: None)
    video._length.cache_clear()
    with pytest.raises(UserError, match=r"needs PyAV or decord[\s\S]*mmreflect\[video\]"):
        load_video(Media("video", str(clip)))
