"""Checkpoints made ready for the Hub: adapters merged in, shards of FSDP and DeepSpeed put together.

    finding.py       what a folder holds: a run, a model, an adapter, shards
    pickles.py       .pt, .bin and .metadata files, read without running anything in them
    weights.py       tensors by name, read one at a time, whatever they lie in
    adapters.py      LoRA, rsLoRA and DoRA on their base, in float32
    fsdp.py          what torch.distributed.checkpoint wrote
    deepspeed.py     what ZeRO 1, 2 and 3 wrote
    architecture.py  the names and shapes that transformers expects
    shards.py        safetensors files and their index, written as a stream
    side_files.py    configuration, tokenizer, processor, chat template
    card.py          the model card
    checking.py      what was written, loaded again and asked
    pushing.py       to the Hub

Importing this package does not import torch.
"""

from mmreflect.exporting.checkpoint import export_checkpoint
from mmreflect.exporting.finding import is_checkpoint

__all__ = ["export_checkpoint", "is_checkpoint"]
