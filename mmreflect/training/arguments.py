"""The `trainer:` block: TRL's and transformers' own field names, checked without importing either.

The names and annotations are read from the source with `ast` (0.1 s; importing them takes 5 s), so a misspelt key is
rejected before torch is loaded.
"""

import ast
import functools
import importlib.util
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from mmreflect.errors import UserError, nearest

TrainerKind = Literal["sft", "grpo"]

_CLASSES: dict[TrainerKind, str] = {"sft": "SFTConfig", "grpo": "GRPOConfig"}

_OURS = {
    "output_dir": "use the top-level key 'output'",
    "seed": "use the top-level key 'seed'",
    "data_seed": "use the top-level key 'seed'",
    "run_name": "the run is named by its output folder",
    "do_train": "the verb says it",
    "do_eval": "use the block 'evaluation'",
    "do_predict": "use mmreflect eval",
    "eval_strategy": "use evaluation.every_steps",
    "eval_steps": "use evaluation.every_steps",
    "eval_on_start": "use evaluation.at_start",
    "load_best_model_at_end": "use evaluation.keep_best",
    "metric_for_best_model": "use evaluation.metric",
    "greater_is_better": "every metric of the runner is better when it is greater",
    "per_device_eval_batch_size": "use evaluation.batch_size",
    "resume_from_checkpoint": "start the same configuration again: it resumes by itself",
    "remove_unused_columns": "rows are looked up by index, so there are no unused columns",
    "dataset_kwargs": "the project's own collator prepares the rows",
    "model_init_kwargs": "use the block 'model'",
    "chat_template_path": "the model's own template is used",
    "save_strategy": "checkpoints are saved every trainer.save_steps",
    "save_only_model": "a checkpoint without optimizer cannot be resumed",
    "auto_find_batch_size": "it would restart the run with another batch, so the run would not be reproducible",
    "push_to_hub": "push the finished model folder with the hf command line",
    "trust_remote_code": "remote code is never executed",
    "chat_template_kwargs": "the model's own template is used",
    "pad_to_multiple_of": "rows are padded to the longest of the batch",
    "pad_token": "the tokenizer's own is used",
    "eos_token": "the tokenizer's own is used",
    "dataset_text_field": "rows are conversations",
    "dataset_num_proc": "rows are rendered when they are needed",
    "train_sampling_strategy": "the order is a function of seed and epoch",
    "group_by_length": "the order is a function of seed and epoch",
    "length_column_name": "the order is a function of seed and epoch",
    "use_liger_kernel": "it replaces the forward that the log-probs come from",
    "generation_batch_size": "use per_device_train_batch_size and steps_per_generation",
    "ignore_data_skip": "a resumed run continues at its exact place",
}
_SFT_OURS = {
    "packing": "rows with media cannot be packed",
    "eval_packing": "rows with media cannot be packed",
    "padding_free": "rows with media are padded",
    "assistant_only_loss": "only assistant turns are learnt, always",
    "completion_only_loss": "only assistant turns are learnt, always",
    "truncation_mode": "nothing is truncated: a row over trainer.max_length is an error",
}
_GRPO_OURS = {
    "scale_rewards": "use the block 'advantage'",
    "multi_objective_aggregation": "use the block 'advantage'",
    "reward_weights": "give each entry of 'rewards' its weight",
    "use_vllm": "use rollout.engine",
    "use_transformers_continuous_batching": "it cannot handle pictures",
    "cache_implementation": "use rollout.engine",
    "generation_kwargs": "use temperature, top_p, top_k and max_completion_length",
    "min_p": "use top_p or top_k",
    "repetition_penalty": "it biases the policy gradient; use a reward",
    "num_generations_eval": "validation asks each question once, greedily",
    "mask_truncated_completions": "rollouts that do not end score 0 in accuracy and format (require_end)",
    "shuffle_dataset": "the order is a function of seed and epoch",
    "log_multimodal": "the run's page shows rollouts with their pictures",
    "log_completions_hub_repo": "the run's page shows rollouts",
    "vllm_": "use rollout.engine",
}


def check_trainer(kind: TrainerKind) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return the validator of a `trainer:` block: unknown names, names that are ours, and wrong types are errors."""

    def check(block: dict[str, Any]) -> dict[str, Any]:
        problems = [problem for key, value in block.items() if (problem := _problem(kind, key, value))]
        if problems:
            raise ValueError("; ".join(problems))
        return block

    return check


def _problem(kind: TrainerKind, key: str, value: Any) -> str | None:
    ours = _OURS | (_SFT_OURS if kind == "sft" else _GRPO_OURS)
    advice = ours.get(key) or next(
        (text for prefix, text in ours.items() if prefix.endswith("_") and key.startswith(prefix)), None
    )
    if advice:
        return f"'{key}' is not set here: {advice}"
    fields = trainer_fields(kind)
    if key not in fields:
        close = nearest(key, fields)
        return f"unknown key '{key}' of {_CLASSES[kind]}" + (f"; did you mean '{close}'?" if close else "")
    if not _accepts(fields[key], value):
        return f"'{key}' is {value!r}, but {_CLASSES[kind]} declares it as {fields[key]}"
    return None


@functools.cache
def trainer_fields(kind: TrainerKind) -> Mapping[str, str]:
    """Return field name to annotation of TRL's config class and its parents, read from source.

    Raises:
        UserError: trl or transformers is not installed.
    """
    trl, transformers = _package("trl"), _package("transformers")
    files = [trl / f"trainer/{kind}_config.py", trl / "trainer/base_config.py", transformers / "training_args.py"]
    wanted = {_CLASSES[kind], "_BaseConfig", "TrainingArguments"}
    fields: dict[str, str] = {}
    for file in reversed(files):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ClassDef) and node.name in wanted:
                fields |= {
                    item.target.id: ast.unparse(item.annotation)
                    for item in node.body
                    if isinstance(item, ast.AnnAssign)
                    and isinstance(item.target, ast.Name)
                    and not item.target.id.startswith("_")
                }
    return fields


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise UserError(f"the package {name} is not installed", "an installed mmreflect", "pip install mmreflect")
    return Path(spec.origin).parent


def _accepts(annotation: str, value: Any) -> bool:
    """Tell whether a value fits an annotation; anything but plain types and None is left to the class itself."""
    words = set(re.findall(r"[A-Za-z_]+", annotation))
    if value is None:
        return "None" in words or "Optional" in words
    plain: dict[type, set[str]] = {bool: {"bool"}, int: {"int", "float"}, float: {"float"}, str: {"str"}}
    if words - {"None", "Optional", "Literal", "bool", "int", "float", "str", "list", "Union"} and "dict" not in words:
        return True
    if isinstance(value, list):
        return "list" in words
    if isinstance(value, dict):
        return "dict" in words
    return bool(words & plain[type(value)])


def whole_groups(per_device: int, steps_per_generation: int, num_generations: int) -> None:
    """Check that a device's share of a generation batch holds whole groups.

    Raises:
        UserError: it does not; the message does the arithmetic.
    """
    rows = per_device * steps_per_generation
    if rows % num_generations:
        below, above = rows // num_generations * num_generations, (rows // num_generations + 1) * num_generations
        raise UserError(
            "trainer.per_device_train_batch_size x steps_per_generation = "
            f"{per_device} x {steps_per_generation} = {rows} rollouts per device, "
            f"which is no multiple of trainer.num_generations = {num_generations}",
            f"a multiple of {num_generations}, for example {' or '.join(str(item) for item in (below, above) if item)}",
            "change one of the three",
        )
