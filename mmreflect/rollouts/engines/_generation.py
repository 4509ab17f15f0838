"""Speaking with a loaded model through `generate`: what the engine `transformers` runs on.

Each reply is drawn with its own seed by inverting the cumulative distribution, one uniform number per token: a reply
depends on its request alone, not on its neighbours in the batch or on what was drawn before.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    SuppressTokensLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from mmreflect.data.rendering import Conversation, Renderer, assistant_spans, pad_rows
from mmreflect.models import Loaded, end_token_ids, visual_token_ids
from mmreflect.records import Media, Reply, Stop, Turn
from mmreflect.rollouts.actions import Request, Sampling
from mmreflect.rollouts.engines._vision import VisionCache, takes_embeddings
from mmreflect.rollouts.engines._watching import Watching
from mmreflect.rollouts.engines.transformers import CAPABILITIES
from mmreflect.rollouts.transcript import messages_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class TransformersEngine:
    """Speaks with a loaded model. The model may be training: it is put into evaluation mode only while it speaks.

    Args:
        batch_size: replies generated at once.
    """

    capabilities = CAPABILITIES

    def __init__(self, loaded: Loaded, renderer: Renderer, batch_size: int) -> None:
        self.loaded, self.renderer, self.batch_size = loaded, renderer, batch_size
        ends = end_token_ids(loaded)
        self.end_ids, self.end_id = frozenset(ends), ends[0]
        self._suppressed = visual_token_ids(loaded.model)
        self._vision = VisionCache(renderer)
        self._in_round = False

    @property
    def model(self) -> "PreTrainedModel":
        """The model as it is now."""
        return self.loaded.model

    def encode(self, turns: Sequence[Sequence[Turn]]) -> list[list[int]]:
        """Return the prompt ids of each conversation, ending where the model shall speak.

        An assistant's turn that stands last is a prefill: the model goes on from its words.
        """
        split = [_without_prefill(item) for item in turns]
        found = self.renderer.encode([conversation_of(item) for item, _ in split], reply=True)
        return [[*ids, *(self.tokenize(words) if words else [])] for ids, (_, words) in zip(found, split, strict=True)]

    def encode_turn(self, turn: Turn) -> list[int]:
        """Return the tokens of one more turn after a reply that has ended."""
        before = [Turn("user", ["x"]), Turn("assistant", ["x"])]
        ids = self.renderer.encode([conversation_of([*before, turn])], reply=True)[0]
        _, end = assistant_spans(ids, self.renderer.tokenizer)[0]
        return ids[end:]

    def load_ahead(self, media: Sequence[Media]) -> None:
        """Load media that the next turns show, several at a time."""
        self.renderer.load_ahead(media)

    def tokenize(self, text: str) -> list[int]:
        """Return the ids of a text on its own."""
        return list(self.renderer.tokenizer(text, add_special_tokens=False)["input_ids"])

    def detokenize(self, token_ids: Sequence[int]) -> str:
        """Return the text of ids, special tokens left out."""
        return str(self.renderer.tokenizer.decode(list(token_ids), skip_special_tokens=True))

    @contextmanager
    def round(self, step: int) -> Iterator[None]:
        """Promise that the weights stay as they are while this is open."""
        self._vision.clear()
        self._in_round = True
        try:
            yield
        finally:
            self._in_round = False
            self._vision.clear()

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Reply]:
        """Return one reply per request; requests of similar length are batched together."""
        lengths = [len(request.prompt_ids) + len(request.token_ids) for request in requests]
        order = sorted(range(len(requests)), key=lambda place: lengths[place])
        if not self._in_round:
            self._vision.clear()
        replies: dict[int, Reply] = {}
        with speaking(self.model):
            for start in range(0, len(order), self.batch_size):
                chunk = order[start : start + self.batch_size]
                answered = self._generate_batch([requests[place] for place in chunk], sampling)
                replies.update(zip(chunk, answered, strict=True))
        return [replies[place] for place in range(len(requests))]

    def _generate_batch(self, requests: list[Request], sampling: Sampling) -> list[Reply]:
        rows = [[*request.prompt_ids, *request.token_ids] for request in requests]
        device = self.model.device
        pad_id = self.renderer.tokenizer.pad_token_id
        ids_BT = pad_rows(rows, pad_id, left=True).to(device)
        inputs: dict[str, Any] = {
            "input_ids": ids_BT,
            "attention_mask": pad_rows([[1] * len(row) for row in rows], 0, left=True).to(device),
            **self._visual(rows, requests),
        }
        types = self.renderer.token_types(ids_BT)
        if types is not None:
            inputs["mm_token_type_ids"] = types
        limit = max(request.max_new_tokens for request in requests)
        settings = GenerationConfig(
            max_new_tokens=limit,
            do_sample=False,
            num_beams=1,
            repetition_penalty=1.0,
            eos_token_id=sorted(self.end_ids),
            pad_token_id=pad_id,
            bos_token_id=None,
            disable_compile=True,
        )
        processors = self._processors(requests, sampling, ids_BT.shape[1], limit)
        output_BT = self.model.generate(**inputs, generation_config=settings, logits_processor=processors)
        fresh = output_BT[:, ids_BT.shape[1] :].tolist()
        return [self._reply(ids, request.max_new_tokens) for ids, request in zip(fresh, requests, strict=True)]

    def _visual(self, rows: list[list[int]], requests: list[Request]) -> dict[str, Any]:
        """Return what the model needs to see of the requests' media."""
        if takes_embeddings(self.model):
            return self._vision.inputs(self.model, [item for request in requests for item in request.media])
        return self.renderer.model_inputs(rows, [request.media for request in requests], self.model.device)

    def _processors(self, requests: list[Request], sampling: Sampling, prompt: int, limit: int) -> LogitsProcessorList:
        steps: list[LogitsProcessor] = []
        if self._suppressed:
            steps.append(SuppressTokensLogitsProcessor(self._suppressed, device=self.model.device))
        if sampling.decoding is not None:
            watches = [sampling.decoding.watch(request.question, request.said) for request in requests]
            steps.append(Watching(watches, prompt, self.end_ids))
        if sampling.temperature > 0:
            if sampling.temperature != 1:
                steps.append(TemperatureLogitsWarper(sampling.temperature))
            if sampling.top_k:
                steps.append(TopKLogitsWarper(sampling.top_k))
            if sampling.top_p < 1:
                steps.append(TopPLogitsWarper(sampling.top_p))
            steps.append(SeededDraw([request.seed for request in requests], prompt, limit))
        return LogitsProcessorList(steps)

    def _reply(self, ids: list[int], limit: int) -> Reply:
        """Cut a padded row at its end token or at its own limit."""
        ends = [place for place, token in enumerate(ids[:limit]) if token in self.end_ids]
        kept = ids[: ends[0] + 1] if ends else ids[:limit]
        return Reply(self.detokenize(kept), kept, Stop.EOS if ends else Stop.LENGTH)


def _without_prefill(turns: Sequence[Turn]) -> tuple[Sequence[Turn], str]:
    """Return the turns before an assistant's turn that stands last, and its words."""
    if not turns or turns[-1].role != "assistant":
        return turns, ""
    return turns[:-1], "".join(part for part in turns[-1].content if isinstance(part, str))


class SeededDraw(LogitsProcessor):  # type: ignore[misc]
    """Draws one token per row from the processed scores, each row with its own stream of uniform numbers.

    Leaves only the drawn token possible, so that greedy search picks it.

    Args:
        seeds: one per row.
        prompt: columns before the first drawn token.
    """

    def __init__(self, seeds: Sequence[int], prompt: int, limit: int) -> None:
        self._prompt = prompt
        self._uniform_BT = np.stack([np.random.Generator(np.random.Philox(seed)).random(limit) for seed in seeds])

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return scores (B, V) with one finite entry per row."""
        step = input_ids.shape[1] - self._prompt
        cumulative_BV = scores.double().softmax(-1).cumsum(-1)
        uniform_B1 = torch.from_numpy(self._uniform_BT[:, step : step + 1].copy()).to(scores.device)
        drawn_B1 = torch.searchsorted(cumulative_BV, uniform_B1 * cumulative_BV[:, -1:], right=True)
        drawn_B1.clamp_(max=scores.shape[-1] - 1)
        return torch.full_like(scores, -torch.inf).scatter_(1, drawn_B1, 0.0)


@contextmanager
def speaking(model: "PreTrainedModel") -> Iterator[None]:
    """Put a model into evaluation mode without gradients or checkpointing, and back afterwards."""
    training, checkpointing = model.training, _checkpointing(model)
    model.eval()
    if checkpointing:
        model.gradient_checkpointing_disable()
    try:
        with torch.no_grad():
            yield
    finally:
        if checkpointing:
            model.gradient_checkpointing_enable()
        model.train(training)


def _checkpointing(model: "PreTrainedModel") -> bool:
    """Tell whether activations are checkpointed; transformers renamed the flag in 5.20."""
    name = (
        "is_activation_checkpointing"
        if hasattr(type(model), "is_activation_checkpointing")
        else "is_gradient_checkpointing"
    )
    return bool(getattr(model, name))


def conversation_of(turns: Sequence[Turn]) -> Conversation:
    """Return turns in the form that the renderer takes: placeholders in the messages, media beside them."""
    return Conversation(*messages_of(turns))
