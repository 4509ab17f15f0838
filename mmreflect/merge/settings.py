"""What every method of merging can be told."""

import math
from dataclasses import fields
from typing import Annotated, Literal

from pydantic import Field

from mmreflect.config import FREE, config
from mmreflect.errors import UserError
from mmreflect.merge.gate import check_force
from mmreflect.merge.layout import OutputDtype
from mmreflect.merge.names import Scope
from mmreflect.merge.plan import Embeddings

DEFAULT_SHARD_BYTES = 5_000_000_000


@config
class MergeSettings:
    """The models, what is merged of them, and how the result is written.

    Attributes:
        base: folder of the common ancestor of the two others. A method that does without it measures the report's
            norms and cosines from it where it is given.
        vlm: folder of the vision-language model, whose layout and files the output takes.
        reason: folder of the reasoning language model.
        output: folder of the run; the model goes to its `model/`.
        scope: `decoder_blocks`, or only the `attention` or only the `mlp` of each block (norms are in neither).
        embeddings: `vlm`, or `matching_tokens`: rows of embeddings and head are merged where every model knows the
            token's text, each by its own id.
        force: names of compatibility checks to skip; see `mmreflect.merge.CHECKS`.
        dtype: of the output's floating-point tensors; `keep` leaves each tensor in the VLM's.
        shard_bytes: largest output file; with `keep` the VLM's own files are kept instead.
        device: where values are computed; `auto` takes an NVIDIA GPU where there is one. A merge may go on on another:
            weights that were measured are kept.
        arithmetic: how a CPU computes: `compiled` C, which needs a C compiler; `numpy`; `auto` takes the first where
            it can be had. The result is the same to the last bit.
        reload: load the merged model with transformers and let it answer once, where it takes at most half of the
            memory that is free. Answers that are not finite end the merge, which keeps what it wrote; what else is
            wrong is a warning. `mmreflect merge --verify` does the same later.
        hold_gb: a layer whose inputs are larger is read twice instead of being held in memory, with the same result.
    """

    base: str | None = None
    vlm: str
    reason: str
    output: str
    scope: Scope = "decoder_blocks"
    embeddings: Embeddings = "vlm"
    force: list[str] = Field(default_factory=list)
    dtype: OutputDtype = "keep"
    shard_bytes: int = Field(default=DEFAULT_SHARD_BYTES, gt=0)
    device: Annotated[Literal["auto", "cpu", "cuda"], FREE] = "auto"
    arithmetic: Annotated[Literal["auto", "compiled", "numpy"], FREE] = "auto"
    reload: Annotated[bool, FREE] = True
    hold_gb: Annotated[Annotated[float, Field(ge=0)], FREE] = 4.0

    def __post_init__(self) -> None:
        """Check what one key cannot know."""
        check_force(self.force)
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise UserError(f"{item.name}={value}", "a finite number", "give it another value")
        if self.dtype == "keep" and self.shard_bytes != DEFAULT_SHARD_BYTES:
            raise UserError(
                f"shard_bytes={self.shard_bytes:,} has no effect with dtype: keep, which keeps the VLM's own files",
                "shard_bytes only where dtype changes",
                "remove shard_bytes, or choose a dtype",
            )


@config
class BasedSettings(MergeSettings):
    """The same for a method that is defined by changes from the base."""

    base: str = Field()
