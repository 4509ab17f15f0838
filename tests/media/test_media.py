"""Pictures from real files."""

from pathlib import Path

import pytest
from PIL import Image

from mmreflect.errors import UserError
from mmreflect.media.images import load_image


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
