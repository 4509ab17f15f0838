"""Pictures and clips as a request takes them."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from remote.loopback import serving

from mmreflect.errors import UserError
from mmreflect.records import FrameSampling, Media, Turn
from mmreflect.remote.asks import Ask
from mmreflect.remote.client import Client
from mmreflect.remote.pictures import Pictures
from mmreflect.remote.settings import PictureConfig, ServerConfig


def made(folder: Path, name: str, mode: str = "RGB", size: tuple[int, int] = (40, 30), **saving: Any) -> Path:
    pixels = np.linspace(0, 255, size[0] * size[1] * 3).astype(np.uint8).reshape(size[1], size[0], 3)
    Image.fromarray(pixels).convert(mode).save(folder / name, **saving)
    return folder / name


def sent(media: Media, **options: Any) -> tuple[str, bytes]:
    (part,) = Pictures(PictureConfig(**options)).parts(media)
    return opened(part)


def opened(part: dict[str, Any]) -> tuple[str, bytes]:
    head, _, content = part["image_url"]["url"].partition(";base64,")
    assert part["type"] == "image_url" and head.startswith("data:image/")
    return head.removeprefix("data:image/"), base64.b64decode(content)


def picture(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


@pytest.mark.parametrize(
    ("name", "mode", "kind"),
    [("a.png", "RGB", "png"), ("b.jpg", "RGB", "jpeg"), ("c.png", "P", "png"), ("d.jpg", "L", "jpeg")],
)
def test_a_plain_file_is_sent_byte_for_byte(name: str, mode: str, kind: str, tmp_path: Path) -> None:
    file = made(tmp_path, name, mode)
    assert sent(Media("image", str(file)), max_pixels=1200) == (kind, file.read_bytes())


@pytest.mark.parametrize(
    ("name", "mode", "kind"),
    [("a.bmp", "RGB", "png"), ("b.webp", "RGB", "jpeg"), ("c.jpg", "CMYK", "jpeg"), ("d.gif", "P", "png")],
)
def test_other_formats_are_encoded_again(name: str, mode: str, kind: str, tmp_path: Path) -> None:
    found, content = sent(Media("image", str(made(tmp_path, name, mode))))
    assert found == kind and picture(content).size == (40, 30) and picture(content).mode == "RGB"


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(tmp_path / "a.png")
    kind, content = sent(Media("image", str(tmp_path / "a.png")))
    assert kind == "png" and picture(content).getpixel((3, 3)) == (255, 255, 255)


def test_a_turned_photo_is_sent_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    kind, content = sent(Media("image", str(made(tmp_path, "a.jpg", exif=exif))))
    assert kind == "jpeg" and picture(content).size == (30, 40) and not picture(content).getexif()


def test_crops_and_large_pictures(tmp_path: Path) -> None:
    file = str(made(tmp_path, "a.png"))
    kind, content = sent(Media("image", file, crop=(10, 5, 30, 20)))
    assert kind == "png" and np.array_equal(picture(content), np.asarray(Image.open(file))[5:20, 10:30])
    kind, content = sent(Media("image", file), max_pixels=300)
    assert kind == "png" and picture(content).size == (20, 15)
    assert picture(sent(Media("image", str(made(tmp_path, "long.png", size=(900, 2)))), max_pixels=100)[1]).size == (
        212,
        1,
    )


def test_a_frame_of_a_video(clip: Path) -> None:
    kind, content = sent(Media("image", str(clip), at=2.0, scale=0.5))
    assert kind == "jpeg" and picture(content).size == (32, 32)
    assert np.asarray(picture(content)).mean() == pytest.approx(8 * 20, abs=6)


@pytest.mark.parametrize("own", [True, False], ids=["of the medium", "of the run"])
def test_a_clip_is_its_frames_with_their_times(own: bool, clip: Path) -> None:
    sampling = FrameSampling(nframes=4, max_pixels=56 * 56)
    media = Media("video", str(clip), span=(1.0, 3.0), frames=sampling if own else None)
    parts = Pictures(PictureConfig() if own else PictureConfig(frames=sampling)).parts(media)
    assert [part["type"] for part in parts] == ["text", "image_url"] * 4
    times = [float(part["text"].removesuffix(" s:")) for part in parts[::2]]
    frames = [np.asarray(picture(opened(part)[1])) for part in parts[1::2]]
    assert times == pytest.approx([1.0, 1.5, 2.2, 2.8], abs=0.26) and times == sorted(times)
    assert {frame.shape for frame in frames} == {(56, 56, 3)}
    # The clip has 4 frames per second and grows brighter by 20 with each.
    assert [frame.mean() for frame in frames] == pytest.approx([time * 4 * 20 for time in times], abs=14)


def test_a_clip_of_one_frame_is_sent_once(clip: Path) -> None:
    parts = Pictures(PictureConfig()).parts(Media("video", str(clip), span=(0.0, 0.2)))
    assert len(parts) == 2


def test_bad_media_fail_their_own_asks(tmp_path: Path, clip: Path) -> None:
    torn = made(tmp_path, "torn.png", size=(200, 200))
    torn.write_bytes(torn.read_bytes()[:300])
    text = tmp_path / "text.png"
    text.write_text("no picture")
    bad = [Media("image", str(tmp_path / "none.png")), Media("video", str(tmp_path / "none.mp4")), Media("image", str(torn)),
           Media("image", str(text)), Media("video", str(clip), span=(60.0, 70.0))]  # fmt: skip
    asks = [
        Ask([Turn("user", [item, "What is it?"])]) for item in [*bad, Media("image", str(made(tmp_path, "good.png")))]
    ]
    with serving() as server, Client(ServerConfig(base_url=server.url, model="m", cache="off")) as client:
        answers = client.ask(asks)
    assert len(server.bodies) == 1 and answers[-1].error is None
    given = [str(answer.error) for answer in answers[:-1]]
    for error, reason in zip(
        given, ["no such picture", "no such video", "cannot be decoded", "not a picture", "60"], strict=True
    ):
        assert reason in error, error
    content = server.bodies[0]["messages"][0]["content"]
    assert [part["type"] for part in content] == ["image_url", "text"] and content[1]["text"] == "What is it?"


def test_what_was_made_is_kept_until_the_file_changes(tmp_path: Path) -> None:
    file = made(tmp_path, "a.png")
    pictures, media = Pictures(PictureConfig()), Media("image", str(file))
    first = pictures.parts(media)
    assert pictures.parts(media) is first
    made(tmp_path, "a.png", size=(50, 30))
    assert pictures.parts(media) != first
    file.unlink()
    with pytest.raises(UserError, match="no such picture"):
        pictures.parts(media)
