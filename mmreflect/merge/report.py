"""What a merge leaves beside its weights: the copied side files, the model card, the report, and the final check."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmreflect import __version__, console
from mmreflect.config import to_yaml
from mmreflect.files import read_json, write_atomic, write_json
from mmreflect.merge.checkpoint import open_checkpoint
from mmreflect.merge.plan import Layout, MergePlan, OutputDtype

if TYPE_CHECKING:
    from mmreflect.merge.executor import MergedLayer

_SIDE_FILES = ("*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken", "LICENSE*", "LICENCE*", "NOTICE*")
_OWN_OR_WEIGHTS = ("*.index.json", "*.safetensors", "adapter_config.json", "README.md", ".*")
HIGH_COSINE = 0.4  # two models measured from a base that is unrelated to them, norms equal, show 1/2


@dataclass(frozen=True, slots=True)
class LayerRow:
    """One line of the report's table; layers count from 0. `attention` and `w_v` are the prior's, if there is one."""

    layer: int
    norm2_v: float
    norm2_r: float
    cosine: float | None
    attention: float | None
    w_v: float
    lam_v: float
    lam_r: float


def layer_rows(
    layers: "Sequence[MergedLayer]", w_v_L: Sequence[float], attention_L: Sequence[float] | None
) -> list[LayerRow]:
    """Join the statistics with the prior; both lists have one entry per decoder block of the VLM."""
    return [
        LayerRow(
            item.stats.layer,
            item.stats.norm2_v,
            item.stats.norm2_r,
            item.stats.cosine,
            attention_L[item.stats.layer] if attention_L else None,
            w_v_L[item.stats.layer],
            item.lam_v,
            item.lam_r,
        )
        for item in layers
    ]


def layer_warnings(rows: Sequence[LayerRow]) -> list[str]:
    """Say what looks wrong in the numbers: layers that nobody changed, task vectors that point the same way."""
    still = [row.layer for row in rows if row.norm2_v == 0 and row.norm2_r == 0]
    one_still = [row.layer for row in rows if (row.norm2_v == 0) != (row.norm2_r == 0)]
    aligned = [row for row in rows if row.cosine is not None and row.cosine > HIGH_COSINE]
    warnings = []
    if still:
        warnings.append(
            f"all three models are equal in {console.count(len(still), 'layer')} ({_listed(still)}); "
            "the weights mean nothing there, the VLM's tensors are kept (1, 0)"
        )
    if one_still:
        warnings.append(
            f"one of the two models equals the base in {console.count(len(one_still), 'layer')} ({_listed(one_still)})"
        )
    if aligned:
        highest, where = max(row.cosine or 0.0 for row in aligned), _listed([row.layer for row in aligned])
        warnings.append(
            f"the task vectors point the same way in {console.count(len(aligned), 'layer')} (cosine up to "
            f"{highest:.2f}: {where}); the base is probably not the ancestor of both models"
        )
    mean = sum(row.lam_v for row in rows) / len(rows)
    if mean < 0.1:
        warnings.append(
            f"the VLM's weight is {mean:.3f} on average: this is nearly the reasoning model's decoder, "
            "perception is likely to suffer"
        )
    return warnings


def _listed(layers: Sequence[int]) -> str:
    return ", ".join(str(layer) for layer in layers[:8]) + (", ..." if len(layers) > 8 else "")


def show_layers(rows: Sequence[LayerRow]) -> None:
    """Print the table of per-layer weights."""
    header = ("layer", "norm2_v", "norm2_r", "cosine", "attention", "w_v", "lam_v", "lam_r")
    console.show_table("weights per layer", header, [[_cell(getattr(row, name)) for name in header] for row in rows])


def _cell(value: float | int | None) -> str:
    return "-" if value is None else f"{value}" if isinstance(value, int) else f"{value:.4g}"


def copy_side_files(plan: MergePlan, model: Path, dtype: OutputDtype) -> dict[str, list[str]]:
    """Copy tokenizer, processor, chat template, generation and model configuration of the VLM.

    config.json names the new dtype when it changes; every other file is copied as it is.

    Returns:
        `copied` and `left_out`: names of the VLM's files apart from its weights.
    """
    copied, left_out = [], []
    for path in sorted(item for item in plan.vlm.folder.rglob("*") if item.is_file()):
        name = path.relative_to(plan.vlm.folder).as_posix()
        template = name.startswith("additional_chat_templates/") and name.endswith(".jinja")
        if path.name in plan.vlm.headers or path.name.endswith(".index.json"):
            continue
        if not template and ("/" in name or not _matches(name, _SIDE_FILES) or _matches(name, _OWN_OR_WEIGHTS)):
            left_out.append(name)
            continue
        target = model / name
        if name == "config.json" and dtype != "keep":
            write_json(target, _with_dtype(read_json(path), dtype))
        else:
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, target)
        copied.append(name)
    return {"copied": copied, "left_out": left_out}


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _with_dtype(tree: dict[str, Any], dtype: str) -> dict[str, Any]:
    """Set the dtype at the top level, and in nested configurations that state one."""
    changed = _restated(tree, dtype)
    return changed if {"dtype", "torch_dtype"} & changed.keys() else {**changed, "dtype": dtype}


def _restated(tree: dict[str, Any], dtype: str) -> dict[str, Any]:
    return {
        key: dtype
        if key in ("dtype", "torch_dtype") and value
        else _restated(value, dtype)
        if isinstance(value, dict)
        else value
        for key, value in tree.items()
    }


def write_card(plan: MergePlan, model: Path, method: str, recipe: Mapping[str, Any], lam_v: Sequence[float]) -> None:
    """Write the model card: what was merged, how, and what that does not tell.

    Args:
        plan: what came from where.
        model: folder of the written model.
        method: name of the merge method.
        recipe: the configuration; folders are shortened to their last part, since the card travels with the model.
        lam_v: the VLM's weight per merged layer.
    """
    shown = {"method": method, **recipe}
    shown |= {item.role: item.folder.resolve().name for item in (plan.base, plan.vlm, plan.reason)}
    shown.pop("output", None)
    merged = f"{console.count(len(plan.merged), 'tensor')} of {console.count(len(plan.by_layer), 'decoder block')}"
    text = f"""---
library_name: transformers
tags:
- merge
- mmreflect
---

# Merged model

The decoder blocks of `{shown["vlm"]}` (a vision-language model) and `{shown["reason"]}` (a reasoning
language model) were merged relative to their base `{shown["base"]}` with mmreflect {__version__}, without training.

- {merged} merged, weight of the VLM {min(lam_v):.3f} to {max(lam_v):.3f}
- {console.count(len(plan.copied), "tensor")} copied from the VLM: vision tower, embeddings, final norm, all the rest
- tokenizer, processor and chat template: the VLM's, so `<think>` may be plain text to it, not a token

The merge itself measures nothing. Evaluate perception and reasoning before use, next to the VLM.
The licences of all three models apply.

## Recipe

```yaml
{to_yaml(shown).strip()}
```
"""
    write_atomic(model / "README.md", text)


def verify(plan: MergePlan, layout: Layout, model: Path) -> None:
    """Read the written model's headers back and compare them with the VLM's names, shapes, dtypes and count.

    Raises:
        RuntimeError: they differ, which is a bug.
    """
    written = open_checkpoint("vlm", model)
    expected = {
        name: (plan.vlm.tensors[name].shape, code) for shard in layout.shards for name, code in shard.tensors.items()
    }
    found = {name: (entry.shape, entry.dtype) for name, entry in written.tensors.items()}
    if found != expected or expected.keys() != plan.vlm.tensors.keys():
        wrong = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
        raise RuntimeError(f"the written model differs from the VLM in {wrong[:5]}")


def write_report(
    folder: Path,
    plan: MergePlan,
    rows: Sequence[LayerRow],
    prior: str,
    files: Mapping[str, list[str]],
    warnings: Sequence[str],
) -> None:
    """Write merge_report.json: per layer the norms, the cosine and the weights; then what was copied, and warnings."""
    content = {
        "layers": [asdict(row) for row in rows],
        "prior": prior,
        "rope_theta": plan.rope_theta,
        "tensors": {"merged": len(plan.merged), "copied": len(plan.copied)},
        "copied_names": plan.copied,
        "files": dict(files),
        "warnings": list(warnings),
    }
    write_json(folder / "merge_report.json", content)
