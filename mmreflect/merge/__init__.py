"""Merging the weights of a reasoning LLM into a VLM: plan, stream, verify, report.

    checkpoint.py  what a model folder holds, read from headers only
    names.py       which tensor of one family is which of another; sources.py where its values lie
    gate.py        refuses models that do not fit, check by check; vocabulary.py compares their tokens
    plan.py        which tensor comes from where; layout.py into which file it goes; costs.py what that takes
    rule.py        what a method is to the executor; prior.py how much the VLM counts per layer
    methods/       one file per method; its stem is `method:` in YAML
    executor.py    reads each layer once, measures, combines and writes it (work, pieces, outputs, checksums)
    reading.py     files that stay open, and threads that have the disk read on; halting.py ends threads early
    arithmetic.py  what computes, and its choice: arithmetic_compiled.py in one pass, by kernels.py, which builds C with
                   the machine's compiler; arithmetic_numpy.py, the reference; arithmetic_torch.py on a GPU
    raw.py         bytes for all of them; soundness.py says what is wrong with values that are no numbers
    windows.py     mapped parts of files, so that compiled arithmetic need not copy what the system's cache holds
    outputs.py     files written at any place and noted when complete (notes.py), so that a kill costs little
    experts.py     one expert at a time, for rules of whole tensors
    inputs.py      the files that a merge was made of: a run goes on only while they are what they were
    report.py      merge_report.json; card.py the model card; verify.py checks the written model, at once or years later
    reload.py      loads it with transformers, where memory.py says that it fits
    recipe.py      all of it, from a configuration to a finished folder

Nothing here imports torch but the GPU's arithmetic and `reload.py`.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING

from mmreflect.merge.checkpoint import Checkpoint, Entry, open_checkpoint
from mmreflect.merge.gate import CHECKS
from mmreflect.merge.names import canonical_name
from mmreflect.merge.plan import MergePlan, PlannedTensor, plan_merge

if TYPE_CHECKING:
    from mmreflect import Source
    from mmreflect.runs import Run


class _CallablePackage(ModuleType):
    """Importing a package sets its name in the parent, and so would hide the function `mmreflect.merge`."""

    def __call__(self, config: "Source", *overrides: str) -> "Run":
        """Merge the weights of a reasoning LLM into a VLM."""
        from mmreflect import _start

        return _start("merge", config, overrides)


sys.modules[__name__].__class__ = _CallablePackage

__all__ = [
    "CHECKS",
    "Checkpoint",
    "Entry",
    "MergePlan",
    "PlannedTensor",
    "canonical_name",
    "open_checkpoint",
    "plan_merge",
]
