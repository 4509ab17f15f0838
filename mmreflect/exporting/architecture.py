"""What transformers expects of an architecture: names and shapes in memory and on disk, and which weights are tied."""

import warnings
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from mmreflect.errors import UserError
from mmreflect.exporting.weights import Held, Loose, Weights
from mmreflect.merge import canonical_name
from mmreflect.models import LLM_TYPES, VLM_TYPES

_WRAPPERS = ("_fsdp_wrapped_module.", "_checkpoint_wrapped_module.", "_orig_mod.")
"""What FSDP, activation checkpointing and torch.compile put into names."""
_PREFIXES = ("", "model.", "module.", "model.module.")
"""What accelerate and DeepSpeed put before them."""


class Architecture:
    """A model built from its configuration without weights.

    Attributes:
        config: transformers' configuration.
        memory: names and shapes of parameters and persistent buffers in memory, tied ones included.
        tied: name in memory to the one that it shares its values with; the former is not on disk.
    """

    def __init__(self, folder: Path) -> None:
        import transformers

        self.folder = folder
        transformers.utils.logging.disable_progress_bar()
        try:
            self.config = transformers.AutoConfig.from_pretrained(folder)
            self.model = self.empty()
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(
                f"transformers cannot build the model of {folder / 'config.json'}: {first}",
                f"a configuration of one of: {', '.join((*VLM_TYPES, *LLM_TYPES))}",
                "name the folder of the model that was trained: base=FOLDER",
            ) from None
        self.memory = {name: tuple(value.shape) for name, value in self.model.state_dict().items()}
        self.tied: dict[str, str] = dict(getattr(self.model, "all_tied_weights_keys", None) or {})

    @property
    def is_vlm(self) -> bool:
        """Whether it sees pictures."""
        return self.config.model_type in VLM_TYPES

    def is_of(self, name: str) -> bool | None:
        """Tell whether a class of transformers is of this family; None where transformers has no such class."""
        import transformers

        config = getattr(getattr(transformers, name, None), "config_class", None)
        return None if config is None else bool(config.model_type == self.config.model_type)

    @property
    def name(self) -> str:
        """The class of the model."""
        return type(self.model).__name__

    def empty(self) -> Any:
        """Build the model with parameters that take no memory; buffers that are computed are real."""
        import transformers
        from accelerate import init_empty_weights

        kinds = transformers.AutoModelForImageTextToText if self.is_vlm else transformers.AutoModelForCausalLM
        with warnings.catch_warnings(), init_empty_weights(include_buffers=False):
            warnings.simplefilter("ignore")
            return kinds.from_config(self.config)

    @cached_property
    def disk(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Name on disk to the name in memory that it comes from, and its shape; tied ones left out."""
        found: dict[str, tuple[str, tuple[int, ...]]] = {}
        for name, shape in self.memory.items():
            if name not in self.tied:
                made = self._written(name, torch.empty(shape, device="meta"))
                found |= {own: (name, tuple(value.shape)) for own, value in made.items()}
        return found

    def _written(self, name: str, value: torch.Tensor) -> dict[str, torch.Tensor]:
        """Turn one tensor in memory into what save_pretrained would write of it."""
        from transformers.core_model_loading import revert_weight_conversion

        return dict(revert_weight_conversion(self.model, {name: value}))

    def on_disk(self, weights: Weights, what: str) -> Weights:
        """Return weights with names in memory as they are to lie on disk; checked against the architecture.

        Args:
            what: how messages call the weights.

        Raises:
            UserError: a tensor is missing, not expected, of another shape, or differs from the one it is tied to.
        """
        names = fitted(weights.tensors, self.memory)
        self._check(weights, names, what)
        table = {own: (source, shape) for own, (source, shape) in self.disk.items() if source in names}
        held = {own: Held(shape, weights.tensors[names[source]].dtype) for own, (source, shape) in table.items()}
        last: dict[str, dict[str, torch.Tensor]] = {}

        def read(own: str) -> torch.Tensor:
            source = table[own][0]
            if source not in last:
                last.clear()  # one tensor in memory may become several on disk; they are written one after the other
                last[source] = self._written(source, weights.read(names[source]))
            return last[source][own].contiguous()

        return Loose(held, read)

    def _check(self, weights: Weights, names: Mapping[str, str], what: str) -> None:
        missing = [name for name in self.memory if name not in names and self.tied.get(name) not in names]
        strange = sorted(weights.tensors.keys() - set(names.values()))
        if any("lora_" in name for name in strange):
            raise UserError(
                f"{what} hold an adapter beside the frozen model ({next(n for n in strange if 'lora_' in n)!r})",
                "whole weights; the trainer saves an adapter in adapter_model.safetensors",
                "export the folder that holds adapter_config.json",
            )
        if missing or strange:
            both = [f"without {_listed(missing)}"] if missing else []
            both += [f"with {_listed(strange)}, which it does not have"] if strange else []
            raise UserError(
                f"{what} do not fit {self.name} of {self.folder}: {', '.join(both)}",
                f"its {len(self.memory)} tensors",
                "name the folder of the model that was trained: base=FOLDER",
            )
        for name, own in names.items():
            if weights.tensors[own].shape != self.memory[name]:
                raise UserError(
                    f"{what}: {own!r} has the shape {list(weights.tensors[own].shape)}",
                    f"{list(self.memory[name])}, as {self.folder / 'config.json'} says",
                    "name the folder of the model that was trained: base=FOLDER",
                )
        for name, source in self.tied.items():
            first, second = names.get(name), names.get(source)
            if first and second and first != second:
                self._check_tie(weights, first, second, what)

    def _check_tie(self, weights: Weights, name: str, source: str, what: str) -> None:
        if not torch.equal(weights.read(name), weights.read(source)):
            raise UserError(
                f"{what}: {name!r} and {source!r} differ, and the configuration ties them",
                "equal values, or tie_word_embeddings: false",
                f"correct {self.folder / 'config.json'}, if the model was trained untied",
            )

    def without_copies(self, weights: Weights, what: str) -> Weights:
        """Return weights with names on disk without those that others are tied to.

        Raises:
            UserError: a tied tensor is there, and differs from the one it is tied to.
        """
        names = {canonical_name(name): name for name in weights.tensors}
        left_out = set()
        for name, source in self.tied.items():
            own, other = names.get(canonical_name(name)), names.get(canonical_name(source))
            if own and other:
                self._check_tie(weights, own, other, what)
                left_out.add(own)
        return Loose({name: held for name, held in weights.tensors.items() if name not in left_out}, weights.read)


def fitted(names: Iterable[str], expected: Iterable[str]) -> dict[str, str]:
    """Return expected name to given name, for those that are there.

    Wrappers inside a name are left out, and the one prefix before all names under which most are expected.
    """
    plain = {_unwrapped(name): name for name in names}
    known = set(expected)
    best = max(_PREFIXES, key=lambda prefix: sum(_without(name, prefix) in known for name in plain))
    found = {_without(name, best): own for name, own in plain.items()}
    return {name: own for name, own in found.items() if name in known}


def _without(name: str, prefix: str) -> str:
    return name[len(prefix) :] if name.startswith(prefix) else f"-{name}"


def _unwrapped(name: str) -> str:
    for wrapper in _WRAPPERS:
        name = name.replace(wrapper, "")
    return name


def _listed(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def check_written(architecture: Architecture, tensors: Mapping[str, Held], untied: bool) -> list[str]:
    """Compare written names and shapes with what transformers expects, whichever prefixes they have.

    Args:
        untied: the weights that the architecture ties are written each for itself.

    Returns:
        Names that transformers does not load, such as heads for speculative decoding: they are copies of the base's.

    Raises:
        RuntimeError: a tensor is missing, has another shape, or is written although it is tied: a bug.
    """
    expected = {canonical_name(own): shape for own, (_, shape) in architecture.disk.items()}
    if untied:
        expected |= {canonical_name(name): architecture.memory[name] for name in architecture.tied}
    found = {canonical_name(name): item.shape for name, item in tensors.items()}
    wrong = sorted(name for name, shape in expected.items() if found.get(name) != shape)
    twice = sorted(canonical_name(name) for name in architecture.tied if not untied and canonical_name(name) in found)
    if wrong or twice:
        raise RuntimeError(f"the written model does not fit {architecture.name}: {(wrong or twice)[:5]}")
    return sorted(name for name in tensors if canonical_name(name) not in expected)
