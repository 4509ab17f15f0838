"""Merging the weights of a reasoning LLM into a VLM: plan, stream, verify, report.

    checkpoint.py  what a model folder holds, read from headers only
    names.py       which tensor of one family is which of another; sources.py where its values lie
    gate.py        refuses models that do not fit, check by check; vocabulary.py compares their tokens
    plan.py        which tensor comes from where; layout.py into which file it goes; costs.py what that takes
    rule.py        what a method is to the executor; prior.py how much the VLM counts per layer
    methods/       one file per method; its stem is `method:` in YAML
    executor.py    reads each layer once, measures, combines and writes it (pieces, arithmetic, outputs, checksums)
    report.py      merge_report.json and the model card; verify.py checks the written model, at once or years later
    recipe.py      all of it, from a configuration to a finished folder

Nothing here imports torch but the GPU's arithmetic and the reload of `verify`.
"""

from mmreflect.merge.checkpoint import Checkpoint, Entry, open_checkpoint
from mmreflect.merge.gate import CHECKS
from mmreflect.merge.names import canonical_name
from mmreflect.merge.plan import MergePlan, PlannedTensor, plan_merge

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
