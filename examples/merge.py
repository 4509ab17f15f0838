"""A merge from Python: the plan first, then the run, then what it measured.

python examples/merge.py BASE VLM REASONING_MODEL OUTPUT
"""

import sys

import mmreflect
from mmreflect.files import read_json
from mmreflect.launch import prepare

base, vlm, reason, output = sys.argv[1:]
recipe = {"method": "frank", "base": base, "vlm": vlm, "reason": reason, "output": output}
print(prepare("merge", recipe).plan()["memory"])
run = mmreflect.merge(recipe, "prior={name: fixed, alpha: 0.05}")
print([round(row["lam_v"], 3) for row in read_json(run.path / "merge_report.json")["layers"]])
