"""Shards that torch.distributed.checkpoint really wrote, put together without a process group."""

import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from exporting.trained import moved, save_fsdp
from safetensors.torch import load_file

from mmreflect.cli import main
from mmreflect.errors import UserError
from mmreflect.exporting.fsdp import open_fsdp
from mmreflect.models import ModelConfig, load_model

Models = Callable[[str], Path]
PLACE = "pytorch_model_fsdp_0"


@pytest.mark.parametrize(("family", "dtype"), [("qwen2_5_vl", "keep"), ("qwen3_vl", "bfloat16")])
def test_a_model_is_exported_as_it_was_trained(
    family: str, dtype: str, tiny_model: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tiny_model(family)
    model = moved(base)
    save_fsdp(model, tmp_path / "out/checkpoint-3")
    words = [f"output={tmp_path / 'hub'}", f"base={base}", f"dtype={dtype}"]
    assert main(["export", str(tmp_path / "out/checkpoint-3"), *words]) == 0
    capsys.readouterr()
    kind = torch.float32 if dtype == "keep" else torch.bfloat16
    again = load_model(ModelConfig(path=str(tmp_path / "hub"), dtype=str(kind)[6:])).model  # type: ignore[arg-type]
    saved = model.state_dict()
    assert all(torch.equal(value, saved[name].to(kind)) for name, value in again.state_dict().items())
    assert "to the last bit" in (tmp_path / "hub/README.md").read_text()
    assert f'"dtype": "{str(kind)[6:]}"' in (tmp_path / "hub/config.json").read_text()


@pytest.mark.parametrize("family", ["qwen3_vl", "qwen3_5"])
def test_experts_are_written_as_save_pretrained_writes_them(family: str, tiny_model: Models, tmp_path: Path) -> None:
    """Together in memory; on disk together (Qwen3-VL) or one by one (Qwen3.5)."""
    import transformers

    small = transformers.AutoConfig.from_pretrained(tiny_model(family))
    text = {key: value for key, value in small.text_config.to_dict().items() if key != "model_type"}
    text |= {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8, "decoder_sparse_step": 1}
    text["shared_expert_intermediate_size"] = 8
    vision = {key: value for key, value in small.vision_config.to_dict().items() if key != "model_type"}
    names = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    kind = {"qwen3_vl": "Qwen3VLMoe", "qwen3_5": "Qwen3_5Moe"}[family]
    config = getattr(transformers, f"{kind}Config")(
        text_config=text,
        vision_config=vision,
        tie_word_embeddings=True,
        **{name: getattr(small, name) for name in names},
    )
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}ForConditionalGeneration")(config)
    base = tmp_path / "base"
    shutil.copytree(tiny_model(family), base, ignore=shutil.ignore_patterns("*.safetensors"))
    model.save_pretrained(base)
    save_fsdp(model, tmp_path / "run")
    assert main(["export", str(tmp_path / "run"), f"output={tmp_path / 'hub'}", f"base={base}"]) == 0
    written, known = (load_file(place / "model.safetensors") for place in (tmp_path / "hub", base))
    assert written.keys() == known.keys() and all(torch.equal(written[name], value) for name, value in known.items())
    assert any("experts.3." in name for name in written) == (family == "qwen3_5")


def test_whole_weights_in_one_file(tiny_model: Models, tmp_path: Path) -> None:
    base = tiny_model("qwen2_5_vl")
    model = moved(base)
    (tmp_path / "run").mkdir()
    torch.save(model.state_dict(), tmp_path / "run/pytorch_model_fsdp.bin")
    words = [f"output={tmp_path / 'hub'}", f"base={base}", "verify=headers"]
    assert main(["export", str(tmp_path / "run"), *words]) == 0
    again = load_model(ModelConfig(path=str(tmp_path / "hub"), dtype="float32")).model.state_dict()
    assert all(torch.equal(again[name], value) for name, value in model.state_dict().items())


def loose(folder: Path) -> Path:
    """A checkpoint of three tensors."""
    import torch.distributed.checkpoint as shards

    values = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(7), "c": torch.zeros(0, 4)}
    shards.save({"model": values}, storage_writer=shards.FileSystemWriter(folder))
    return folder


def test_pieces_are_laid_where_they_belong(tmp_path: Path) -> None:
    """One tensor in four pieces, as two axes cut it: the metadata is edited so that rows and columns are pieces."""
    import torch.distributed.checkpoint as shards
    from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, MetadataIndex

    pieces = {"p00": torch.tensor([[0.0, 1]]), "p01": torch.tensor([[2.0]]), "p10": torch.tensor([[3.0, 4], [6, 7]])}
    pieces["p11"] = torch.tensor([[5.0], [8]])
    shards.save({"model": pieces}, storage_writer=shards.FileSystemWriter(tmp_path))
    metadata = pickle.loads((tmp_path / ".metadata").read_bytes())
    places = {"p00": (0, 0), "p01": (0, 2), "p10": (1, 0), "p11": (1, 2)}
    whole = metadata.state_dict_metadata["model.p00"]
    whole.size = torch.Size([3, 3])
    whole.chunks = [ChunkStorageMetadata(torch.Size(places[n]), pieces[n].shape) for n in places]
    metadata.state_dict_metadata = {"model.w": whole}
    old = {index.fqn.removeprefix("model."): info for index, info in metadata.storage_data.items()}
    metadata.storage_data = {MetadataIndex("model.w", places[n]): old[n] for n in places}
    (tmp_path / ".metadata").write_bytes(pickle.dumps(metadata))
    assert torch.equal(open_fsdp(tmp_path).read("model.w"), torch.arange(9.0).reshape(3, 3))
    whole.chunks = whole.chunks[:3]
    (tmp_path / ".metadata").write_bytes(pickle.dumps(metadata))
    with pytest.raises(UserError, match=r"the shards hold 7 of the 9 values of 'model.w'"):
        open_fsdp(tmp_path)


def test_values_of_every_shape(tmp_path: Path) -> None:
    weights = open_fsdp(loose(tmp_path))
    assert weights.read("model.a").tolist() == [[0, 1, 2], [3, 4, 5]] and int(weights.read("model.b")) == 7
    assert weights.read("model.c").shape == (0, 4) and weights.tensors["model.b"].shape == ()


def test_what_is_missing_or_cut_short_is_named(tmp_path: Path) -> None:
    folder = loose(tmp_path / "a")
    with open(folder / "__0_0.distcp", "r+b") as file:
        file.truncate(1000)
    with pytest.raises(UserError, match=r"__0_0.distcp is cut short \(1,000 of "):
        open_fsdp(folder)
    (folder / "__0_0.distcp").unlink()
    with pytest.raises(UserError, match=r"lacks __0_0.distcp"):
        open_fsdp(folder)
    folder = loose(tmp_path / "b")
    data = (folder / ".metadata").read_bytes()
    (folder / ".metadata").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match=r"\.metadata is cut short or damaged"):
        open_fsdp(folder)
    (folder / ".metadata").unlink()
    with pytest.raises(UserError, match=r"\.metadata is missing: the shards' index"):
        open_fsdp(folder)
    assert main(["export", str(folder), f"output={tmp_path / 'out'}"]) == 2


class _Evil:
    def __reduce__(self) -> Any:
        return os.system, ("touch /tmp/mmreflect-metadata-was-here",)


def test_metadata_that_runs_code_is_refused_and_does_not_run(tmp_path: Path) -> None:
    folder = loose(tmp_path)
    (folder / ".metadata").write_bytes(pickle.dumps(_Evil()))
    with pytest.raises(UserError, match=r"holds more than weights: \w+\.system, which could run code"):
        open_fsdp(folder)
    for name in (b"builtins\neval", b"torch.hub\nload", b"torch.serialization\nload"):
        (folder / ".metadata").write_bytes(b"c" + name + b"\n.")
        with pytest.raises(UserError, match=r"holds more than weights: [\w.]+, which could run code"):
            open_fsdp(folder)
    assert not Path("/tmp/mmreflect-metadata-was-here").exists()


TRAINING = """
import sys, torch, torch.distributed as dist, torch.distributed.checkpoint as shards
from torch.distributed.checkpoint.state_dict import get_model_state_dict, StateDictOptions
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from mmreflect.models import ModelConfig, load_model

rank, base, output, store = int(sys.argv[1]), *sys.argv[2:]
dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
mesh = init_device_mesh("cpu", (2,))
model = load_model(ModelConfig(path=base, dtype="float32")).model
for layer in model.model.language_model.layers:
    fully_shard(layer, mesh=mesh)
fully_shard(model, mesh=mesh)
optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
ids = torch.tensor([[5, 6, 7, 8, 9, 10]])
for _ in range(2):
    model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids).loss.backward()
    optimizer.step()
    optimizer.zero_grad()
shards.save({"model": get_model_state_dict(model)}, storage_writer=shards.FileSystemWriter(f"{output}/pytorch_model_fsdp_0"))
whole = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
if rank == 0:
    torch.save(whole, f"{output}/whole.pt")
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_that_really_trained(tiny_model: Models, tmp_path: Path) -> None:
    base = tiny_model("qwen2_5_vl")
    (tmp_path / "training.py").write_text(TRAINING)
    (tmp_path / "run").mkdir()
    words = [str(base), str(tmp_path / "run"), str(tmp_path / "store")]
    command = [sys.executable, str(tmp_path / "training.py")]
    ranks = [subprocess.Popen([*command, str(rank), *words]) for rank in (0, 1)]
    assert [rank.wait(timeout=500) for rank in ranks] == [0, 0]
    assert {file.name for file in (tmp_path / f"run/{PLACE}").glob("*.distcp")} == {"__0_0.distcp", "__1_0.distcp"}
    whole = torch.load(tmp_path / "run/whole.pt", weights_only=True)
    before = load_model(ModelConfig(path=str(base), dtype="float32")).model.state_dict()
    assert any(not torch.equal(whole[name], value) for name, value in before.items()), "it learnt something"
    assert main(["export", str(tmp_path / "run"), f"output={tmp_path / 'hub'}", f"base={base}"]) == 0
    again = load_model(ModelConfig(path=str(tmp_path / "hub"), dtype="float32")).model.state_dict()
    assert all(torch.equal(again[name], value) for name, value in whole.items())
    (tmp_path / f"run/{PLACE}/__1_0.distcp").unlink()
    assert main(["export", str(tmp_path / "run"), f"output={tmp_path / 'hub2'}", f"base={base}"]) == 2
