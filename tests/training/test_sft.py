"""Supervised fine-tuning through the front door, and its collator on every family and kind of row."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mmreflect.data.collation import SftCollator
from mmreflect.data.rendering import Renderer
from mmreflect.data.store import open_dataset
from mmreflect.errors import UserError
from mmreflect.models import ModelConfig, is_embedding, load_model, part_of
from mmreflect.records import Media, Sample
from mmreflect.tiny import FAMILIES
from mmreflect.training.sft import PrefixCollator

Cli = Callable[..., tuple[int, str]]


def config(grid: Path, output: Path, model: Any, **trainer: Any) -> dict[str, Any]:
    settings = {
        "max_steps": 6,
        "per_device_train_batch_size": 8,
        "learning_rate": 1e-3,
        "logging_steps": 2,
        "save_steps": 2,
    }
    data = {"path": str(grid), "split": "train"}
    return {"method": "sft", "output": str(output), "model": model, "data": data, "trainer": settings | trainer}


def log_of(run: Path) -> list[dict[str, Any]]:
    timed = ("runtime", "per_second", "step_time")
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if not any(word in key for word in timed)} for row in rows]


def question(*parts: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [*({"type": part} for part in parts), {"type": "text", "text": "How many?"}]}]


@pytest.mark.parametrize("family", FAMILIES)
def test_batch_of_text_pictures_and_video(
    family: str, tiny_model: Callable[[str], Path], grid: Path, clip: Path
) -> None:
    """Text-only, one picture, two pictures and a video in one batch: finite loss, and labels only on the answer."""
    pictures = [sample.media[0] for sample in open_dataset(str(grid)).samples("train")][:3]
    samples = [
        Sample("text", question(), response="<answer>1</answer>"),
        Sample("one", question("image"), pictures[:1], response="<answer>2</answer>"),
        Sample("two", question("image", "image"), pictures[1:], response="\n\nthree"),
        Sample("video", question("video"), [Media("video", str(clip))], response="<answer>4</answer>"),
    ]
    loaded = load_model(ModelConfig(path=str(tiny_model(family))))
    renderer = Renderer(loaded.tokenizer, loaded.processor)
    batch = SftCollator(samples, renderer, None)([{"index": place} for place in range(4)])
    assert bool(loaded.model(**batch).loss.isfinite())
    for row, sample in zip(batch["labels"], samples, strict=True):
        learnt = loaded.tokenizer.decode([token for token in row.tolist() if token != -100])
        assert learnt.strip() == f"{(sample.response or '').strip()}<|im_end|>"
    tokens = int((batch["mm_token_type_ids"] == 1).sum())
    assert tokens == int(batch["image_grid_thw"].prod(-1).sum()) // 4
    assert int((batch["mm_token_type_ids"] == 2).sum()) == int(batch["video_grid_thw"].prod(-1).sum()) // 4


def test_features_are_those_of_the_processor_alone(tiny_model: Callable[[str], Path], grid: Path) -> None:
    import torch

    loaded = load_model(ModelConfig(path=str(tiny_model("qwen2_5_vl"))))
    media = [sample.media[0] for sample in open_dataset(str(grid)).samples("train")][:5]
    small = Renderer(loaded.tokenizer, loaded.processor, cache_bytes=1)
    large = Renderer(loaded.tokenizer, loaded.processor)
    for one, other in zip(small.features(media + media), large.features(media + media), strict=True):
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_row_over_the_limit_is_an_error_and_never_cut(tiny_model: Callable[[str], Path], grid: Path) -> None:
    loaded = load_model(ModelConfig(path=str(tiny_model("qwen2_5_vl"))))
    samples = list(open_dataset(str(grid)).samples("train"))
    collator = SftCollator(samples, Renderer(loaded.tokenizer, loaded.processor), 20)
    with pytest.raises(
        UserError,
        match=r"sample 'train-000000' has \d+ tokens, trainer.max_length is 20[\s\S]*raise trainer.max_length",
    ):
        collator([{"index": 0}])


@pytest.mark.parametrize(
    ("prefix", "rest"),
    [("One.\nIt is 9.", "\nHm, no: it is 3."), ("Neun: \u00e9\U0001f600", " Hm. 3"), ("", "It is 3.")],
)
def test_no_loss_on_the_error_at_the_beginning(
    prefix: str, rest: str, tiny_model: Callable[[str], Path], grid: Path
) -> None:
    """What is learnt is the rest; a token that holds the end of the error and a line break is the error's."""
    loaded = load_model(ModelConfig(path=str(tiny_model("qwen2_5_vl"))))
    renderer = Renderer(loaded.tokenizer, loaded.processor)
    picture = next(iter(open_dataset(str(grid)).samples("train"))).media
    facts = {"error_prefix": len(prefix) or None}
    samples = [
        Sample("picture", question("image"), picture, response=prefix + rest, facts=facts),
        Sample("text", question(), response=prefix + rest, facts=facts),
    ]
    batch = PrefixCollator(samples, renderer, None)([{"index": 0}, {"index": 1}])
    plain = SftCollator(samples, renderer, None)([{"index": 0}, {"index": 1}])
    for ids, labels, whole in zip(batch["input_ids"], batch["labels"], plain["labels"], strict=True):
        kept = labels != -100
        learnt = loaded.tokenizer.decode(ids[kept]).lstrip("\n")
        assert learnt == rest.lstrip("\n") + "<|im_end|>"
        assert (labels[kept] == whole[kept]).all() and (whole[~kept] != -100).sum() == (kept != (whole != -100)).sum()
    assert torch.equal(batch["input_ids"], plain["input_ids"])


def test_an_error_that_does_not_stand_there(tiny_model: Callable[[str], Path]) -> None:
    """A chat template may leave out what a response begins with."""
    loaded = load_model(ModelConfig(path=str(tiny_model("qwen2_5_vl"))))
    loaded.tokenizer.chat_template = loaded.tokenizer.chat_template.replace("message['content']", "'x'")
    assert "'x'" in loaded.tokenizer.chat_template
    sample = Sample("a", question(), response="Short.", facts={"error_prefix": 6})
    collator = PrefixCollator([sample], Renderer(loaded.tokenizer, None), None)
    with pytest.raises(UserError, match="sample 'a': its response does not begin with the error of 6 characters"):
        collator([{"index": 0}])


def test_loss_on_error_prefix(run_cli: Cli, tmp_path: Path) -> None:
    """By default the error is not learnt; with the option the loss is that of rows that say nothing of an error."""
    tiny = {"path": "tiny", "tiny": {"hidden_size": 32, "layers": 2, "heads": 2, "vision_hidden_size": 32}}
    losses = {}
    for name, facts, more in (
        ("plain", {}, []), ("masked", {"error_prefix": 9}, []), ("whole", {"error_prefix": 9}, ["loss_on_error_prefix=true"])
    ):  # fmt: skip
        turns = [*question(), {"role": "assistant", "content": "It is 9.\nHm, no. So it is 3."}]
        rows = [{"id": str(place), "messages": turns, "answer": "3", "facts": facts} for place in range(8)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        source = {"builder": "rows", "source": str(tmp_path / f"{name}.jsonl"), "output": str(tmp_path / name), "validation": 0.0}  # fmt: skip
        code, text = run_cli("build", source, "quality.answer=off", "quality.final_answer=off", "quality.repeats=off")
        assert code == 0, text
        code, text = run_cli("train", config(tmp_path / name, tmp_path / f"sft-{name}", tiny, max_steps=1, logging_steps=1), *more)  # fmt: skip
        assert code == 0, text
        losses[name] = log_of(tmp_path / f"sft-{name}")[0]["loss"]
        result = json.loads((tmp_path / f"sft-{name}/result.json").read_text())
        assert result["error_prefixes"] == (8 if facts else 0)
    assert losses["whole"] == losses["plain"] != losses["masked"]


def test_resumed_training_is_bit_equal_in_the_second_epoch(
    run_cli: Cli, grid: Path, tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    model = str(tiny_model("qwen2_5_vl"))
    keys = {"max_steps": 10, "logging_steps": 3, "save_steps": 4}
    assert run_cli("train", config(grid, tmp_path / "whole", model, **keys))[0] == 0
    assert run_cli("train", config(grid, tmp_path / "cut", model, **keys))[0] == 0
    cut = tmp_path / "cut"
    (cut / "result.json").unlink()
    (cut / "model/model.safetensors").unlink()
    last = max((cut / "checkpoints").glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    assert last.name == "checkpoint-10"
    (last / "complete").unlink()
    code, text = run_cli("train", config(grid, tmp_path / "cut", model, **keys))
    assert code == 0, text
    whole = tmp_path / "whole"
    assert (cut / "model/model.safetensors").read_bytes() == (whole / "model/model.safetensors").read_bytes()
    assert log_of(cut) == log_of(whole) and log_of(whole)[-1]["epoch"] > 1


def test_validation_best_checkpoint_and_early_stopping(
    run_cli: Cli, grid: Path, tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    settings = config(grid, tmp_path / "run", str(tiny_model("qwen2_5_vl")), learning_rate=0.0, max_steps=20)
    data = {"path": str(grid), "split": "validation"}
    settings["evaluation"] = {"data": data, "every_steps": 2, "keep_best": True, "patience": 2, "max_new_tokens": 4}
    code, text = run_cli("train", settings)
    assert code == 0, text
    rows = log_of(tmp_path / "run")
    validated = [row["step"] for row in rows if "eval_final_accuracy" in row]
    assert validated[:3] == [2, 4, 6] and max(validated) == 6, "no better checkpoint in two validations stops the run"
    assert all("eval_loss" in row for row in rows if "eval_final_accuracy" in row)


@pytest.mark.parametrize("part", ["vision", "projector"])
def test_frozen_parts_do_not_move(
    part: str, run_cli: Cli, grid: Path, tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    model = {"path": str(tiny_model("qwen3_vl")), "freeze": [part]}
    assert run_cli("train", config(grid, tmp_path / "run", model, max_steps=2))[0] == 0
    before = dict(load_model(ModelConfig(path=str(tiny_model("qwen3_vl")))).model.named_parameters())
    after = dict(load_model(ModelConfig(path=str(tmp_path / "run/model"))).model.named_parameters())
    moved = {part_of(name) for name in before if not before[name].equal(after[name])}
    assert part not in moved and "decoder" in moved


def test_frozen_embeddings_do_not_move(
    run_cli: Cli, grid: Path, tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    model = {"path": str(tiny_model("qwen3_vl")), "freeze": ["embeddings"]}
    assert run_cli("train", config(grid, tmp_path / "run", model, max_steps=2))[0] == 0
    before = dict(load_model(ModelConfig(path=str(tiny_model("qwen3_vl")))).model.named_parameters())
    after = dict(load_model(ModelConfig(path=str(tmp_path / "run/model"))).model.named_parameters())
    still = {name for name in before if before[name].equal(after[name])}
    assert any(is_embedding(name) for name in before) and {name for name in before if is_embedding(name)} <= still
    assert {part_of(name) for name in before.keys() - still} == {"vision", "projector", "decoder"}
    for part in ("whole", "decoder"):
        options = ModelConfig(path=model["path"], part=part, freeze=["embeddings"])  # type: ignore[arg-type]
        moving = dict(load_model(options).model.named_parameters())
        assert {is_embedding(name) for name in moving if not moving[name].requires_grad} == {True}


def test_lora_ends_as_a_whole_model(
    run_cli: Cli, grid: Path, tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    model = {"path": str(tiny_model("qwen2_5_vl")), "lora": {"r": 4}}
    code, text = run_cli(
        "train", config(grid, tmp_path / "run", model, max_steps=2, learning_rate=1e-2, gradient_checkpointing=True)
    )
    assert code == 0, text
    before = dict(load_model(ModelConfig(path=str(tiny_model("qwen2_5_vl")))).model.named_parameters())
    after = dict(load_model(ModelConfig(path=str(tmp_path / "run/model"))).model.named_parameters())
    assert before.keys() == after.keys()
    assert {part_of(name) for name in before if not before[name].equal(after[name])} == {"decoder"}
    assert (tmp_path / "run/adapter/adapter_config.json").is_file()


def test_decoder_alone_trains_as_a_text_model(run_cli: Cli, tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    build = {"builder": "grid", "output": str(tmp_path / "text"), "modality": "text", "splits": {"train": 16}}
    assert run_cli("build", build)[0] == 0
    model = {"path": str(tiny_model("qwen2_5_vl")), "part": "decoder"}
    assert run_cli("train", config(tmp_path / "text", tmp_path / "run", model, max_steps=2))[0] == 0
    assert json.loads((tmp_path / "run/model/config.json").read_text())["model_type"] == "qwen2"


def test_a_text_model_refuses_pictures(
    run_cli: Cli, grid: Path, tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    code, text = run_cli(
        "train", config(grid, tmp_path / "run", {"path": str(tiny_model("qwen2_5_vl")), "part": "decoder"})
    )
    assert code == 2 and "a text-only model was given" in text and "use a vision-language model" in text


def test_model_folders_that_cannot_be_used(
    run_cli: Cli, grid: Path, tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    import shutil

    naked = tmp_path / "naked"
    shutil.copytree(tiny_model("qwen2_5_vl"), naked)
    (naked / "processor_config.json").unlink()
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text('{"model_type": "llama"}')
    for model, reason in (
        (naked, "holds a vision-language model but no processor"),
        (other, "is a model of type 'llama'"),
        (tmp_path, "holds no config.json"),
        (tmp_path / "gone" / "far", "no such model"),
    ):
        code, text = run_cli("train", config(grid, tmp_path / "run", str(model)))
        assert code == 2 and reason in text and "to do:" in text and "Traceback" not in text
    assert not (tmp_path / "run").exists()
