"""TRL's own trainers take a step on what `format=trl` writes; no trainer of ours has a hand in it."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from publishing.conftest import Make, example, pair

from mmreflect.cli import main


@pytest.fixture(scope="module")
def qwen(tiny_model: Callable[[str], Path]) -> Callable[[], tuple[Any, Any]]:
    """A tiny Qwen2.5-VL and its processor as transformers loads them."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    folder = tiny_model("qwen2_5_vl")
    return lambda: (AutoModelForImageTextToText.from_pretrained(folder), AutoProcessor.from_pretrained(folder))


def table(folder: Path, out: Path, split: str = "train") -> Any:
    from datasets import load_dataset

    assert main(["export", str(folder), "format=trl", f"output={out}"]) == 0
    return load_dataset(str(out), split=split, cache_dir=str(out.parent / "cache"))


def settings(kind: Any, folder: Path, **more: Any) -> Any:
    return kind(
        output_dir=str(folder), max_steps=1, per_device_train_batch_size=2, learning_rate=1e-3, use_cpu=True, bf16=False,
        report_to=[], save_strategy="no", logging_steps=1, max_length=None, gradient_checkpointing=False, **more,
    )  # fmt: skip


def trained(trainer: Any) -> float:
    """Take the step, and return its loss; some weight has moved."""
    before = {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}
    loss = trainer.train().training_loss
    assert any(not weight.equal(before[name]) for name, weight in trainer.model.named_parameters())
    return float(loss)


def test_sft_with_pictures(dataset: Make, tmp_path: Path, qwen: Any) -> None:
    from trl import SFTConfig, SFTTrainer

    model, processor = qwen()
    rows = table(dataset({"train": [example(number) for number in range(4)]}), tmp_path / "out")
    trainer = SFTTrainer(model, settings(SFTConfig, tmp_path / "run"), train_dataset=rows, processing_class=processor)
    batch = trainer.data_collator([trainer.train_dataset[place] for place in range(2)])
    assert batch["pixel_values"].shape[0] and batch["image_grid_thw"].shape == (2, 3), "two pictures in a batch of two"
    assert math.isfinite(trained(trainer))


def test_dpo_with_pictures(dataset: Make, tmp_path: Path, qwen: Any) -> None:
    """Before the first step the policy is its own reference: the loss is ln 2."""
    from trl import DPOConfig, DPOTrainer

    model, processor = qwen()
    rows = table(dataset({"train": [pair(number) for number in range(4)]}), tmp_path / "out")
    trainer = DPOTrainer(
        model, args=settings(DPOConfig, tmp_path / "run"), train_dataset=rows, processing_class=processor
    )
    batch = trainer.data_collator([rows[place] for place in range(2)])
    assert batch["image_grid_thw"].shape == (4, 3), "each picture once for each side"
    assert trained(trainer) == pytest.approx(math.log(2), abs=1e-3)


def test_the_losses_of_pairs_are_those_of_the_paper(dataset: Make, tmp_path: Path, qwen: Any) -> None:
    """SuperCorrect trains pairs by DPO with beta 0.1 (arXiv 2410.09008): -log sigmoid(beta * (chosen - rejected)).

    By hand: log-ratios of 1 and -1 give -log sigmoid(0.2) = log(1 + exp(-0.2)) = 0.598139; equal ones give ln 2.
    """
    from trl import DPOConfig, DPOTrainer

    model, processor = qwen()
    rows = table(dataset({"train": [pair(number) for number in range(2)]}), tmp_path / "out")
    trainer = DPOTrainer(
        model, args=settings(DPOConfig, tmp_path / "run"), train_dataset=rows, processing_class=processor
    )
    batch = trainer.data_collator([rows[place] for place in range(2)])
    chosen, rejected = trainer.compute_ref_log_probs(trainer.model, batch)
    trainer.precompute_ref_logps = True  # the reference's are then those that stand in the batch
    for ratios, loss in (((1.0, -1.0), 0.598139), ((0.0, 0.0), 0.693147), ((2.0, 2.0), 0.693147)):
        reference = {"ref_chosen_logps": chosen - ratios[0], "ref_rejected_logps": rejected - ratios[1]}
        found = trainer.compute_loss(trainer.model, batch | reference).item()
        assert found == pytest.approx(loss, abs=2e-5)


def test_grpo_with_pictures(dataset: Make, tmp_path: Path, qwen: Any) -> None:
    """The reward function is handed the answers of the rows."""
    from trl import GRPOConfig, GRPOTrainer

    model, processor = qwen()
    rows = table(dataset({"train": [example(number, None) for number in range(4)]}), tmp_path / "out")
    seen: list[str] = []

    def reward(completions: list[Any], answer: list[str], **_: Any) -> list[float]:
        seen.extend(answer)
        return [float(place % 2) for place, _ in enumerate(completions)]

    args = GRPOConfig(
        output_dir=str(tmp_path / "run"), max_steps=1, per_device_train_batch_size=2, num_generations=2, use_cpu=True,
        bf16=False, report_to=[], save_strategy="no", max_completion_length=4, gradient_checkpointing=False,
        generation_kwargs={"suppress_tokens": [
            processor.tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in ("image_pad", "video_pad", "vision_start", "vision_end")
        ]},
    )  # fmt: skip
    trainer = GRPOTrainer(model, reward, args=args, train_dataset=rows, processing_class=processor)
    assert math.isfinite(trainer.train().training_loss)
    assert len(seen) == 2 and set(seen) <= {"0", "1", "2", "3"}
