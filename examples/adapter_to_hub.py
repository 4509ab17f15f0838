"""A training's adapter (or FSDP's, or DeepSpeed's shards) as one checkpoint that the Hub and vLLM can read.

python examples/adapter_to_hub.py outputs/sft outputs/sft-hub [OWNER/NAME]
"""

import sys

from mmreflect.exporting import export_checkpoint

trained, output, *name = sys.argv[1:]
words = [f"output={output}", "checkpoint=last", "dtype=bfloat16", *(f"push={item}" for item in name)]
print(export_checkpoint(trained, words))
