"""What a merge leaves beside its weights: the copied side files, and the report. See `card.py` for the model card."""

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmreflect import console
from mmreflect.files import read_json, write_json
from mmreflect.merge.layout import OutputDtype
from mmreflect.merge.plan import MergePlan
from mmreflect.merge.rule import Prior, Rule, WeightRule
from mmreflect.merge.statistics import total

if TYPE_CHECKING:
    from mmreflect.merge.executor import MergedLayer

_SIDE_FILES = ("*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken", "LICENSE*", "LICENCE*", "NOTICE*")
_OWN_OR_WEIGHTS = ("*.index.json", "*.safetensors", "adapter_config.json", "README.md", ".*")


@dataclass(frozen=True, slots=True)
class LayerRow:
    """One line of the report's table; layers count from 0.

    `attention` and `w_v` are the prior's, if there is one; `lam_v` and `lam_r` are None for a rule of whole tensors.
    """

    layer: int
    norm2_v: float
    norm2_r: float
    norm2_base: float | None
    cosine: float | None
    attention: float | None
    w_v: float | None
    lam_v: float | None
    lam_r: float | None


def layer_rows(layers: "Sequence[MergedLayer]", prior: Prior | None) -> list[LayerRow]:
    """Join the statistics with the prior, which has one entry per decoder block of the VLM."""
    return [
        LayerRow(
            item.stats.layer,
            item.stats.norm2_v,
            item.stats.norm2_r,
            item.stats.norm2_base,
            item.stats.cosine,
            prior.attention[item.stats.layer] if prior and prior.attention else None,
            prior.at(item.stats.layer) if prior else None,
            item.lam_v,
            item.lam_r,
        )
        for item in layers
    ]


def weight_warnings(rows: Sequence[LayerRow]) -> list[str]:
    """Say what looks wrong in the weights: a result that is hardly the VLM any more."""
    known = [row.lam_v for row in rows if row.lam_v is not None]
    mean = sum(known) / len(known) if known else 1.0
    if mean >= 0.1:
        return []
    return [
        f"the VLM's weight is {mean:.3f} on average: this is nearly the reasoning model's decoder, "
        "perception is likely to suffer"
    ]


def forced_copies(names: Sequence[str]) -> list[str]:
    """Say which tensors were copied though they hold NaN or infinity, at most eight of them."""
    if not names:
        return []
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    shown = ", ".join(map(repr, names[:8])) + more
    return [f"forced finite: {console.count(len(names), 'tensor')} of the VLM with NaN or infinity copied: {shown}"]


def show_layers(rows: Sequence[LayerRow]) -> None:
    """Print the table of per-layer weights."""
    names = ("layer", "norm2_v", "norm2_r", "cosine", "attention", "w_v", "lam_v", "lam_r")
    header = [name for name in names if any(getattr(row, name) is not None for row in rows)]
    console.show_table("weights per layer", header, [[_cell(getattr(row, name)) for name in header] for row in rows])


def _cell(value: float | int | None) -> str:
    return "-" if value is None else f"{value}" if isinstance(value, int) else f"{value:.4g}"


def copy_side_files(plan: MergePlan, model: Path, dtype: OutputDtype) -> dict[str, list[str]]:
    """Copy tokenizer, processor, chat template, generation and model configuration of the VLM.

    config.json names the new dtype when it changes; every other file is copied as it is.

    Returns:
        `copied` and `left_out`: names of the VLM's files apart from its weights; of a hidden folder, such as the
        `.cache/` of `hf download`, only how many it holds.
    """
    copied: list[str] = []
    left_out: list[str] = []
    hidden: Counter[str] = Counter()
    for path in sorted(item for item in plan.vlm.folder.rglob("*") if item.is_file()):
        name = path.relative_to(plan.vlm.folder).as_posix()
        if name.startswith(".") and "/" in name:
            hidden[name.split("/")[0]] += 1
            continue
        if path.name in plan.vlm.headers or path.name.endswith(".index.json"):
            continue
        if not is_copied(name):
            left_out.append(name)
            continue
        target = model / name
        if name == "config.json" and dtype != "keep":
            write_json(target, _with_dtype(read_json(path), dtype))
        else:
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, target)
        copied.append(name)
    left_out += [f"{folder}/ ({console.count(number, 'file')})" for folder, number in hidden.items()]
    return {"copied": copied, "left_out": left_out}


def is_copied(name: str) -> bool:
    """Tell whether a file of the VLM's folder goes into the output as it is; `name` is relative to the folder."""
    if name.startswith("additional_chat_templates/"):
        return name.endswith(".jinja")
    return "/" not in name and _matches(name, _SIDE_FILES) and not _matches(name, _OWN_OR_WEIGHTS)


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


def write_report(
    folder: Path,
    plan: MergePlan,
    layers: "Sequence[MergedLayer]",
    rows: Sequence[LayerRow],
    rule: Rule,
    files: Mapping[str, list[str]],
    warnings: Sequence[str],
    checksums: Mapping[str, str],
    arithmetic: str,
    told: Mapping[str, Any],
) -> None:
    """Write merge_report.json: per layer the norms, the cosine and the weights; what became of every tensor; warnings.

    `embeddings` are the same numbers for embeddings (layer -1) and head, where rows of them were merged. `total` adds
    up the decoder blocks. `attention` is what the prior rests on, where it was measured: a_l, its fit (alpha, C, r2),
    and on what. `arithmetic` says what computed. `crc32` is of each tensor as it was written.
    `told` is what was found when the written model was read again: `reload`, `written`, which `verify` compares, and
    `not_finite`, the copied tensors with NaN or infinity.
    """
    prior = rule.prior if isinstance(rule, WeightRule) else None
    others = [item for item in layers if not 0 <= item.stats.layer < plan.depth]
    sums = total([item.stats for item in layers if 0 <= item.stats.layer < plan.depth])
    content = {
        "layers": [asdict(row) for row in rows],
        "embeddings": [{**asdict(item.stats), "lam_v": item.lam_v, "lam_r": item.lam_r} for item in others],
        "total": {**{key: value for key, value in asdict(sums).items() if key != "layer"}, "cosine": sums.cosine},
        "measured_from": "base" if plan.base else "zero",
        "rule": rule.text,
        "arithmetic": arithmetic,
        "prior": prior.text if prior else "",
        "attention": prior.measurement if prior else None,
        "rope_theta": plan.rope_theta,
        "tensors": {"merged": len(plan.merged), "copied": len(plan.copied)},
        "merged_names": plan.merged,
        "copied_names": plan.copied,
        "skipped_names": plan.skipped,
        "files": dict(files),
        "notes": list(plan.notes),
        "warnings": list(warnings),
        "crc32": dict(checksums),
        **told,
    }
    write_json(folder / "merge_report.json", content)
