"""One folder that the Hub, vLLM, evaluation and merging can read, from whatever a training left behind.

mmreflect export FOLDER output=OUT [base=FOLDER] [dtype=keep] [max_shard_size=5GB] [checkpoint=final|last|best|STEP]
                 [weights=model|adapter|fsdp|deepspeed] [adapter=NAME] [verify=forward|headers] [push=OWNER/NAME]
"""

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mmreflect import console
from mmreflect.config import settings_of
from mmreflect.console import escape
from mmreflect.errors import UserError, unknown_name
from mmreflect.exporting.finding import Found, find
from mmreflect.exporting.pushing import check_name, push_model
from mmreflect.files import sync_folder

if TYPE_CHECKING:
    from mmreflect.exporting.opening import Opened

KEYS = (
    "output", "base", "dtype", "max_shard_size", "checkpoint", "weights", "adapter", "verify", "push", "private",
)  # fmt: skip
VERIFY = ("forward", "headers")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", re.IGNORECASE)
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


@dataclass(frozen=True, slots=True)
class Settings:
    """What was asked for.

    Attributes:
        dtype: of floating-point weights; `keep` writes what the training left.
        largest: bytes of the largest file.
        verify: `forward` loads the result and compares its logits; `headers` compares names, shapes and dtypes alone.
    """

    output: Path | None
    base: str | None
    dtype: str
    largest: int
    checkpoint: str | None
    weights: str | None
    adapter: str | None
    verify: str
    push: str | None
    private: bool


def export_checkpoint(folder: str, words: Sequence[str]) -> Path:
    """Write one whole checkpoint and return its folder, which appears only when everything in it is checked.

    Without `output=` but with `push=`, a folder that was exported before is pushed as it is.

    Raises:
        UserError: a setting is unknown, the folder holds no weights or damaged ones, the base is missing or another,
            the output exists, the disk is full, or the Hub refuses.
    """
    settings = _settings(words)
    if settings.output is None:
        assert settings.push is not None
        return _pushed(_exported(Path(folder)), settings.push, settings.private)
    output = _free(settings.output)
    found = find(Path(folder), settings.checkpoint, settings.weights, settings.adapter)
    if output.resolve() in (found.weights.resolve(), *(place.resolve() for place in found.around)):
        raise UserError(f"output={output} lies around the weights", "a folder of its own", "name another")
    from mmreflect.exporting.opening import open_found

    opened = open_found(found, settings.base, settings.dtype)
    _show(found, opened, settings)
    partial = output.with_name(f".{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # what a killed export left
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise UserError(
            f"output {str(output)!r} cannot be made: {error.strerror}", "a writable place", "choose another"
        ) from None
    try:
        facts = _write(partial, opened, settings)
        facts |= opened.check(partial, settings.verify)
        opened.write_card(partial, output.name, facts)
        _flush(partial)
        if output.exists():
            output.rmdir()  # it was empty when the export began; if it is not any more, this fails
        partial.rename(output)
        sync_folder(output.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    for key, value in facts.items():
        console.say(f"{key}: {escape(value)}")
    console.say(f"written: {escape(str(output))}")
    return _pushed(output, settings.push, settings.private) if settings.push else output


def _settings(words: Sequence[str]) -> Settings:
    given = settings_of(words, KEYS)
    if "output" not in given and "push" not in given:
        raise UserError("missing: output=VALUE", "output=FOLDER, or push=OWNER/NAME of an exported folder", "add it")
    dtypes = ("keep", "bfloat16", "float16", "float32")
    for key, known in (("dtype", dtypes), ("verify", VERIFY), ("private", ("true", "false"))):
        if key in given and given[key] not in known:
            raise unknown_name(key, given[key], known)
    return Settings(
        output=Path(given["output"]) if "output" in given else None,
        base=given.get("base"),
        dtype=given.get("dtype", "keep"),
        largest=bytes_of(given.get("max_shard_size", "5GB")),
        checkpoint=given.get("checkpoint"),
        weights=given.get("weights"),
        adapter=given.get("adapter"),
        verify=given.get("verify", "forward"),
        push=check_name(given["push"]) if "push" in given else None,
        private=given.get("private") == "true",
    )


def bytes_of(text: str) -> int:
    """Read a size such as `5GB`, `500MB` or plain bytes.

    Raises:
        UserError: it is none, or not above zero.
    """
    match = _SIZE.fullmatch(text.strip())
    size = int(float(match[1]) * _UNITS[match[2].upper()]) if match else 0
    if size <= 0:
        raise UserError(f"max_shard_size={text} is no size", "for example 5GB or 500MB", "correct it")
    return size


def size_of(count: int) -> str:
    """Write a number of bytes for a person."""
    unit = next((unit for unit in ("G", "M", "K") if count >= _UNITS[unit]), "K")
    return f"{count / _UNITS[unit]:.1f} {unit}B"


def _free(output: Path) -> Path:
    if output.is_file() or (output.is_dir() and any(output.iterdir())):
        raise UserError(f"output {str(output)!r} exists", "a new or an empty folder", "name another, or move it away")
    return output


def _exported(folder: Path) -> Path:
    if not (folder / "README.md").is_file() or find(folder).weights != folder:
        raise UserError(
            f"{folder} is no exported checkpoint",
            "a folder that mmreflect export wrote",
            "export it first: output=FOLDER",
        )
    return folder


def _pushed(folder: Path, name: str, private: bool) -> Path:
    console.say(f"pushed: {push_model(folder, name, private)}")
    return folder


def _show(found: Found, opened: "Opened", settings: Settings) -> None:
    floats = ", ".join(f"{dtype} ({count:,})" for dtype, count in opened.dtypes.items())
    console.show_plan({
        "weights": escape(f"{found.weights} ({opened.detail or found.kind})"),
        "base": escape(str(opened.base or "none needed")),
        "model": f"{opened.architecture.name}, {len(opened.weights.tensors):,} tensors",
        "writes": f"{size_of(opened.size)}, {floats}",
        "checks": settings.verify,
    })  # fmt: skip
    if found.beside:
        others = ", ".join(f"weights={kind}" for kind in found.beside)
        console.say(f"[yellow]not taken[/]: {others}, which lie beside them")
    for note in opened.notes:
        console.say(f"[yellow]note:[/] {escape(note)}")


def _write(folder: Path, opened: "Opened", settings: Settings) -> dict[str, str]:
    from mmreflect.exporting.shards import split, write_shards
    from mmreflect.exporting.side_files import copy

    room = shutil.disk_usage(folder).free
    if room < opened.size * 1.01:
        raise UserError(
            f"the disk of {folder.parent} has {size_of(room)} free",
            f"{size_of(opened.size)} for the checkpoint",
            "free some, or name an output on another disk",
        )
    files = split(opened.weights, settings.largest)
    with console.progress_bar("writing", len(opened.weights.tensors)) as bar:
        write_shards(folder, opened.weights, files, bar.advance)
    copied = copy(opened.files, folder, opened.dtype, opened.untied)
    console.say(f"copied: {', '.join(copied)}")
    written = "1 file" if len(files) == 1 else f"{len(files)} files"
    return {"weights": f"{size_of(opened.size)} in {written}, {opened.dtype}"}


def _flush(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
    sync_folder(folder)
