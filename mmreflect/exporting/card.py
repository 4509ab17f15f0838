"""The model card: what was exported from what, how it was made, and with which versions."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmreflect import __version__
from mmreflect.config import to_yaml
from mmreflect.files import write_atomic

_HUB = re.compile(r"[\w-][\w.-]*/[\w.-]+")
_KINDS = {
    "adapter": "An adapter ({detail}), merged into its base in float32.",
    "fsdp": "Weights put together from the shards of FSDP.",
    "deepspeed": "Weights put together from the shards of DeepSpeed ({detail}).",
    "model": "A whole model.",
}


def write_card(
    folder: Path,
    name: str,
    kind: str,
    detail: str,
    base: str | None,
    recipe: Mapping[str, Any] | None,
    facts: Mapping[str, str],
    versions: Mapping[str, str],
    sees: bool,
) -> None:
    """Write README.md.

    Args:
        detail: what the kind says more, such as `DoRA, rank 16`.
        base: the model that was trained from: a name on the Hub goes into the metadata, a folder only into the text.
        recipe: the configuration of the run; folders are shortened to their last part, since the card travels.
        facts: lines on the weights, in order.
        versions: of the packages that trained, or else that exported.
    """
    known = base is not None and _HUB.fullmatch(base) is not None and not Path(base).exists()
    front = ["library_name: transformers", f"pipeline_tag: {'image-text-to-text' if sees else 'text-generation'}"]
    front += [f"base_model: {base}"] if known else []
    front += ["tags:", "- mmreflect"]
    shown = f"`{base if known else Path(base).resolve().name}`" if base else "not recorded"
    lines = [*(f"- {key}: {value}" for key, value in {"base model": shown, **facts}.items())]
    how = f"```yaml\n{to_yaml(shortened(recipe)).strip()}\n```" if recipe else "Not a run of mmreflect; not recorded."
    text = "\n".join([
        "---", *front, "---", "", f"# {name}", "",
        f"{_KINDS[kind].format(detail=detail)} Exported with mmreflect {__version__}.", "", *lines, "",
        "The licences of the base model and of the data apply.", "", "## Recipe", "", how, "",
        "## Versions", "", *(f"- {key} {value}" for key, value in versions.items()), "",
    ])  # fmt: skip
    write_atomic(folder / "README.md", text)


def shortened(value: Any) -> Any:
    """Return a tree in which absolute paths are their last parts: they say where somebody's files lie."""
    if isinstance(value, Mapping):
        return {key: shortened(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [shortened(item) for item in value]
    return Path(value).name if isinstance(value, str) and value.startswith(("/", "~")) else value
