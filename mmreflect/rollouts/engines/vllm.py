"""Rollouts through vLLM on GPUs: in the training processes (`colocate`) or on a server of its own (`server`).

TRL's generation module starts vLLM and gives it the policy's weights. Its `generate` is not used: it takes one setting
for all prompts, no video, and (until TRL issue 6294 is closed) prompts whose pictures vLLM expands a second time. So
requests go to the `LLM` or the client that TRL's module holds, each with its own seed, limit and media.

Verified: everything here runs in the tests through TRL's own code, against a stand-in for vLLM that checks requests as
vLLM's interface documents them. Nothing was run against a real vLLM. In a run, vLLM's own expansion of each prompt must
equal ours token for token, or it stops with an error that names both lengths. What no run can see: the seconds between
frames that vLLM gives to videos of Qwen2.5-VL, and the speed of anything.

What differs from the engine `transformers`: vLLM's numerics depend a little on what else is in the batch, so equal
seeds give equal replies only mostly; and its probabilities differ slightly from the training forward's, which nothing
corrects here.
"""

import importlib.util
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from mmreflect.config import config
from mmreflect.errors import UserError

if TYPE_CHECKING:
    from mmreflect.data.rendering import Renderer
    from mmreflect.models import Loaded
    from mmreflect.rollouts.engines._vllm import VLLMEngine

CAPABILITIES = frozenset({"tokens", "continue", "media", "policy"})


@config
class Config:
    """Options of the engine: TRL's `vllm_*` fields without the prefix.

    Attributes:
        mode: `colocate` shares the training GPUs; `server` asks a running `vllm serve`, which takes pictures, no video.
        server_base_url: where the server is; takes the place of `server_host` and `server_port`.
        server_timeout: seconds to wait for the server.
        group_port: of the group that sends weights to the server.
        gpu_memory_utilization: share of GPU memory that a colocated vLLM takes.
        tensor_parallel_size: of a colocated vLLM; only 1, see `check`.
        max_model_length: tokens of prompt and rollout together; None is the model's own limit.
        max_num_seqs: requests that a colocated vLLM answers at once; None is its own limit.
        enable_sleep_mode: a colocated vLLM gives its memory back between two rounds.
        server_concurrency: requests that one process keeps under way at the server.
    """

    mode: Literal["colocate", "server"] = "colocate"
    server_base_url: str | None = None
    server_host: str = "0.0.0.0"
    server_port: Annotated[int, Field(gt=0, lt=65536)] = 8000
    server_timeout: Annotated[float, Field(ge=0)] = 240.0
    server_concurrency: Annotated[int, Field(gt=0)] = 64
    group_port: Annotated[int, Field(gt=0, lt=65536)] = 51216
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = 0.3
    tensor_parallel_size: Annotated[int, Field(gt=0)] = 1
    max_model_length: Annotated[int, Field(gt=0)] | None = None
    max_num_seqs: Annotated[int, Field(gt=0)] | None = None
    enable_sleep_mode: bool = False
    model_impl: Literal["auto", "vllm", "transformers"] = "auto"

    @property
    def address(self) -> str:
        """Where the server is."""
        return self.server_base_url or f"http://{self.server_host}:{self.server_port}"


def terms(options: Config) -> dict[str, Any]:
    """Return what decides a reply beside the sampling, for a contract."""
    return {"model_impl": options.model_impl, "max_model_length": options.max_model_length}


def check(options: Config) -> None:
    """Check what can be known before anything is loaded.

    Raises:
        UserError: vLLM is not installed, or options contradict each other.
    """
    if importlib.util.find_spec("vllm") is None:
        raise UserError(
            "engine vllm needs the package vllm, which is not installed",
            "an installed vllm (it needs a GPU)",
            "pip install 'mmreflect[vllm]', or set rollout.engine to transformers",
        )
    if options.mode == "colocate" and options.tensor_parallel_size > 1:
        raise UserError(
            f"rollout.engine.tensor_parallel_size is {options.tensor_parallel_size} with mode colocate",
            "1: split vLLMs must move in step, but rollouts take another number of turns on every process",
            "use mode server, and start it with --tensor-parallel-size",
        )
    if options.mode == "colocate" and options.server_base_url is not None:
        raise UserError(
            f"rollout.engine.server_base_url is {options.server_base_url} with mode colocate, which asks no server",
            "an address only with mode server",
            "set rollout.engine.mode to server, or remove the address",
        )
    if options.mode == "server" and options.enable_sleep_mode:
        raise UserError(
            "rollout.engine.enable_sleep_mode is on with mode server, whose memory is not ours",
            "sleep only with mode colocate",
            "remove it",
        )


def create(options: Config, loaded: "Loaded", renderer: "Renderer") -> "VLLMEngine":
    """Create the engine; it starts when the trainer attaches its model.

    Raises:
        UserError: as `check`.
    """
    check(options)
    from mmreflect.rollouts.engines._vllm import VLLMEngine

    return VLLMEngine(options, loaded, renderer)
