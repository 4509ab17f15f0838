"""Runs and models exported through the front door: what is chosen, written, checked, refused, and pushed."""

import errno
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from exporting.trained import moved, save_fsdp, save_zero
from PIL import Image
from safetensors.torch import load_file, save_file

from mmreflect.cli import main
from mmreflect.errors import UserError
from mmreflect.exporting import is_checkpoint, shards
from mmreflect.exporting.checkpoint import bytes_of
from mmreflect.exporting.finding import find
from mmreflect.exporting.weights import Held, Loose, cast
from mmreflect.models import ModelConfig, load_model

Models = Callable[[str], Path]


def state(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_model(ModelConfig(path=str(folder), dtype="float32")).model.state_dict())


def refused(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert main(["export", str(folder), f"output={tmp_path / 'hub'}", *words]) == 2
    assert not (tmp_path / "hub").exists() and not (tmp_path / ".hub.partial").exists()
    return capsys.readouterr().err


@pytest.fixture(scope="module")
def trained(grid: Path, tiny_model: Models, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of ours with an adapter: checkpoints 1 and 2 of it, and the finished model."""
    folder = tmp_path_factory.mktemp("trained")
    config = {
        "method": "sft", "output": str(folder / "sft"), "data": {"path": str(grid)},
        "model": {"path": str(tiny_model("qwen2_5_vl")), "lora": {"r": 2, "alpha": 4}},
        "trainer": {"max_steps": 2, "save_steps": 1, "per_device_train_batch_size": 4, "learning_rate": 0.01, "warmup_steps": 0},
    }  # fmt: skip
    (folder / "sft.yaml").write_text(json.dumps(config))
    assert main(["train", str(folder / "sft.yaml")]) == 0
    return folder / "sft"


def test_a_finished_run_and_its_last_checkpoint_are_the_same_model(
    trained: Path, tmp_path: Path, tiny_model: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    assert is_checkpoint(trained)
    assert main(["export", str(trained), f"output={tmp_path / 'final'}", "verify=headers"]) == 0
    assert main(["export", str(trained), f"output={tmp_path / 'last'}", "checkpoint=last"]) == 0
    assert main(["export", str(trained), f"output={tmp_path / 'first'}", "checkpoint=1", "verify=headers"]) == 0
    final, last, first = (state(tmp_path / name) for name in ("final", "last", "first"))
    assert all(torch.allclose(last[name], value, atol=1e-6) for name, value in final.items())
    assert any(not torch.allclose(first[name], value, atol=1e-6) for name, value in final.items())
    card = (tmp_path / "last/README.md").read_text()
    recipe = yaml.safe_load(card.split("```yaml\n")[1].split("```")[0])
    assert recipe["method"] == "sft" and recipe["trainer"]["max_steps"] == 2 and recipe["output"] == "sft"
    assert str(tiny_model("qwen2_5_vl").parent) not in card, "folders of this machine do not travel"
    assert "An adapter (LoRA, rank 2)" in card and "- trl " in card, "the versions that trained"
    names = {file.name for file in (tmp_path / "last").iterdir()}
    assert names == {
        "README.md", "config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
        "tokenizer_config.json", "chat_template.jinja", "processor_config.json",
    }  # fmt: skip


def test_which_checkpoint(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps = trained / "checkpoints"
    assert find(trained).weights == trained / "model" and find(trained).run == trained
    assert find(steps).weights == steps / "checkpoint-2" and find(steps / "checkpoint-1").run == trained
    assert find(trained, "last").weights == steps / "checkpoint-2" == find(trained, "checkpoint-2").weights
    copied = tmp_path / "sft"
    shutil.copytree(trained, copied)
    for name, said in (
        ("3", "holds no checkpoint '3'\n  expected: final, last, best, or one of: 1, 2"),
        ("best", "does not say which checkpoint is the best"),
        ("newest", "holds no checkpoint 'newest'"),
    ):
        assert said in refused(copied, tmp_path, capsys, f"checkpoint={name}")
    saved = json.loads((copied / "checkpoints/checkpoint-2/trainer_state.json").read_text())
    saved["best_model_checkpoint"] = "/elsewhere/sft/checkpoints/checkpoint-1"
    (copied / "checkpoints/checkpoint-2/trainer_state.json").write_text(json.dumps(saved))
    assert find(copied, "best").weights == copied / "checkpoints/checkpoint-1"
    (copied / "checkpoints/checkpoint-2/complete").unlink()
    assert find(copied, "last").weights == copied / "checkpoints/checkpoint-1"
    assert "1 checkpoint of " in capsys.readouterr().out
    shutil.rmtree(copied / "model")
    assert "holds no finished model" in refused(copied, tmp_path, capsys, "checkpoint=final")
    (copied / "checkpoints/checkpoint-1/complete").unlink()
    assert "holds no checkpoint that is whole" in refused(copied, tmp_path, capsys)


def test_a_plain_model_is_split_cast_and_copied(tiny_model: Models, tmp_path: Path) -> None:
    base = tmp_path / "model"
    shutil.copytree(tiny_model("qwen3_vl"), base)
    (base / "LICENSE").write_text("free")
    (base / "training_args.bin").write_bytes(b"not for the Hub")
    words = [f"output={tmp_path / 'hub'}", "dtype=bfloat16", "max_shard_size=40KB"]
    assert main(["export", str(base), *words]) == 0
    index = json.loads((tmp_path / "hub/model.safetensors.index.json").read_text())
    files = sorted((tmp_path / "hub").glob("*.safetensors"))
    tensors = {name: (file.name, value) for file in files for name, value in load_file(file).items()}
    original = load_file(base / "model.safetensors")
    assert {name: file for name, (file, _) in tensors.items()} == index["weight_map"] and len(files) > 3
    assert index["metadata"]["total_size"] == sum(2 * value.numel() for value in original.values())
    assert all(torch.equal(value, original[name].bfloat16()) for name, (_, value) in tensors.items())
    assert len(tensors) == len(original) and "lm_head.weight" not in tensors
    assert (tmp_path / "hub/LICENSE").read_text() == "free" and not (tmp_path / "hub/training_args.bin").exists()
    config = json.loads((tmp_path / "hub/config.json").read_text())
    assert config["dtype"] == "bfloat16" and config["tie_word_embeddings"] is True
    before, after = (json.loads((place / "processor_config.json").read_text()) for place in (base, tmp_path / "hub"))
    assert before == after


def test_tensors_that_transformers_does_not_load_are_kept_and_copies_of_the_head_are_not(
    tiny_model: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tmp_path / "model"
    shutil.copytree(tiny_model("qwen3_5"), base)
    tensors = load_file(base / "model.safetensors")
    embedding = tensors["model.language_model.embed_tokens.weight"]
    more = {"mtp.norm.weight": torch.ones(32), "lm_head.weight": embedding.clone()}
    save_file(tensors | more, base / "model.safetensors", metadata={"format": "pt"})
    assert main(["export", str(base), f"output={tmp_path / 'out'}"]) == 0
    written = load_file(tmp_path / "out/model.safetensors")
    assert written.keys() == {*tensors, "mtp.norm.weight"}
    assert "tensors that transformers does not load: 1" in (tmp_path / "out/README.md").read_text()
    save_file(tensors | {"lm_head.weight": embedding + 1}, base / "model.safetensors", metadata={"format": "pt"})
    assert "'lm_head.weight' and 'model.language_model.embed_tokens.weight' differ" in refused(base, tmp_path, capsys)


def test_kinds_that_lie_side_by_side(tiny_model: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = tiny_model("qwen2_5_vl")
    place = tmp_path / "out/checkpoint-9"
    shutil.copytree(base, place)
    model = moved(base)
    save_zero(place, 2, [dict(model.state_dict())])
    assert find(tmp_path / "out").kind == "model" and find(place).beside == ("deepspeed",)
    assert main(["export", str(place), f"output={tmp_path / 'a'}", "verify=headers"]) == 0
    assert "not taken: weights=deepspeed" in capsys.readouterr().out
    assert main(["export", str(place), f"output={tmp_path / 'b'}", "weights=deepspeed", "verify=headers"]) == 0
    assert torch.equal(state(tmp_path / "b")["lm_head.weight"], model.state_dict()["lm_head.weight"])
    assert not torch.equal(state(tmp_path / "a")["lm_head.weight"], model.state_dict()["lm_head.weight"])
    assert "holds no weights=fsdp\n  expected: one of: model, deepspeed" in refused(
        place, tmp_path, capsys, "weights=fsdp"
    )
    assert "unknown kind of weights 'zero'" in refused(place, tmp_path, capsys, "weights=zero")
    assert "adapter=x is set, and" in refused(place, tmp_path, capsys, "adapter=x")


def test_weights_of_several_dtypes_are_written_in_one(
    tiny_model: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny_model("qwen2_5_vl"), base)
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"dtype": "bfloat16"}))
    tensors = dict(moved(base).state_dict())
    frozen = {name: value.bfloat16() for name, value in tensors.items() if "visual" in name}
    save_zero(tmp_path / "run", 2, [{n: v for n, v in tensors.items() if n not in frozen}], frozen=frozen)
    assert main(["export", str(tmp_path / "run"), f"output={tmp_path / 'out'}", f"base={base}"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "the tensors are of several dtypes" in said and "dtype=bfloat16 writes half the bytes" in said
    assert {value.dtype for value in load_file(tmp_path / "out/model.safetensors").values()} == {torch.float32}


def test_what_lies_beside_is_needed(tiny_model: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = tiny_model("qwen2_5_vl")
    save_fsdp(moved(base), tmp_path / "run")
    assert "there is no configuration (config.json) beside the weights, and no base is recorded" in refused(
        tmp_path / "run", tmp_path, capsys
    )
    assert "no folder here, and cannot be fetched" in refused(tmp_path / "run", tmp_path, capsys, "base=/gone/model")
    shutil.copy(base / "config.json", tmp_path / "run")
    assert "there is no tokenizer (tokenizer.json or vocab.json" in refused(tmp_path / "run", tmp_path, capsys)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(base / name, tmp_path / "run")
    assert "sees pictures, and there is no processor_config.json" in refused(tmp_path / "run", tmp_path, capsys)
    (tmp_path / "run/config.json").write_text('{"model_type": "nonsense"}')
    assert "transformers cannot build the model of" in refused(tmp_path / "run", tmp_path, capsys)


def test_damaged_models_and_folders_without_weights(
    tiny_model: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tmp_path / "model"
    shutil.copytree(tiny_model("qwen2_5_vl"), base)
    whole = (base / "model.safetensors").read_bytes()
    (base / "model.safetensors").write_bytes(whole[:-1000])
    assert "is cut short or damaged" in refused(base, tmp_path, capsys)
    (base / "model.safetensors").rename(base / "pytorch_model.bin")
    assert is_checkpoint(base)
    assert "holds pickled weights only (pytorch_model.bin)" in refused(base, tmp_path, capsys)
    (tmp_path / "run/model").mkdir(parents=True)
    (tmp_path / "run/checkpoint-1").mkdir()
    assert "checkpoint-1 holds no weights" in refused(tmp_path / "run", tmp_path, capsys)
    (tmp_path / ".x.partial").mkdir()
    with pytest.raises(UserError, match="is what a killed export left"):
        find(tmp_path / ".x.partial")
    with pytest.raises(UserError, match="no such folder"):
        find(tmp_path / "gone")
    assert not is_checkpoint(tmp_path / "gone") and not is_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["dtype=int8"], "unknown dtype 'int8'"),
        (["max_shard_size=big"], "max_shard_size=big is no size"),
        (["max_shard_size=0GB"], "max_shard_size=0GB is no size"),
        (["verify=no"], "unknown verify 'no'"),
        (["push=name"], "push=name is no name on the Hub"),
        (["private=yes"], "unknown private 'yes'"),
        (["colour=red"], "unknown setting 'colour'"),
    ],
)
def test_settings_are_checked(
    words: list[str], said: str, tiny_model: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(tiny_model("qwen2_5_vl"), tmp_path, capsys, *words)


def test_sizes() -> None:
    assert [bytes_of(text) for text in ("5GB", "1.5 mb", "700", "2T")] == [5 * 10**9, 1_500_000, 700, 2 * 10**12]


def test_outputs_that_are_taken(tiny_model: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = tiny_model("qwen2_5_vl")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/x").touch()
    assert main(["export", str(base)]) == 2
    assert "missing: output=VALUE" in capsys.readouterr().err
    for output, said in (("taken", "exists"), ("taken/x", "exists"), ("taken/x/y", "cannot be made")):
        assert main(["export", str(base), f"output={tmp_path / output}"]) == 2
        assert said in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main(["export", str(base), f"output={tmp_path / 'empty'}", "verify=headers"]) == 0


def test_a_full_disk_leaves_nothing(
    tiny_model: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tiny_model("qwen2_5_vl")
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda place: shutil._ntuple_diskusage(10**9, 10**9, 1000))  # type: ignore[attr-defined]
        assert "has 1.0 KB free" in refused(base, tmp_path, capsys)

    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shards.os, "fsync", full)
    assert "is full" in refused(base, tmp_path, capsys)


def test_a_wrong_copy_would_be_noticed(
    tiny_model: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tiny_model("qwen2_5_vl")
    save_fsdp(moved(base), tmp_path / "run")
    before = shards._write

    def spoilt(path: Path, weights: Any, names: Any, advance: Any) -> None:
        def read(name: str) -> torch.Tensor:
            value = weights.read(name)
            return value.flip(0) if name.endswith("layers.1.mlp.down_proj.weight") else value

        before(path, Loose(weights.tensors, read), names, advance)

    monkeypatch.setattr(shards, "_write", spoilt)
    assert "the written model gives other logits" in refused(tmp_path / "run", tmp_path, capsys, f"base={base}")


def test_values_too_large_for_float16_are_named() -> None:
    weights = Loose({"w": Held((1,), torch.float32)}, lambda name: torch.tensor([1e6]))
    with pytest.raises(UserError, match=r"'w' holds values up to 1e\+06, which float16 cannot hold"):
        cast(weights, "float16").read("w")
    assert cast(weights, "bfloat16").read("w").isfinite().all()


def test_what_a_killed_export_left_is_replaced(
    tiny_model: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tiny_model("qwen2_5_vl")
    left = tmp_path / ".hub.partial"
    shutil.copytree(base, left)
    (left / "model-00001-of-00009.safetensors").write_bytes(b"half")

    def interrupted(*given: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shards, "_write", interrupted)
        assert main(["export", str(base), f"output={tmp_path / 'hub'}"]) == 130
    assert list(tmp_path.iterdir()) == []
    shutil.copytree(base, left)
    (left / "model-00001-of-00009.safetensors").write_bytes(b"half")
    assert main(["export", str(base), f"output={tmp_path / 'hub'}", "verify=headers"]) == 0
    assert [item.name for item in tmp_path.iterdir()] == ["hub"]
    assert [file.name for file in (tmp_path / "hub").glob("*.safetensors")] == ["model.safetensors"]


@pytest.mark.slow
def test_killed_exports_leave_nothing_that_looks_whole(tiny_model: Models, tmp_path: Path) -> None:
    base = tiny_model("qwen2_5_vl")
    code = (
        "import os, signal, sys; from mmreflect.exporting import shards, export_checkpoint; before = shards.write_shards\n"
        "def dies(*given):\n    before(*given); os.kill(os.getpid(), signal.SIGKILL)\n"
        f"shards.write_shards = dies; export_checkpoint({str(base)!r}, ['output={tmp_path / 'hub'}'])"
    )
    process = subprocess.run([sys.executable, "-c", code], env=os.environ, capture_output=True)
    assert process.returncode == -signal.SIGKILL
    assert [item.name for item in tmp_path.iterdir()] == [".hub.partial"]
    assert main(["export", str(base), f"output={tmp_path / 'hub'}"]) == 0
    assert [item.name for item in tmp_path.iterdir()] == ["hub"]
    assert load_file(tmp_path / "hub/model.safetensors").keys() == load_file(base / "model.safetensors").keys()


@pytest.mark.slow
def test_kills_at_any_moment(tiny_model: Models, tmp_path: Path) -> None:
    base = tiny_model("qwen2_5_vl")
    words = [
        sys.executable,
        "-m",
        "mmreflect",
        "export",
        str(base),
        f"output={tmp_path / 'hub'}",
        "max_shard_size=20KB",
    ]
    started = time.monotonic()
    subprocess.run([*words[:-2], f"output={tmp_path / 'whole'}", words[-1]], check=True, capture_output=True)
    length = time.monotonic() - started
    for part in (0.6, 0.7, 0.8, 0.9, 0.95):
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(length * part)
        process.kill()
        process.wait()
        if (tmp_path / "hub").exists():
            break
    else:
        subprocess.run(words, check=True, capture_output=True)
    found, known = ({f.name: f.read_bytes() for f in (tmp_path / name).iterdir()} for name in ("hub", "whole"))
    card, whole = found.pop("README.md"), known.pop("README.md")
    assert found == known and card.replace(b"# hub", b"# whole") == whole


def test_a_text_model(tiny_model: Models, tmp_path: Path) -> None:
    decoder = load_model(ModelConfig(path=str(tiny_model("qwen3_vl")), part="decoder"))
    decoder.save(tmp_path / "llm")
    assert main(["export", str(tmp_path / "llm"), f"output={tmp_path / 'hub'}"]) == 0
    card = (tmp_path / "hub/README.md").read_text()
    assert "pipeline_tag: text-generation" in card and "Qwen3ForCausalLM" in card


def test_results_are_still_results(grid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "none").mkdir()
    assert main(["export", str(tmp_path / "none"), "format=lmms_eval", f"output={tmp_path / 'x'}"]) == 2
    assert "holds neither a dataset (manifest.json), an evaluation" in capsys.readouterr().err


def test_the_examples_run(
    tiny_model: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    base, examples = tiny_model("qwen2_5_vl"), Path(__file__).parents[2] / "examples"
    shutil.copytree(base, tmp_path / "run/checkpoint-1")
    monkeypatch.setattr(sys, "argv", ["adapter_to_hub.py", str(tmp_path / "run"), str(tmp_path / "hub")])
    runpy.run_path(str(examples / "adapter_to_hub.py"))
    assert json.loads((tmp_path / "hub/config.json").read_text())["dtype"] == "bfloat16"
    (tmp_path / "pictures").mkdir()
    Image.linear_gradient("L").save(tmp_path / "pictures/a.png")
    monkeypatch.setattr(
        sys, "argv", ["measure_prior.py", str(base), str(tmp_path / "pictures"), str(tmp_path / "prior")]
    )
    runpy.run_path(str(examples / "measure_prior.py"))
    assert (tmp_path / "prior/prior.json").is_file()
