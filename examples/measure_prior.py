"""How much attention a VLM pays to your own pictures, layer by layer: the prior of FRANK.

python examples/measure_prior.py MODEL PICTURES outputs/prior
"""

import sys

from mmreflect.merge.attention import Pictures, measure

model, pictures, output = sys.argv[1:]
found = measure(Pictures(pictures=pictures, limit=1000, max_tokens=256), model, output)
print(f"alpha {found.alpha:.4f}, written to {output}/prior.json")
