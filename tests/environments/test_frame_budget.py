"""How many visual tokens frames take, and what a call gets within its budget: numbers worked out by hand."""

import pytest

from mmreflect.environments.frame_select import estimate, within_budget


def test_the_published_budget_vector() -> None:
    assert estimate(40, 0.5, 720, 1280) == 11_960
    assert within_budget(40, 0.5, 720, 1280) == (40, 0.5)
    assert estimate(50, 0.5, 720, 1280) == 14_950
    count, resize = within_budget(50, 0.5, 720, 1280)
    assert count == 46 and resize == pytest.approx(0.4647, abs=5e-5)
    assert resize / 0.5 == pytest.approx(0.9294, abs=5e-5)
    assert estimate(count, resize, 720, 1280) == 11_592


def test_a_call_above_the_budget_is_shrunk_to_720_lines_first() -> None:
    # 2160p at full size: 8 * 77 * 137 = 84,392; at 720 lines 8 * 26 * 46 = 9,568, which fits
    assert estimate(8, 1.0, 2160, 3840) == 84_392
    assert within_budget(8, 1.0, 2160, 3840) == (8, pytest.approx(1 / 3))
    assert estimate(8, 1 / 3, 2160, 3840) == 9_568


def test_units_of_32_pixels_take_fewer_tokens() -> None:
    # 720 * .5 / 32 = 11.25 -> 11, 1280 * .5 / 32 = 20
    assert estimate(50, 0.5, 720, 1280, unit=32) == 11_000
    assert within_budget(50, 0.5, 720, 1280, unit=32) == (50, 0.5)


def test_small_frames_cost_what_the_processor_enlarges_them_to() -> None:
    """Qwen3-VL's smallest picture is 65,536 pixels: 64 tokens of 32 x 32, in whole tokens 6 x 11 of 16:9."""
    assert estimate(768, 0.1, 720, 1280, unit=32) == 768 * 2 * 4
    assert estimate(768, 0.1, 720, 1280, unit=32, min_tokens=64) == 768 * 6 * 11
    assert estimate(1, 0.5, 720, 1280, unit=32, min_tokens=64) == 11 * 20, "large enough"
    assert within_budget(768, 0.1, 720, 1280, 12_000, 32, 64)[0] == 181, "12,000 / 66"
    assert within_budget(9, 0.1, 720, 1280, 64, 32, 64)[0] == 1, "no size makes it fit, and it ends"


@pytest.mark.parametrize(
    ("nframes", "resize", "height", "width"),
    [(100_000, 1.0, 720, 1280), (1, 9.0, 4320, 7680), (768, 0.01, 96, 128), (51, 0.493, 719, 1283), (3, 50.0, 20, 4000)],
)  # fmt: skip
def test_the_budget_always_holds(nframes: int, resize: float, height: int, width: int) -> None:
    for more in ((12_000, 28, 1), (12_000, 28, 4), (12_000, 32, 64)):
        count, size = within_budget(nframes, resize, height, width, *more)
        assert count >= 1 and size > 0 and estimate(count, size, height, width, *more[1:]) <= 12_000
