"""The measured prior: its definition by hand, its fit, and measurements that are killed, repeated and refused."""

import json
import math
import os
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from mmreflect.errors import UserError
from mmreflect.files import read_json, read_jsonl
from mmreflect.media.cache import file_mark
from mmreflect.merge import attention, attention_maps
from mmreflect.merge.attention import Attention, Pictures, fit_decay, measure, read_prior
from mmreflect.merge.attention_maps import Probe, image_share

Models = Callable[[str], Path]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four pictures of different sizes, one of them in a folder below."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "more").mkdir()
    rng = np.random.default_rng(3)
    for name, side in (("a.png", 56), ("b.png", 84), ("c.jpg", 400), ("more/d.png", 112)):
        Image.fromarray(rng.integers(0, 255, (side, side, 3), dtype=np.uint8)).save(folder / name)
    return folder


def test_fit_finds_the_decay_that_made_the_shares() -> None:
    shares = [0.4 * math.exp(-0.1 * layer) for layer in (1, 2, 3, 4)]
    assert shares == pytest.approx([0.3619, 0.3275, 0.2963, 0.2681], abs=5e-5)
    assert fit_decay(shares) == pytest.approx((0.1, 0.4, 1.0))


def test_fit_of_three_points_by_hand() -> None:
    # ln a = 0, -1, -1: mean -2/3, slope ((-1)(2/3) + (1)(-1/3)) / 2 = -1/2, intercept -2/3 + 1 = 1/3;
    # residuals 1/6, -1/3, 1/6: 1/6 of 2/3 is left, so R2 = 3/4
    alpha, c, r2 = fit_decay([1.0, math.exp(-1), math.exp(-1)])
    assert (alpha, c, r2) == pytest.approx((0.5, math.exp(1 / 3), 0.75))


def test_a_share_of_nothing_is_taken_as_one_in_ten_thousand() -> None:
    assert fit_decay([1e-4, 0.0, 1e-9]) == pytest.approx((0.0, 1e-4, 1.0))
    with pytest.raises(UserError, match="cannot fit a decay to 1 layer"):
        fit_decay([0.3])


def test_share_is_a_mean_of_ratios_over_heads_and_queries() -> None:
    weights_HQT = torch.tensor([[[0.1, 0.3, 0.6], [0.0, 0.5, 0.5]], [[0.2, 0.0, 0.2], [0.5, 0.25, 0.25]]])
    # image masses of the four rows 0.3, 0.5, 0, 0.25; the third row sums to 0.4 only: (0.3 + 0.5 + 0 + 0.25) / 4
    assert image_share(weights_HQT, torch.tensor([False, True, False])) == pytest.approx(0.2625)
    # two image keys: 0.4, 0.5, 0.2 / 0.4, 0.75
    assert image_share(weights_HQT, torch.tensor([True, True, False])) == pytest.approx((0.4 + 0.5 + 0.5 + 0.75) / 4)
    with pytest.raises(UserError, match="attention is not finite"):
        image_share(weights_HQT * float("nan"), torch.tensor([False, True, False]))


def test_known_maps_give_known_shares(
    pictures: Path, tiny_model: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Layer 0 gives the picture 0.4 in one head and 0.2 in the other, layer 1 half of that; others see only text."""
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLAttention

    seen: list[tuple[int, int]] = []
    before = Qwen2_5_VLAttention.forward

    def known(self: Any, hidden_states: torch.Tensor, **keys: Any) -> Any:
        length = hidden_states.shape[1]
        first, count = 4, 9  # <|im_start|> user \n <|vision_start|>, then 3 x 3 tokens of 84 x 84 pixels
        weights = torch.zeros(1, 2, length, length)
        weights[..., 0] = 1.0
        for head, share in enumerate((0.4, 0.2)):
            share /= 1 + self.layer_idx
            weights[0, head, first + count :, first : first + count] = share / count
            weights[0, head, first + count :, 0] = 1 - share
        seen.append((self.layer_idx, length))
        return before(self, hidden_states, **keys)[0], weights

    monkeypatch.setattr(Qwen2_5_VLAttention, "forward", known)
    folder = tmp_path / "one"
    folder.mkdir()
    shutil.copy(pictures / "b.png", folder)
    found = measure(Pictures(pictures=str(folder)), str(tiny_model("qwen2_5_vl")), tmp_path / "cache")
    assert found.a == pytest.approx([0.3, 0.15]) and found.spread == [0.0, 0.0]
    # a straight line through two points: ln 0.3 at 1, ln 0.15 at 2
    assert (found.alpha, found.c, found.r2) == pytest.approx((math.log(2), 0.6, 1.0))
    assert [layer for layer, _ in seen] == [0, 1]


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_hooks_see_what_output_attentions_gives(family: str, pictures: Path, tiny_model: Models) -> None:
    from mmreflect.data.rendering import Conversation
    from mmreflect.records import Media

    probe = Probe(str(tiny_model(family)), "What is this?", 64, "float32")
    item = Media("image", str(pictures / "b.png"))
    given = probe(item)
    parts = [{"type": "image"}, {"type": "text", "text": "What is this?"}]
    renderer = probe._renderer
    (ids,) = renderer.encode([Conversation([{"role": "user", "content": parts}], [item])], reply=True)
    ids_BT = torch.tensor([ids])
    with torch.inference_mode():
        maps = probe.model(
            input_ids=ids_BT,
            attention_mask=torch.ones_like(ids_BT),
            mm_token_type_ids=renderer.token_types(ids_BT),
            **renderer.model_inputs([ids], [[item]]),
            output_attentions=True,
        ).attentions
    is_image = np.array(ids) == renderer.image_pad
    last = int(np.flatnonzero(is_image)[-1])
    expected = [map_.double().numpy()[0][:, last + 1 :][..., is_image].sum(-1).mean() for map_ in maps]
    assert given == pytest.approx(expected, rel=1e-5) and len(given) == 2


def test_only_one_blocks_maps_live_at_a_time(pictures: Path, tiny_model: Models) -> None:
    from mmreflect.records import Media

    probe = Probe(str(tiny_model("qwen3_vl")), "What?", 64, "float32")
    maps: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []

    def look(module: Any, arguments: Any, output: Any) -> None:
        alive.append(sum(item() is not None for item in maps))
        maps.append(weakref.ref(output[1]))

    for block in probe._blocks:
        block.register_forward_hook(look)
    probe(Media("image", str(pictures / "b.png")))
    assert alive == [0, 0] and all(item() is None for item in maps)


def test_a_large_picture_is_shrunk_to_the_cap(pictures: Path, tiny_model: Models) -> None:
    from mmreflect.data.rendering import Conversation
    from mmreflect.records import Media

    for family in ("qwen2_5_vl", "qwen3_vl"):
        renderer = Probe(str(tiny_model(family)), "?", 16, "float32")._renderer
        item = Media("image", str(pictures / "c.jpg"))
        (ids,) = renderer.encode(
            [Conversation([{"role": "user", "content": [{"type": "image"}]}], [item])], reply=False
        )
        assert 9 <= ids.count(renderer.image_pad) <= 16


def test_prior_is_written_shown_and_read_back(
    pictures: Path, tiny_model: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder := tmp_path / "mixed").mkdir()
    for file in pictures.glob("*.*"):
        shutil.copy(file, folder)
    (folder / "broken.png").write_bytes(b"no picture")
    shutil.copy(pictures / "a.png", folder / "a again.png")
    model = str(tiny_model("qwen2_5_vl"))
    found = measure(Pictures(pictures=str(folder), max_tokens=32), model, tmp_path / "cache")
    said = capsys.readouterr().out
    assert "1 picture left out" in said and "not a picture" in said and "over 3 pictures" in said
    tree = read_json(tmp_path / "cache/prior.json")
    assert tree["model"] == model and tree["a"] == found.a and len(tree["a"]) == 2 and tree["C"] == found.c
    assert tree["pictures"]["measured"] == 3 and list(tree["pictures"]["left_out"]) == [str(folder / "broken.png")]
    assert tree["settings"] == {
        "limit": 1000, "max_tokens": 32, "prompt": "Describe this image.", "dtype": found.settings["dtype"], "seed": 0,
    }  # fmt: skip
    assert fit_decay(found.a) == (found.alpha, found.c, found.r2) and all(0 < share < 1 for share in found.a)
    assert read_prior(tmp_path / "cache") == read_prior(tmp_path / "cache/prior.json") == found


@pytest.mark.parametrize("size", [(3000, 4), (4, 3000)])
def test_a_picture_that_the_processor_refuses_is_left_out(
    size: tuple[int, int], pictures: Path, tiny_model: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder := tmp_path / "mixed").mkdir()
    shutil.copy(pictures / "a.png", folder)
    Image.new("RGB", size).save(folder / "line.png")
    found = measure(Pictures(pictures=str(folder), max_tokens=32), str(tiny_model("qwen2_5_vl")), tmp_path / "cache")
    assert found.pictures["measured"] == 1
    (why,) = found.pictures["left_out"].values()
    assert why.startswith(f"{folder / 'line.png'}: absolute aspect ratio must be smaller than 200")
    assert "1 picture left out" in capsys.readouterr().out


def test_a_killed_measurement_goes_on_and_ends_the_same(
    pictures: Path, tiny_model: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, model = Pictures(pictures=str(pictures), max_tokens=32), str(tiny_model("qwen2_5_vl"))
    whole = measure(options, model, tmp_path / "whole")
    asked: list[str] = []
    before = Probe.__call__

    def dies(self: Probe, item: Any) -> list[float]:
        if len(asked) == 2:
            raise KeyboardInterrupt
        asked.append(item.path)
        return before(self, item)

    with monkeypatch.context() as patch:
        patch.setattr(Probe, "__call__", dies)
        with pytest.raises(KeyboardInterrupt):
            measure(options, model, tmp_path / "cut")
    (lines,) = (tmp_path / "cut").glob("attention-*.jsonl")
    assert len(list(read_jsonl(lines))) == 2 and not (tmp_path / "cut/prior.json").exists()
    with open(lines, "a") as file:
        file.write('{"key": "half a li')
    assert measure(options, model, tmp_path / "cut") == whole
    assert len(list(read_jsonl(lines))) == 4, "two were measured again"
    files = [(tmp_path / name / "prior.json").read_text() for name in ("whole", "cut")]
    assert files[0] == files[1]


def test_what_was_measured_is_not_measured_again(
    pictures: Path, tiny_model: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = str(tiny_model("qwen2_5_vl"))
    first = measure(Pictures(pictures=str(pictures), max_tokens=32), model, tmp_path / "cache")
    copied = tmp_path / "copied"
    shutil.copytree(model, copied)
    monkeypatch.setattr(attention_maps, "load_model", lambda options: pytest.fail("a model was loaded"))
    again = measure(Pictures(pictures=str(pictures), max_tokens=32), str(copied), tmp_path / "cache")
    assert again.a == first.a and again.model == str(copied), "the content counts, not the place"
    fewer = measure(Pictures(pictures=str(pictures), max_tokens=32, limit=2), model, tmp_path / "cache")
    assert fewer.pictures["measured"] == 2 and fewer.pictures["mark"] != first.pictures["mark"]
    for changed in ({"prompt": "What?"}, {"max_tokens": 16}):
        with pytest.raises(pytest.fail.Exception, match="a model was loaded"):
            options = {"pictures": str(pictures), "max_tokens": 32} | changed
            measure(Pictures(**options), model, tmp_path / "cache")  # type: ignore[arg-type]
    (copied / "config.json").write_text((copied / "config.json").read_text() + " ")
    with pytest.raises(pytest.fail.Exception, match="a model was loaded"):
        measure(Pictures(pictures=str(pictures), max_tokens=32), str(copied), tmp_path / "cache")


def test_a_single_changed_weight_anywhere_is_another_model(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fine-tuned checkpoint of the same sizes must not be given its parent's numbers."""
    (vlm := tmp_path / "vlm").mkdir()
    weights = {"a": torch.zeros(1_000_000)}
    asked: list[str] = []

    class Asked:
        def __init__(self, model: str, *rest: Any) -> None:
            asked.append(model)

        def __call__(self, item: Any) -> list[float]:
            return [0.5, 0.25]

    monkeypatch.setattr(attention_maps, "Probe", Asked)
    for place in (None, 70_000, 930_000):  # none of them in a piece that marks a video
        if place is not None:
            weights["a"][place] = 1.0
        save_file(weights, vlm / "model.safetensors")
        os.utime(vlm / "model.safetensors", ns=(1, 1))
        measure(Pictures(pictures=str(pictures)), str(vlm), tmp_path / "cache")
    (vlm / "chat_template.jinja").write_text("{{ messages }}")
    measure(Pictures(pictures=str(pictures)), str(vlm), tmp_path / "cache")
    measure(Pictures(pictures=str(pictures)), str(vlm), tmp_path / "cache")
    assert len(asked) == 4, "the last one is known"


def test_a_single_changed_byte_of_a_picture_is_another_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bitmap of 3 MB is stored as it is: a change in its middle keeps the size, and must not keep the numbers."""
    (folder := tmp_path / "pictures").mkdir()
    (vlm := tmp_path / "vlm").mkdir()
    save_file({"a": torch.zeros(1)}, vlm / "model.safetensors")
    asked: list[str] = []

    class Asked:
        def __init__(self, *how: Any) -> None:
            pass

        def __call__(self, item: Any) -> list[float]:
            asked.append(Path(item.path).name)
            return [0.5, 0.25] if len(asked) == 1 else [0.25, 0.125]

    monkeypatch.setattr(attention_maps, "Probe", Asked)
    Image.new("RGB", (1000, 1000)).save(folder / "b.bmp")
    content = bytearray((folder / "b.bmp").read_bytes())
    mark = file_mark(str(folder / "b.bmp"))
    first = measure(Pictures(pictures=str(folder)), str(vlm), tmp_path / "cache")
    content[1_300_000] = 255  # between the pieces that mark a video
    (folder / "a.bmp").write_bytes(content)
    assert file_mark(str(folder / "a.bmp")) == mark, "or the next lines could not fail"
    both = measure(Pictures(pictures=str(folder)), str(vlm), tmp_path / "cache")
    assert asked == ["b.bmp", "a.bmp"]
    assert (first.a, first.pictures["measured"]) == ([0.5, 0.25], 1)
    assert (both.a, both.pictures["measured"]) == ([0.375, 0.1875], 2)
    measure(Pictures(pictures=str(folder)), str(vlm), tmp_path / "cache")
    assert len(asked) == 2, "both are known"


def test_pictures_of_a_dataset(grid: Path, tiny_model: Models, tmp_path: Path) -> None:
    found = measure(Pictures(pictures=str(grid), limit=3), str(tiny_model("qwen2_5_vl")), tmp_path)
    assert found.pictures["measured"] == 3 and found.pictures["left_out"] == {}


def test_what_cannot_be_measured(grid: Path, pictures: Path, tiny_model: Models, tmp_path: Path) -> None:
    model = str(tiny_model("qwen2_5_vl"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/x.png").write_bytes(b"no picture")
    for folder, vlm, said in (
        (tmp_path / "gone", model, "no such folder of pictures"),
        (tmp_path / "empty", model, "holds no picture"),
        (tmp_path / "bad", model, "could be measured: not a picture: .*x.png"),
        (pictures, str(tmp_path / "empty"), "holds no safetensors"),
        (pictures, str(tiny_model("qwen3_5")), "1 decoder block of 2 have no softmax attention"),
    ):
        with pytest.raises(UserError, match=said):
            measure(Pictures(pictures=str(folder)), vlm, tmp_path / "cache")
    assert not (tmp_path / "cache/prior.json").exists()


def test_a_prior_that_is_none_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "prior.json"
    with pytest.raises(UserError, match="is no measured prior: FileNotFoundError"):
        read_prior(file)
    file.write_text('{"a": [0.1]}')
    with pytest.raises(UserError, match="is no measured prior: KeyError: 'model'"):
        read_prior(file)
    tree = Attention("m", {}, {}, [0.1, 1.5], [0, 0], 0.1, 0.1, 1.0, []).tree()
    file.write_text(json.dumps(tree))
    with pytest.raises(UserError, match="one share from 0 to 1 per decoder block"):
        read_prior(file)


def test_doubts_are_said() -> None:
    rising = Attention("m", {}, {}, [0.1, 0.2, 1e-5], [0.0] * 3, -0.5, 0.1, 0.3, [2])
    assert [text.split(":")[0].split(" (")[0] for text in rising.warnings()] == [
        "the fitted alpha is -0.5",
        "the exponential fits the measured attention badly",
        "a_l is below 0.0001 in 1 layer; the fit takes it as that",
    ]
    assert attention.Attention("m", {}, {}, [0.2, 0.1], [0.0, 0.0], 0.69, 0.4, 1.0, []).warnings() == []
