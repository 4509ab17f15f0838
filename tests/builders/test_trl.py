"""Built sets without us: `datasets` loads them and TRL's own trainers train on them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from teaching.schooling import School, schooling
from teaching.staff import POSTS

from mmreflect.data.store import open_dataset

Cli = Callable[..., tuple[int, str]]
Sums = Callable[..., Path]

pytestmark = pytest.mark.slow


@pytest.fixture
def built(sums: Sums, tmp_path: Path, run_cli: Cli) -> Callable[..., Path]:
    """A set that a builder makes from its speakers."""

    def make(name: str) -> Path:
        post = POSTS[name]
        with schooling(School(post.say)) as server:
            tree = post.tree(server, sums(16, post.write), tmp_path / name, tmp_path / "cache", shard_rows=100)
            code, text = run_cli("build", tree)
        assert code == 0, text
        return tmp_path / name

    return make


def loaded(folder: Path) -> Any:
    """The set as a user loads it: pictures by their paths."""
    from datasets import Image, Sequence, load_dataset

    files = [str(path) for path in sorted((folder / "train").glob("*.jsonl"))]
    rows = load_dataset("json", data_files=files, split="train", cache_dir=str(folder / "hub"))
    rows = rows.map(lambda row: {"images": [str(folder / path) for path in row["images"]]})
    return rows.cast_column("images", Sequence(Image()))


def model_of(folder: Path) -> tuple[Any, Any]:
    """A tiny Qwen2.5-VL, saved and loaded by transformers alone."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    from mmreflect.models import ModelConfig, load_model
    from mmreflect.tiny import TinyConfig

    texts = [str(row) for row in open_dataset(str(folder)).rows("train")]
    shape = TinyConfig(hidden_size=32, layers=2, heads=2, vision_hidden_size=32)
    load_model(ModelConfig(path="tiny", tiny=shape), texts, seed=1).save(folder / "model")
    return (
        AutoModelForImageTextToText.from_pretrained(folder / "model"),
        AutoProcessor.from_pretrained(folder / "model"),
    )


def settings(folder: Path) -> dict[str, Any]:
    return {
        "output_dir": str(folder / "trained"), "max_steps": 1, "per_device_train_batch_size": 8, "learning_rate": 1e-3,
        "report_to": [], "use_cpu": True, "bf16": False, "max_length": None, "logging_steps": 1, "save_strategy": "no",
    }  # fmt: skip


def weights(model: Any) -> Any:
    import torch

    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()]).clone()


@pytest.mark.parametrize("name", ["cold_start", "super_correct_pairs"])
def test_a_step_in_trls_own_trainer(name: str, built: Callable[..., Path]) -> None:
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    folder = built(name)
    rows = loaded(folder)
    assert len(rows) >= 4
    model, processor = model_of(folder)
    trainer, arguments = (SFTTrainer, SFTConfig) if name == "cold_start" else (DPOTrainer, DPOConfig)
    made = trainer(model=model, args=arguments(**settings(folder)), train_dataset=rows, processing_class=processor)
    batch = next(iter(made.get_train_dataloader()))
    assert "pixel_values" in batch, list(batch)
    before = weights(model)
    made.train()
    (first,) = [entry for entry in made.state.log_history if "loss" in entry]
    assert 0 < first["loss"] < 100
    assert (weights(model) != before).any()
