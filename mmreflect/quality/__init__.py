"""The quality of a dataset: what may stand in it, and what stands in it twice.

config.py     what is asked of every dataset that is built
texts.py      scripts, repetition, leaks, likeness of texts: pure functions, also for builders while they make
checks.py     one row alone: its final answer, length, script
sketches.py   MinHash of texts
pictures.py   perceptual hash of pictures
marks.py      what is kept of a row so that it can be compared with every other one
search.py     what is like a given mark among many
repeats.py    which rows are dropped because others are like them
foreign.py    marks of evaluation sets
"""

from mmreflect.quality.checks import CHECKS, EXEMPTIBLE, Check, Finding, Texts, check_row
from mmreflect.quality.config import QualityConfig

__all__ = ["CHECKS", "EXEMPTIBLE", "Check", "Finding", "QualityConfig", "Texts", "check_row"]
