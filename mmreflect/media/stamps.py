"""The time burnt into a frame: red, in the lower left corner, as REVISOR (arXiv 2511.13026, section 8.1) shows it."""

import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

HEIGHT, MARGIN = 0.10, 0.05
"""Of the font and of the space to the left and below, in parts of the picture's height."""
COLOUR = (255, 0, 0)


def stamp_text(seconds: float) -> str:
    """Write a time with one decimal, as in `12.3 s`."""
    return f"{seconds:.1f} s"


def burn(picture: "Image", text: str) -> None:
    """Write `text` into an RGB picture, in place.

    The text's bottom edge and left edge lie one margin from the picture's; a picture too narrow for it cuts it.
    """
    from PIL import ImageDraw

    margin = round(MARGIN * picture.height)
    font = _font(max(1, round(HEIGHT * picture.height)))
    ImageDraw.Draw(picture).text((margin, picture.height - margin), text, COLOUR, font=font, anchor="ls")


@functools.lru_cache(maxsize=16)
def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)
