"""ZeRO's files, written in DeepSpeed's layout, read without DeepSpeed: the arithmetic by hand, then whole models."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from exporting.trained import moved, read_zero, save_zero
from safetensors.torch import load_file

from mmreflect.cli import main
from mmreflect.errors import UserError
from mmreflect.exporting.deepspeed import open_zero

Models = Callable[[str], Path]


def values(first: int, *shape: int) -> torch.Tensor:
    """Numbers in a row, so that a wrong place shows."""
    return torch.arange(first, first + torch.Size(shape).numel(), dtype=torch.float32).reshape(shape)


# ten values in the first group: 5 and 5 on two ranks would cut b; padded to 12, rank 0 holds 6 and rank 1 the other 4
GROUPS = [{"a": values(0, 3), "b": values(3, 2, 2), "c": values(7, 3)}, {"d": values(20, 5)}]


@pytest.mark.parametrize("stage", [2, 3])
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_parameters_are_put_together_across_ranks_and_padding(tmp_path: Path, stage: int, ranks: int) -> None:
    frozen = {"f": values(40, 5).bfloat16(), "g": values(50, 2, 3)}
    buffers = {"steps": torch.tensor([3], dtype=torch.int64)}
    save_zero(tmp_path, stage, GROUPS, ranks, frozen, {"alias": "b", "gone": "missing"}, buffers)
    zero = open_zero(tmp_path / "global_step7")
    assert (zero.stage, zero.ranks, zero.version) == (stage, ranks, "0.16.0")
    expected = {**GROUPS[0], **GROUPS[1], **frozen, **buffers, "alias": GROUPS[0]["b"]}
    assert zero.tensors.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(zero.read(name), value) and zero.read(name).dtype == value.dtype, name
        assert zero.tensors[name].shape == tuple(value.shape)


def test_files_of_two_ranks_are_what_the_layout_says(tmp_path: Path) -> None:
    """The vectors that the reader's test stands on, by hand."""
    save_zero(tmp_path / "two", 2, GROUPS)
    save_zero(tmp_path / "three", 3, GROUPS)
    found = {}
    for name in ("two", "three"):
        for rank in (0, 1):
            file = tmp_path / name / f"global_step7/zero_pp_rank_{rank}_mp_rank_00_optim_states.pt"
            found[name, rank] = read_zero(file)["optimizer_state_dict"]
    flat = "single_partition_of_fp32_groups"
    assert found["two", 0][flat][0].tolist() == [0, 1, 2, 3, 4, 5] and found["two", 1][flat][0].tolist() == [6, 7, 8, 9]
    cut = "fp32_flat_groups"
    assert found["three", 0][cut][0].tolist() == [0, 1, 3, 4, 7, 8]
    assert found["three", 1][cut][0].nan_to_num(-1).tolist() == [2, -1, 5, 6, 9, -1]


def test_a_parameter_may_lie_across_two_groups_of_a_rank(tmp_path: Path) -> None:
    save_zero(tmp_path, 3, [GROUPS[0]])
    step = tmp_path / "global_step7"
    for rank in (0, 1):
        file = step / f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt"
        state = read_zero(file)
        (whole,) = state["optimizer_state_dict"]["fp32_flat_groups"]
        plain = {"zero_stage": 3, "partition_count": 2, "fp32_flat_groups": [whole[:3].clone(), whole[3:].clone()]}
        torch.save({"optimizer_state_dict": plain}, file)
    zero = open_zero(step)
    assert all(torch.equal(zero.read(name), value) for name, value in GROUPS[0].items())


@pytest.mark.parametrize(("family", "stage"), [("qwen2_5_vl", 2), ("qwen3_vl", 3)])
def test_a_model_is_exported_as_it_was_trained(
    family: str, stage: int, tiny_model: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tiny_model(family)
    model = moved(base)
    state = {name: value for name, value in model.state_dict().items() if name != "lm_head.weight"}
    vision = {name: value for name, value in state.items() if "visual" in name}
    rest = {name: value for name, value in state.items() if name not in vision}
    odd = {name: value for name, value in rest.items() if value.ndim < 2}
    even = {name: value for name, value in rest.items() if name not in odd}
    output = tmp_path / "trainer/checkpoint-7"
    save_zero(output, stage, [even, odd], 2, vision, {"lm_head.weight": "model.language_model.embed_tokens.weight"})
    assert main(["export", str(output), f"output={tmp_path / 'out'}", f"base={base}", "max_shard_size=200KB"]) == 0
    said = capsys.readouterr().out
    assert f"ZeRO {'1 or 2' if stage == 2 else '3'}, 2 ranks, version 0.16.0" in " ".join(said.split())
    files = sorted((tmp_path / "out").glob("*.safetensors"))
    written = {name: value for file in files for name, value in load_file(file).items()}
    assert len(files) > 1 and all(sum(v.nbytes for v in load_file(file).values()) <= 200_000 for file in files)
    original = load_file(base / "model.safetensors")
    assert written.keys() == original.keys(), "names as the base has them on disk, the tied head not twice"
    card = (tmp_path / "out/README.md").read_text()
    assert (
        "equal to those of the trained weights in float32, to the last bit" in card
        and "from the shards of DeepSpeed" in card
    )
    from mmreflect.models import ModelConfig, load_model

    again = load_model(ModelConfig(path=str(tmp_path / "out"), dtype="float32")).model.state_dict()
    assert all(torch.equal(again[name], value) for name, value in model.state_dict().items())


def shards(folder: Path, stage: int = 2) -> Path:
    return save_zero(folder, stage, GROUPS) / "global_step7"


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    step = shards(tmp_path / "a")
    (step / "zero_pp_rank_0_mp_rank_00_optim_states.pt").unlink()
    with pytest.raises(UserError, match=r"lacks the file of rank 0[\s\S]*files of all 2 ranks"):
        open_zero(step)
    step = shards(tmp_path / "b")
    (step / "zero_pp_rank_1_mp_rank_00_optim_states.pt").unlink()
    with pytest.raises(UserError, match=r"lacks the file of rank 1[\s\S]*files of all 2 ranks"):
        open_zero(step)
    step = shards(tmp_path / "c", 3)
    (step / "zero_pp_rank_1_mp_rank_00_model_states.pt").unlink()
    with pytest.raises(UserError, match=r"zero_pp_rank_1_mp_rank_00_model_states.pt is missing"):
        open_zero(step)
    step = shards(tmp_path / "d")
    shutil.copy(step / "zero_pp_rank_1_mp_rank_00_optim_states.pt", step / "zero_pp_rank_2_mp_rank_00_optim_states.pt")
    with pytest.raises(UserError, match="holds the files of 3 ranks, and says that it was written by 2"):
        open_zero(step)


def test_a_file_that_is_cut_short_is_named(tmp_path: Path) -> None:
    step = shards(tmp_path)
    file = step / "zero_pp_rank_1_mp_rank_00_optim_states.pt"
    with open(file, "r+b") as opened:
        opened.truncate(os.path.getsize(file) // 2)
    with pytest.raises(UserError, match=r"zero_pp_rank_1_mp_rank_00_optim_states.pt is cut short or damaged"):
        open_zero(step)


def test_files_of_two_steps_do_not_pass(tmp_path: Path) -> None:
    step = shards(tmp_path / "a")
    other = save_zero(tmp_path / "b", 2, [{"a": values(0, 2)}, GROUPS[1]]) / "global_step7"
    shutil.copy(other / "zero_pp_rank_1_mp_rank_00_optim_states.pt", step)
    with pytest.raises(UserError, match="the ranks hold 3 values of 'b'"):
        open_zero(step)
    step = shards(tmp_path / "c")
    shutil.copy(other / "mp_rank_00_model_states.pt", step)
    with pytest.raises(UserError, match="the ranks hold 10 values, and the shapes ask for 2"):
        open_zero(step)
    step = shards(tmp_path / "d", 3)
    other = save_zero(tmp_path / "e", 3, [{"a": values(0, 2)}, GROUPS[1]]) / "global_step7"
    for rank in (0, 1):
        shutil.copy(other / f"zero_pp_rank_{rank}_mp_rank_00_model_states.pt", step)
    with pytest.raises(UserError, match="the ranks hold 18 values, and the shapes ask for 8"):
        open_zero(step)


def test_models_cut_otherwise_are_refused(tmp_path: Path) -> None:
    step = shards(tmp_path / "a")
    shutil.copy(step / "zero_pp_rank_0_mp_rank_00_optim_states.pt", step / "zero_pp_rank_0_mp_rank_01_optim_states.pt")
    with pytest.raises(UserError, match=r"zero_pp_rank_0_mp_rank_01_optim_states.pt: a model that was also cut"):
        open_zero(step)
    step = shards(tmp_path / "b")
    (step / "layer_00-model_states.pt").touch()
    with pytest.raises(UserError, match="a model that was also cut across tensors, experts or a pipeline"):
        open_zero(step)
    (tmp_path / "c/latest").parent.mkdir()
    (tmp_path / "c/latest").write_text("global_step9")
    assert main(["export", str(tmp_path / "c"), f"output={tmp_path / 'out'}", f"base={tmp_path}"]) == 2


class _Evil:
    def __reduce__(self) -> Any:
        return os.system, ("touch /tmp/mmreflect-was-here",)


def test_a_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path: Path) -> None:
    step = shards(tmp_path)
    torch.save({"optimizer_state_dict": _Evil()}, step / "zero_pp_rank_0_mp_rank_00_optim_states.pt")
    with pytest.raises(UserError, match=r"holds more than weights: \w+.system, which could run code"):
        open_zero(step)
    assert not Path("/tmp/mmreflect-was-here").exists()


def test_frozen_parameters_that_were_not_saved(tmp_path: Path) -> None:
    step = save_zero(tmp_path, 2, GROUPS, frozen={"f": values(0, 3)}) / "global_step7"
    file = step / "mp_rank_00_model_states.pt"
    state = torch.load(file, weights_only=True)
    torch.save(state | {"frozen_param_fragments": None}, file)
    with pytest.raises(UserError, match="values of the frozen parameter 'f' were not saved"):
        open_zero(step)


def test_an_adapter_in_shards_is_refused(
    tiny_model: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tiny_model("qwen2_5_vl")
    lora = {"base_model.model.model.language_model.layers.0.mlp.up_proj.lora_A.default.weight": values(0, 2, 32)}
    save_zero(tmp_path / "run", 2, [lora])
    assert main(["export", str(tmp_path / "run"), f"output={tmp_path / 'out'}", f"base={base}"]) == 2
    assert "hold an adapter beside the frozen model" in capsys.readouterr().err
    assert not (tmp_path / "out").exists() and list(tmp_path.glob(".*")) == []


def test_shards_of_another_model_are_refused(
    tiny_model: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tiny_model("qwen2_5_vl")
    state = dict(moved(base).state_dict())
    norm, odd = "model.language_model.norm.weight", "model.language_model.layers.0.mlp.up_proj.weight"
    for number, (change, said) in enumerate((
        ({odd: values(0, 4, 32)}, f"{odd!r} has the shape [4, 32]\n  expected: [96, 32]"),
        ({norm: None}, f"without {norm!r}"),
        ({"more": values(0, 2)}, "with 'more', which it does not have"),
        ({"lm_head.weight": values(0, *state["lm_head.weight"].shape)}, "differ, and the configuration ties them"),
    )):  # fmt: skip
        changed = {name: value for name, value in {**state, **change}.items() if value is not None}
        save_zero(tmp_path / f"run{number}", 2, [changed])
        assert main(["export", str(tmp_path / f"run{number}"), f"output={tmp_path / 'out'}", f"base={base}"]) == 2
        assert said in capsys.readouterr().err
