"""From what was found to tensors by their names on disk, with all that a checkpoint needs beside them."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mmreflect import __version__
from mmreflect.errors import UserError
from mmreflect.exporting import card, checking, side_files
from mmreflect.exporting.adapters import Adapter, merge_adapter, open_adapter
from mmreflect.exporting.architecture import Architecture, check_written
from mmreflect.exporting.deepspeed import open_zero
from mmreflect.exporting.finding import Found
from mmreflect.exporting.fsdp import open_fsdp
from mmreflect.exporting.weights import Weights, cast, of_checkpoint
from mmreflect.files import read_json
from mmreflect.merge import open_checkpoint
from mmreflect.packages import versions

_BESIDE = ["*.json", "*.jinja", "*.txt", "tokenizer.model", "LICENSE*", "LICENCE*", "NOTICE*"]


@dataclass(slots=True)
class Opened:
    """A checkpoint, opened and checked against its architecture; values are read when they are written.

    Attributes:
        weights: tensors as they are to be written.
        reference: builds the model of the training in the written dtype, for the comparison.
        merge: for an adapter: builds peft's model, and the merge, both in float32.
        detail: what the weights are, such as `DoRA, rank 16`.
        untied: the head came apart from the embedding.
        notes: what a user may want to know before it is written.
    """

    found: Found
    architecture: Architecture
    files: side_files.SideFiles
    weights: Weights
    base: str | None
    detail: str
    reference: Callable[[Path], Any]
    merge: tuple[Callable[[], Any | None], Callable[[Path], Any]] | None = None
    untied: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        return sum(held.size for held in self.weights.tensors.values())

    @property
    def dtypes(self) -> dict[str, int]:
        """Tensors by dtype, most bytes first."""
        count, size = Counter[str](), Counter[str]()
        for held in self.weights.tensors.values():
            name = str(held.dtype).removeprefix("torch.")
            count[name] += 1
            size[name] += held.size
        return {name: count[name] for name, _ in size.most_common()}

    @property
    def dtype(self) -> str:
        """The floating-point dtype of most bytes: what config.json says."""
        return next((name for name in self.dtypes if "float" in name), "float32")

    def check(self, folder: Path, verify: str) -> dict[str, str]:
        """Check what was written: names, shapes and dtypes; with `forward` also that it loads and says the same.

        Raises:
            UserError: logits differ, or are no numbers.
            RuntimeError: names, shapes or dtypes differ: a bug.
        """
        written = of_checkpoint(open_checkpoint("model", folder))
        if dict(written.tensors) != dict(self.weights.tensors):
            raise RuntimeError(f"{folder} holds other tensors than were planned")
        sees = self.architecture.is_vlm
        extra = check_written(self.architecture, written.tensors, self.untied)
        facts = {"tensors that transformers does not load": f"{len(extra)}, copied as they were"} if extra else {}
        if verify == "headers":
            return {**facts, "checked": "names, shapes and dtypes; not loaded"}
        inputs = checking.question(folder, sees)
        own = checking.answer(self.reference(folder), inputs)
        checking.demand_finite(own, self.weights)
        adapter = self._check_merge(folder, inputs)
        again = checking.answer(checking.reload(folder, sees, extra), inputs)
        checking.demand(checking.compare(own, again), 0.0, "the written model")
        whose = f"the merge in {self.dtype}" if self.merge else f"the trained weights in {self.dtype}"
        said = f"loaded again; {own.numel():,} logits equal to those of {whose}, to the last bit"
        return {**facts, "checked": f"{said}; {adapter}" if adapter else said}

    def _check_merge(self, folder: Path, inputs: dict[str, Any]) -> str:
        """Compare the merge of an adapter with peft, both in float32."""
        if self.merge is None:
            return ""
        in_peft, merged = self.merge
        model = in_peft()
        if model is None:
            return "peft does not find all of the adapter's modules in this base and was not compared"
        first = checking.answer(model, inputs)
        del model
        difference = checking.compare(first, checking.answer(merged(folder), inputs))
        checking.demand(difference, checking.CLOSE, "the merge")
        return f"the merge in float32 differs from base and adapter in peft by {difference:.1g} of the largest logit"

    def write_card(self, folder: Path, name: str, facts: dict[str, str]) -> None:
        """Write the model card."""
        detail, sees = self.detail, self.architecture.is_vlm
        recipe = self.found.recipe
        lines = {"architecture": self.architecture.name, **facts}
        card.write_card(folder, name, self.found.kind, detail, self.base, recipe, lines, _versions(self.found), sees)


def open_found(found: Found, given: str | None, dtype: str) -> Opened:
    """Open what was found.

    Args:
        given: the base as the user named it: a folder, or a name on the Hub.
        dtype: of floating-point weights, or `keep`.

    Raises:
        UserError: as `mmreflect.exporting.export_checkpoint`.
    """
    adapter = open_adapter(found.weights) if found.kind == "adapter" else None
    recipe = found.recipe or {}
    model = recipe.get("model")
    trained = model.get("path") if isinstance(model, dict) else model or recipe.get("vlm")
    base = given or (adapter.base if adapter else None) or (trained if trained != "tiny" else None)
    if adapter is not None:
        if isinstance(model, dict) and model.get("part") == "decoder":
            raise UserError(
                f"{found.weights} adapts a decoder that was taken out of {base}",
                "an adapter of a whole model",
                "export the finished run instead: its model/ is merged already",
            )
        return _open_adapter(found, adapter, base, dtype)
    around = [place for place in found.around if (place / "config.json").is_file()]
    folder = Path(base) if base and Path(base).is_dir() else None
    if base and folder is None and (given or not around):
        folder = _fetched(base, _BESIDE)
    files = side_files.choose(found.around, folder, "" if base else ", and no base is recorded")
    if given and folder and found.kind != "model" and (folder / "config.json").is_file():
        files.taken["configuration"] = folder  # what the user names goes before what lies around
    architecture = _architecture(files)
    return (_open_model if found.kind == "model" else _open_shards)(found, architecture, files, base, dtype)


def _architecture(files: side_files.SideFiles) -> Architecture:
    architecture = Architecture(files.config)
    if architecture.is_vlm:
        side_files.check_processor(files, architecture.name)
    return architecture


def _open_model(
    found: Found, architecture: Architecture, files: side_files.SideFiles, base: str | None, dtype: str
) -> Opened:
    own = of_checkpoint(open_checkpoint("model", found.weights))
    weights = cast(architecture.without_copies(own, str(found.weights)), dtype)
    opened = Opened(found, architecture, files, weights, base, "", lambda _: None)
    opened.reference = lambda _: checking.load(found.weights, architecture.is_vlm, opened.dtype)
    return opened


def _open_shards(
    found: Found, architecture: Architecture, files: side_files.SideFiles, base: str | None, dtype: str
) -> Opened:
    if found.kind == "fsdp":
        memory, detail = open_fsdp(found.weights), "FSDP"
    else:
        zero = open_zero(found.weights)
        detail = f"ZeRO {'1 or 2' if zero.stage == 2 else 3}, {zero.ranks} ranks, version {zero.version}"
        memory = zero
    notes = []
    floats = Counter(held.dtype for held in memory.tensors.values() if held.dtype.is_floating_point)
    if dtype == "keep" and len(floats) > 1:
        counted = ", ".join(f"{str(kind).removeprefix('torch.')} {number:,}" for kind, number in floats.items())
        notes.append(f"the tensors are of several dtypes ({counted}); all are written in float32")
        dtype = "float32"
    stated = read_json(files.config / "config.json")
    usual = stated.get("dtype") or stated.get("torch_dtype")
    if dtype in ("keep", "float32") and torch.float32 in floats and usual not in (None, "float32"):
        notes.append(
            f"the model is {usual}, these are the trainer's float32 weights; dtype={usual} writes half the bytes"
        )
    memory = cast(memory, dtype)
    weights = architecture.on_disk(memory, f"the weights in {found.weights}")
    return Opened(
        found,
        architecture,
        files,
        weights,
        base,
        detail,
        lambda _: checking.from_memory(architecture, memory),
        notes=notes,
    )


def _open_adapter(found: Found, adapter: Adapter, base: str | None, dtype: str) -> Opened:
    if base is None:
        raise UserError(
            f"{found.weights} does not say which base it was trained on", "its base", "name it: base=FOLDER"
        )
    folder = Path(base) if Path(base).is_dir() else _fetched(base, [*_BESIDE, "*.safetensors"])
    files = side_files.choose(found.around, folder, "")
    files.taken["configuration"] = folder  # the adapter's weights are on the base's
    architecture = _architecture(files)
    own = architecture.without_copies(of_checkpoint(open_checkpoint("base", folder)), str(folder))
    weights, untied = merge_adapter(own, adapter, bool(architecture.tied), dtype)
    sees = architecture.is_vlm
    rank = adapter.config.get("r")
    opened = Opened(found, architecture, files, weights, base, f"{adapter.kind}, rank {rank}", lambda _: None)
    opened.reference = lambda place: checking.from_disk_names(place, architecture, weights, opened.dtype)
    _check_family(adapter, architecture, folder)
    if adapter.base and adapter.trained_class is None and Path(adapter.base).name != Path(base).name:
        opened.notes.append(f"the adapter names {adapter.base} as its base, and not what kind of model that is")
    whole, _ = merge_adapter(own, adapter, bool(architecture.tied), "float32")
    opened.merge = (
        lambda: checking.with_adapter(folder, sees, adapter.folder),
        lambda place: checking.from_disk_names(place, architecture, whole, "float32"),
    )
    opened.untied = untied
    if untied:
        opened.notes.append("the adapter changes the embedding or the head alone, so that both are written, untied")
    return opened


def _check_family(adapter: Adapter, architecture: Architecture, base: Path) -> None:
    """Refuse a base of another family, in which modules of the same names and shapes mean something else."""
    trained = adapter.trained_class
    if trained is not None and architecture.is_of(trained) is False:
        raise UserError(
            f"the adapter in {adapter.folder} was trained on a {trained}, and {base} is a {architecture.name}",
            "the model that it was trained on",
            "name its base: base=FOLDER" + (f" (it says {adapter.base})" if adapter.base else ""),
        )


def _fetched(name: str, patterns: list[str]) -> Path:
    """Return a base from the Hub, or from what was downloaded before."""
    from httpx import HTTPError
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        return Path(snapshot_download(name, allow_patterns=patterns))
    except (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        HTTPError,
        OSError,
    ) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"the base {name} is no folder here, and cannot be fetched: {first}",
            "the model that was trained from",
            "name its folder: base=FOLDER",
        ) from None


def _versions(found: Found) -> dict[str, str]:
    """Return the versions that the run noted, or else those at hand."""
    mark = found.run / "run.json" if found.run else None
    if mark and mark.is_file():
        noted = read_json(mark)
        return {"mmreflect": str(noted.get("mmreflect")), **(noted.get("versions") or {})}
    return {"mmreflect": __version__, **versions("torch", "transformers", "peft", "accelerate")}
