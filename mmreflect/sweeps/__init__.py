"""A few settings of a merge, each merged and evaluated, in one table: `mmreflect merge --sweep CONFIG`.

settings.py   the `sweep` block of a configuration, and the merges and evaluations that come of it
running.py    one after the other, resumable; weights are deleted as `keep` says
results.py    what an evaluation found in the few numbers that a user picks by, against the VLM alone

OUTPUT/settings/LABEL/merge     a merge run of its own
OUTPUT/settings/LABEL/eval-NAME an evaluation of its own
OUTPUT/settings/LABEL/setting.json written last: the setting is finished; or error.json, why it is not
OUTPUT/references/ROLE/eval-NAME the VLM alone, and every other of the three models that is one
"""

from mmreflect.sweeps.running import NAME, Sweep
from mmreflect.sweeps.settings import SweepConfig, prepare_sweep

__all__ = ["NAME", "Sweep", "SweepConfig", "prepare_sweep"]
