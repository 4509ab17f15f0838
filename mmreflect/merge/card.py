"""The model card of a merge: what was merged, how, what is doubtful about it, and the recipe that repeats it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmreflect import __version__, console
from mmreflect.config import to_yaml
from mmreflect.files import write_atomic
from mmreflect.merge.plan import MergePlan
from mmreflect.merge.prior import HOW, SOURCES
from mmreflect.merge.report import LayerRow
from mmreflect.merge.rule import Prior, Rule, WeightRule

_TEXT = """---
library_name: transformers
tags:
- merge
- mmreflect
---

# Merged model

The decoder blocks of `{vlm}` (a vision-language model) and `{reason}` (a reasoning
language model) were merged{base} with mmreflect {version}, without training.

{facts}

The merge itself measures nothing. Evaluate perception and reasoning before use, next to the VLM.
The licences of all {models} models apply.
{warnings}
## Recipe

```yaml
{recipe}
```
"""


def merged_text(plan: MergePlan) -> str:
    """Say how many tensors of how many decoder blocks are merged, and of what else some rows are."""
    blocks = sum(len(plan.by_layer[layer]) for layer in plan.blocks)
    beside = _beside_blocks(plan)
    text = f"{console.count(blocks, 'tensor')} of {console.count(len(plan.blocks), 'decoder block')}"
    return text + (f", and the rows of {' and '.join(beside)} whose token all models know" if beside else "")


def _beside_blocks(plan: MergePlan) -> list[str]:
    return ["the embeddings" if layer < 0 else "the head" for layer in plan.by_layer if layer not in plan.blocks]


def write_card(
    plan: MergePlan,
    model: Path,
    recipe: Mapping[str, Any],
    rule: Rule,
    rows: Sequence[LayerRow],
    warnings: Sequence[str],
) -> None:
    """Write the model card.

    Args:
        plan: what came from where.
        model: folder of the written model.
        recipe: the configuration, the method included. The card travels with the model: folders are shortened to their
            last part, and a measured prior is given by its numbers.
        rule: what was done with the values.
        rows: one per merged layer.
        warnings: what the report warns about, checks that were forced included.
    """
    prior = rule.prior if isinstance(rule, WeightRule) else None
    shown = _without_folders(recipe)
    shown |= {item.role: item.folder.resolve().name for item in plan.models}
    shown.pop("output", None)
    if prior and prior.attention and isinstance(recipe.get("prior"), Mapping):
        shown["prior"] = _measured(recipe["prior"], prior)
    weights = [row.lam_v for row in rows if row.lam_v is not None]
    share = f", weight of the VLM {min(weights):.3f} to {max(weights):.3f}" if weights else ""
    embeddings = "" if "the embeddings" in _beside_blocks(plan) else "embeddings, "
    copied = console.count(len(plan.copied), "tensor")
    facts = [
        f"{shown['method']}: {rule.text}",
        f"{merged_text(plan)} merged{share}",
        f"{copied} copied from the VLM: vision tower, {embeddings}final norm, all the rest",
        *([f"prior: {prior.text}{_on(prior)}"] if prior and prior.text != "none" else []),
        "tokenizer, processor and chat template: the VLM's, so `<think>` may be plain text to it, not a token",
    ]
    told = "".join(f"- {_without_paths(text, plan)}\n" for text in warnings)
    text = _TEXT.format(
        vlm=shown["vlm"],
        reason=shown["reason"],
        base=f" relative to their base `{shown['base']}`" if plan.base else "",
        version=__version__,
        facts="\n".join(f"- {fact}" for fact in facts),
        models=len(plan.models),
        warnings=f"\n## Warnings\n\n{told}" if told else "",
        recipe=to_yaml(shown).strip(),
    )
    write_atomic(model / "README.md", text)


def _measured(given: Mapping[str, Any], prior: Prior) -> dict[str, Any]:
    """Return the prior's configuration with its numbers in the place of what they were measured on or read from."""
    kept = {key: value for key, value in given.items() if key not in (*SOURCES, *HOW)}
    return {**kept, "attention": list(prior.attention or ())}


def _on(prior: Prior) -> str:
    """Say what a prior was measured on; empty where its numbers were given."""
    pictures, how = ((prior.measurement or {}).get(key) or {} for key in ("pictures", "settings"))
    if "measured" not in pictures:
        return ""
    said = [f"at most {how['max_tokens']:,} visual tokens each"] if "max_tokens" in how else []
    said += [f"with the text `{how['prompt']}` behind each"] if "prompt" in how else []
    name = f" of `{Path(pictures['folder']).name}`" if pictures.get("folder") else ""
    return "; measured on " + ", ".join([f"{console.count(pictures['measured'], 'picture')}{name}", *said])


def _without_paths(text: str, plan: MergePlan) -> str:
    for model in plan.models:
        text = text.replace(str(model.folder), model.folder.resolve().name)
    return text


def _without_folders(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Shorten the files that a recipe names to their last part."""
    return {
        key: _without_folders(value)
        if isinstance(value, Mapping)
        else Path(value).name
        if key in ("measured", "curvature", "pictures") and value
        else value
        for key, value in tree.items()
    }
