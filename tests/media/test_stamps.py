"""Times burnt into frames: where, how large, which colour."""

import numpy as np
import pytest
from PIL import Image

from mmreflect.media.stamps import burn, stamp_text


def test_one_decimal_and_the_unit() -> None:
    assert [stamp_text(seconds) for seconds in (0, 12.34, 297.0)] == ["0.0 s", "12.3 s", "297.0 s"]


@pytest.mark.parametrize("height", [100, 360, 720])
def test_it_is_red_in_the_lower_left_corner(height: int) -> None:
    picture = Image.new("RGB", (height * 16 // 9, height), (90, 90, 90))
    burn(picture, stamp_text(12.3))
    pixels = np.asarray(picture).astype(int)
    rows, columns = np.nonzero((pixels[..., 0] > 200) & (pixels[..., 1] < 60) & (pixels[..., 2] < 60))
    margin = 0.05 * height
    assert rows.max() == pytest.approx(height - margin, abs=2) and columns.min() == pytest.approx(
        margin, abs=0.02 * height
    )
    assert 0.06 * height < rows.max() - rows.min() + 1 < 0.1 * height, (
        "capitals of a font that is a tenth of the picture high"
    )
    assert (pixels[: height // 2] == 90).all()


def test_a_tiny_picture_is_stamped_too() -> None:
    picture = Image.new("RGB", (8, 4))
    burn(picture, "1.0 s")
    assert picture.size == (8, 4)
