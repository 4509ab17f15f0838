"""What lies beside weights on the Hub: configuration, tokenizer, processor, chat template, generation config, licences.

Each group of files comes from one folder, so that no tokenizer is put together from two models: the nearest folder
around the weights that holds its main file, or else the base.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmreflect.errors import UserError
from mmreflect.files import read_json, write_json

_GROUPS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "configuration": (("config.json",), ("config.json",)),
    "generation": (("generation_config.json",), ("generation_config.json",)),
    "tokenizer": (
        ("tokenizer.json", "vocab.json", "tokenizer.model"),
        (
            "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
            "merges.txt", "tokenizer.model", "chat_template.jinja", "chat_template.json",
        ),
    ),
    "processor": (
        ("processor_config.json", "preprocessor_config.json"),
        ("processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json"),
    ),
    "licence": (("LICENSE", "LICENCE", "LICENSE.txt", "NOTICE"), ("LICENSE", "LICENCE", "LICENSE.txt", "NOTICE")),
}  # fmt: skip
"""Per group its main files, one of which must be there, and all that are copied with it."""


@dataclass(slots=True)
class SideFiles:
    """Which files are taken from where."""

    taken: dict[str, Path] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        """The folder of config.json."""
        return self.taken["configuration"]


def choose(around: Sequence[Path], base: Path | None, missing: str) -> SideFiles:
    """Choose a folder for each group.

    Args:
        around: folders around the weights, the nearest first.
        base: the folder of the model that was trained from, if there is one.
        missing: why there is no base, for the message.

    Raises:
        UserError: there is no configuration, or no tokenizer.
    """
    found = SideFiles()
    folders = [*around, *([base] if base else [])]
    for group, (main, _) in _GROUPS.items():
        place = next((item for item in folders if any((item / name).is_file() for name in main)), None)
        if place is not None:
            found.taken[group] = place
    for group in ("configuration", "tokenizer"):
        if group not in found.taken:
            known = " or ".join(_GROUPS[group][0])
            raise UserError(
                f"there is no {group} ({known}) beside the weights{missing}",
                "the files that the training saved, or those of its base",
                "name the folder of the model that was trained: base=FOLDER",
            )
    return found


def check_processor(files: SideFiles, name: str) -> None:
    """Check that a model that sees has a processor.

    Raises:
        UserError: it has none.
    """
    if "processor" not in files.taken:
        raise UserError(
            f"{name} sees pictures, and there is no {' or '.join(_GROUPS['processor'][0])} beside the weights",
            "the processor that the training saved, or that of its base",
            "name the folder of the model that was trained: base=FOLDER",
        )


def copy(files: SideFiles, folder: Path, dtype: str, untied: bool) -> list[str]:
    """Copy the files; config.json states the dtype of the weights, and that the head has come apart where it has.

    Returns:
        The names of the copies.
    """
    copied = []
    for group, place in files.taken.items():
        for name in _GROUPS[group][1]:
            if (place / name).is_file():
                if name == "config.json":
                    write_json(folder / name, _restated(read_json(place / name), dtype, untied))
                else:
                    shutil.copyfile(place / name, folder / name)
                copied.append(name)
    templates = files.taken["tokenizer"] / "additional_chat_templates"
    if templates.is_dir():
        shutil.copytree(templates, folder / templates.name)
        copied.append(templates.name)
    return copied


def _restated(tree: dict[str, Any], dtype: str, untied: bool) -> dict[str, Any]:
    """Return a configuration with another dtype, nested ones too, without what a quantised or local copy notes."""
    changed = {key: value for key, value in tree.items() if key not in ("_name_or_path", "torch_dtype")}
    for key, value in changed.items():
        if isinstance(value, dict) and key.endswith("_config") and key != "quantization_config":
            changed[key] = _nested(value, dtype, untied)
    return {**_nested(changed, dtype, untied), "dtype": dtype}


def _nested(tree: dict[str, Any], dtype: str, untied: bool) -> dict[str, Any]:
    named = {key: dtype if key in ("dtype", "torch_dtype") and value else value for key, value in tree.items()}
    return {key: False if untied and key == "tie_word_embeddings" else value for key, value in named.items()}
