"""Merging the weights of a reasoning LLM into a VLM: plan, stream, verify, report.

    checkpoint.py  what a model folder holds, read from headers only
    plan.py        which tensor comes from where; refuses models that do not fit
    executor.py    streams the merged shards to disk, a few megabytes at a time
    report.py      merge_report.json, the model card, and the check of the written model
    methods/       one file per method; its stem is `method:` in YAML

Importing this package does not import torch; `mmreflect.merge.executor` does.
"""

from mmreflect.merge.checkpoint import Checkpoint, Entry, canonical_name, open_checkpoint
from mmreflect.merge.plan import CHECKS, MergePlan, PlannedTensor, plan_merge

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
