"""A stand-in for vLLM: takes what its interface documents, refuses the rest, and says what a script says.

It reads the model's folder itself and expands placeholders with the processor it finds there, as vLLM does, so that it
shares no code with the engine that is tested. `LLM` stands for a colocated one, `serve` for `vllm serve`.
"""

import base64
import io
import json
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor

from mmreflect.rollouts.actions import Request, Sampling
from mmreflect.rollouts.engines.scripted import Script, ScriptedEngine

VISION = "<|vision_start|>", "<|vision_end|>"


@dataclass(kw_only=True)
class SamplingParams:
    """The fields of vLLM's class that matter here, with its checks."""

    n: int = 1
    repetition_penalty: float = 1.0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    stop_token_ids: list[int] = field(default_factory=list)
    max_tokens: int = 16
    logprobs: int | None = None
    detokenize: bool = True
    bad_words: list[str] = field(default_factory=list)
    output_kind: int = 0

    def __post_init__(self) -> None:
        assert self.n == 1 and self.repetition_penalty == 1.0 and self.min_p == 0.0
        assert 0.0 <= self.temperature <= 2.0, "temperature must be in [0, 2]"
        assert 0.0 < self.top_p <= 1.0 and isinstance(self.top_k, int) and self.top_k >= -1
        assert self.max_tokens >= 1, "max_tokens must be at least 1"
        assert self.seed is None or (isinstance(self.seed, int) and -(2**63) <= self.seed < 2**63 and self.seed != -1)
        assert all(isinstance(token, int) for token in self.stop_token_ids) and all(self.bad_words)


class Brain:
    """What both kinds of vLLM share: a processor, a script, and a record of what was asked."""

    def __init__(self, model: str, script: Script, max_model_len: int) -> None:
        self.processor = AutoProcessor.from_pretrained(model)
        self.tokenizer, self.max_model_len = self.processor.tokenizer, max_model_len
        self.scripted = ScriptedEngine(script)
        self.image_pad, self.video_pad, self.start, self.end = (
            self.tokenizer.convert_tokens_to_ids(token) for token in ("<|image_pad|>", "<|video_pad|>", *VISION)
        )
        self.heard: list[list[int]] = []
        self.params: list[SamplingParams] = []
        self.said_unasked: list[int] = []

    def image_tokens(self, picture: Image.Image, **limits: int) -> int:
        grid = self.processor.image_processor(images=[picture], return_tensors="pt", **limits)["image_grid_thw"][0]
        return int(grid.prod()) // self.processor.image_processor.merge_size**2

    def expand(self, ids: list[int], data: dict[str, list[Any]], options: dict[str, Any]) -> list[int]:
        limits = {key: value for key, value in options.items() if key in ("min_pixels", "max_pixels")}
        waiting = {kind: list(items) for kind, items in data.items()}
        expanded: list[int] = []
        for place, token in enumerate(ids):
            if token not in (self.image_pad, self.video_pad):
                expanded.append(token)
                continue
            around = ids[place - 1], ids[place + 1]
            assert around == (self.start, self.end), "vLLM expands one placeholder per medium, not one that is expanded"
            if token == self.image_pad:
                expanded += [token] * self.image_tokens(waiting["image"].pop(0), **limits)
            else:
                assert options["do_sample_frames"] is False
                expanded += self.video_ids(*waiting["video"].pop(0), fps=options.get("fps"))
        assert not any(waiting.values()), "Failed to apply prompt replacement: fewer placeholders than media"
        return expanded

    def video_ids(self, frames: np.ndarray, metadata: dict[str, Any], fps: float | None) -> list[int]:
        assert frames.dtype == np.uint8 and frames.ndim == 4 and metadata["do_sample_frames"] is False
        if type(self.processor).__name__ == "Qwen2_5_VLProcessor":
            assert fps == metadata["fps"], "without fps the times of Qwen2.5-VL are those of 24 frames per second"
        described = {key: value for key, value in metadata.items() if key != "do_sample_frames"}
        ids = self.processor(
            text=[f"{VISION[0]}<|video_pad|>{VISION[1]}"],
            videos=[torch.from_numpy(frames).permute(0, 3, 1, 2)],
            videos_kwargs={"video_metadata": [described], "do_sample_frames": False},
        )["input_ids"][0]
        return list(ids)[1:-1]

    def answer(self, ids: list[int], params: SamplingParams) -> tuple[list[int], str]:
        """Say what the script says about the sample that the prompt names with `ask NAME`; others share one name."""
        assert len(ids) + 1 <= self.max_model_len, "the prompt is longer than the maximum model length"
        self.heard.append(ids)
        self.params.append(params)
        name = next(iter(re.findall(r"ask (\w+)", self.tokenizer.decode(ids))), "another")
        request = Request(name, ids, [], [], 10**6, params.seed or 0)
        text = self.scripted.generate([request], Sampling())[0].text
        banned = {tuple(self.tokenizer(word, add_special_tokens=False)["input_ids"])[-1] for word in params.bad_words}
        said = [token for token in self.said_unasked if token not in banned]
        said += [*self.tokenizer(text, add_special_tokens=False)["input_ids"], self.tokenizer.eos_token_id]
        stops = [place for place, token in enumerate(said) if token in params.stop_token_ids]
        limit = min(params.max_tokens, self.max_model_len - len(ids))
        return said[: min(limit, stops[0] + 1)], "stop" if stops[0] < limit else "length"


class LLM:
    """A colocated vLLM. `made` holds every one that was built."""

    made: ClassVar["list[LLM]"] = []
    script: Script
    default_length = 4096

    def __init__(self, **options: Any) -> None:
        assert options["distributed_executor_backend"] == "external_launcher"
        self.options, self.log = options, list[str]()
        self.brain = Brain(options["model"], type(self).script, options["max_model_len"] or self.default_length)
        self.awake = {"weights", "kv_cache"}
        self.weights: dict[str, torch.Tensor] = {}
        runner = SimpleNamespace(model=SimpleNamespace(load_weights=self._load))
        self.llm_engine = SimpleNamespace(
            model_config=SimpleNamespace(max_model_len=self.brain.max_model_len),
            model_executor=SimpleNamespace(driver_worker=SimpleNamespace(model_runner=runner)),
        )
        type(self).made.append(self)

    def _load(self, weights: list[tuple[str, torch.Tensor]]) -> None:
        assert "weights" in self.awake, "weights are written to memory that was given back"
        self.weights |= {name: value.clone() for name, value in weights}
        if self.log[-1:] != ["load"]:
            self.log.append("load")

    def reset_prefix_cache(self) -> None:
        self.log.append("reset")

    def wake_up(self, tags: list[str]) -> None:
        self.awake |= set(tags)
        self.log.append(f"wake {' '.join(tags)}")

    def sleep(self, level: int) -> None:
        assert self.options["enable_sleep_mode"] and level == 2
        self.awake, self.weights = set(), {}
        self.log.append("sleep")

    def generate(self, prompts: list[dict[str, Any]], sampling_params: list[SamplingParams], use_tqdm: bool) -> Any:
        assert self.awake == {"weights", "kv_cache"} and self.weights and use_tqdm is False
        self.log.append("generate")
        outputs = []
        for prompt, params in zip(prompts, sampling_params, strict=True):
            assert set(prompt) <= {"prompt_token_ids", "multi_modal_data", "mm_processor_kwargs"}
            data = prompt.get("multi_modal_data", {})
            assert set(data) <= {"image", "video"} and all(isinstance(items, list) for items in data.values())
            ids = self.brain.expand(prompt["prompt_token_ids"], data, prompt.get("mm_processor_kwargs", {}))
            said, reason = self.brain.answer(ids, params)
            completion = SimpleNamespace(token_ids=said, finish_reason=reason)
            outputs.append(SimpleNamespace(prompt_token_ids=ids, outputs=[completion]))
        return outputs


def install(monkeypatch: pytest.MonkeyPatch, script: Script) -> type[LLM]:
    """Put the stand-in where TRL and the engine find vLLM; environment variables that TRL sets are taken back."""
    import trl.generation.vllm_client as client
    import trl.generation.vllm_generation as generation

    module = ModuleType("vllm")
    module.__spec__ = ModuleSpec("vllm", None)
    LLM.made, LLM.script = [], staticmethod(script)  # type: ignore[assignment]
    module.LLM, module.SamplingParams = LLM, SamplingParams  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", module)
    for place in (client, generation):
        monkeypatch.setattr(place, "is_vllm_available", lambda *_: True)
    monkeypatch.setattr(generation, "LLM", LLM, raising=False)
    monkeypatch.setattr(generation, "SamplingParams", SamplingParams, raising=False)
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "0")
        monkeypatch.delenv(name)
    return LLM


class Served(Brain):
    """A vLLM server's mind: text by `/v1/completions`, pictures by `/render` and then `/inference/v1/generate`."""

    limits: dict[str, int]

    def route(self, path: str, body: dict[str, Any]) -> Any:
        if path.startswith("/server_info"):
            settings = {"max_model_len": self.max_model_len, "logprobs_mode": "processed_logprobs"}
            return {"vllm_config": {"model_config": settings, "weight_transfer_config": {"backend": "nccl"}}}
        known = {
            "/v1/models": lambda: {"data": [{"id": "served"}]},
            "/v1/completions": lambda: self.complete(body),
            "/v1/chat/completions/render": lambda: {"features": self.features(body)},
            "/inference/v1/generate": lambda: self.generate(body),
        }
        return known[path]() if path in known else {}

    def complete(self, body: dict[str, Any]) -> Any:
        (ids,) = body.pop("prompt")
        assert body.pop("return_token_ids") and body.pop("return_tokens_as_token_ids") and body.pop("model") == "served"
        assert not {self.image_pad, self.video_pad} & set(ids)
        said, reason = self.answer(ids, SamplingParams(**body))
        return {"choices": [{"prompt_token_ids": ids, "token_ids": said, "logprobs": None, "finish_reason": reason}]}

    def features(self, body: dict[str, Any]) -> Any:
        urls = [part["image_url"]["url"] for part in body["messages"][0]["content"]]
        data = [base64.b64decode(url.partition("base64,")[2]) for url in urls]
        counts = [self.image_tokens(Image.open(io.BytesIO(item)), **self.limits) for item in data]
        places = [{"offset": 4, "length": count} for count in counts]
        hashes = [str(hash(item)) for item in data]
        return {"mm_hashes": {"image": hashes}, "mm_placeholders": {"image": places}, "kwargs_data": {"image": hashes}}

    def generate(self, body: dict[str, Any]) -> Any:
        ids = body["token_ids"]
        placed = (body["features"] or {"mm_placeholders": {"image": []}})["mm_placeholders"]["image"]
        covered = [place for item in placed for place in range(item["offset"], item["offset"] + item["length"])]
        assert covered == [place for place, token in enumerate(ids) if token == self.image_pad]
        said, reason = self.answer(ids, SamplingParams(**body["sampling_params"]))
        return {"choices": [{"token_ids": said, "logprobs": None, "finish_reason": reason}]}


@contextmanager
def serve(
    monkeypatch: pytest.MonkeyPatch, model: str, script: Script, max_model_len: int = 4096, **limits: int
) -> Iterator[tuple[str, Served, list[list[str]]]]:
    """Run a server on this machine; yields its address, its mind, and the names of the weights of each update."""
    from trl.generation.vllm_client import VLLMClient

    brain, updates = Served(model, script, max_model_len), list[list[str]]()
    brain.limits = limits
    monkeypatch.setattr(VLLMClient, "init_communicator", lambda self, device: None)
    monkeypatch.setattr(
        VLLMClient, "update_named_params", lambda self, known, weights: updates.append([name for name, _ in weights])
    )

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or "{}")
            try:
                answer, code = brain.route(self.path, body), 200
            except Exception as error:
                answer, code = {"error": repr(error)}, 400
            data = json.dumps(answer).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_GET

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", brain, updates
    finally:
        server.shutdown()
        server.server_close()
