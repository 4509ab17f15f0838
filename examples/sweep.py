"""Which merge to take: a few settings, each merged and evaluated, in one table.

python examples/sweep.py BASE VLM REASONING_MODEL DATASET OUTPUT
"""

import sys

import mmreflect

base, vlm, reason, data, output = sys.argv[1:]
settings = [{"method": "frank"}, {"method": "linear", "vlm_weight": 0.9, "reason_weight": 0.1}, {"method": "ties"}]
asked = {"benchmark": "dataset", "data": {"path": data, "split": "validation"}, "max_new_tokens": 256}
recipe = {
    "base": base,
    "vlm": vlm,
    "reason": reason,
    "output": output,
    "sweep": {"settings": settings, "eval": [asked]},
}
run = mmreflect.merge(recipe)
assert run.result is not None
print("best:", run.result["best"])
