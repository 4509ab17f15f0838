"""Decodings on real architectures: every token is what a row of its own would have said, and what was done is recorded."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mmreflect.data.rendering import Renderer
from mmreflect.data.store import open_dataset
from mmreflect.decoding import Decoding, Say, Watch, cyclic_reflex, early_stop, truncate_reflection
from mmreflect.models import ModelConfig, load_model
from mmreflect.records import Author, Group, Reply, Rollout, Sample
from mmreflect.rollouts.actions import Action, Context, Observe, Sampling
from mmreflect.rollouts.driver import roll_out
from mmreflect.rollouts.engines._generation import TransformersEngine

FAMILIES = ("qwen2_5_vl", "qwen3_vl")


def engine_of(folder: Path, batch_size: int = 8) -> TransformersEngine:
    loaded = load_model(ModelConfig(path=str(folder)))
    return TransformersEngine(loaded, Renderer(loaded.tokenizer, loaded.processor), batch_size)


def samples_of(grid: Path) -> list[Sample]:
    """Pictures, a text of another length, and one row whose reply is made to begin with an answer."""
    pictured = list(open_dataset(str(grid)).samples("rl"))[:2]
    plain = Sample("plain", [{"role": "user", "content": "How many red shapes are there, all in all? Look closely."}])
    return [*pictured, plain, replace(pictured[0], id="begun")]


def asked(sample: Sample, context: Context) -> Generator[Action, Reply, dict[str, Any]]:
    yield Observe(sample.turns()[-1].content, stage="answer", begin="so 5\n" if sample.id == "begun" else "")
    yield Observe(["look again"], stage="again")
    return {}


def words_of(engine: TransformersEngine, count: int) -> list[str]:
    """Words of a tiny vocabulary that are one token each."""
    texts = ["red", "blue", "green", "square", "circle", "look", "right", "Wait", "shapes", "think", "s", "t", "e"]
    return [text for text in texts if len(engine.tokenize(text)) == 1][:count]


class Counting:
    """Forces the end tag of the thinking as the third and the fourth token of every reply."""

    def __init__(self, token: int) -> None:
        self.token = token

    def report(self) -> dict[str, Any]:
        return {}

    def watch(self, question: str, said: Sequence[int]) -> Watch:
        class Counter:
            def __init__(self, token: int) -> None:
                self.token, self.place = token, 0

            def say(self) -> Say:
                return Say(forced=self.token if self.place in (2, 3) else None)

            def take(self, token: int) -> None:
                self.place += 1

            def facts(self) -> dict[str, int]:
                return {}

        return Counter(self.token)


def decodings(engine: TransformersEngine) -> dict[str, Decoding]:
    wave = cyclic_reflex.Config(amplitude=8.0, period=8, words=words_of(engine, 3))
    cut = truncate_reflection.Config(begins="candidate", max_tokens=2)
    return {
        "cyclic_reflex": cyclic_reflex.create(wave, engine),
        "early_stop": early_stop.create(early_stop.Config(), engine),
        "truncate_reflection": truncate_reflection.create(cut, engine),
        "forcing": Counting(engine.tokenize("</think>")[0]),
    }


def rolled(
    engine: TransformersEngine, samples: list[Sample], decoding: Decoding | None, temperature: float
) -> list[Group]:
    sampling = Sampling(temperature, top_p=0.9, max_new_tokens=10, budget=400, decoding=decoding)
    return roll_out(engine, asked, samples, 1, sampling, seed=1)


@pytest.mark.parametrize("name", ["cyclic_reflex", "early_stop", "truncate_reflection", "forcing"])
@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_tokens_are_those_of_the_training_forward_with_the_say_added(
    family: str, name: str, tiny_model: Callable[[str], Path], grid: Path
) -> None:
    """Of a batch of mixed rows, at every token, in the first turn and the second."""
    engine = engine_of(tiny_model(family))
    decoding = decodings(engine)[name]
    groups = rolled(engine, samples_of(grid), decoding, 0.0)
    said = [check_tokens(engine, decoding, group.sample, group.rollouts[0]) for group in groups]
    plain = rolled(engine, samples_of(grid), None, 0.0)
    changed = [
        one.rollouts[0].token_ids != other.rollouts[0].token_ids for one, other in zip(groups, plain, strict=True)
    ]
    assert changed[-1] and (name in ("early_stop", "truncate_reflection") or all(changed))
    assert sum(said) > 0


def check_tokens(engine: TransformersEngine, decoding: Decoding, sample: Sample, rollout: Rollout) -> int:
    """Check every token of a rollout; return how many were changed by the decoding."""
    ids = [*rollout.prompt_ids, *rollout.token_ids]
    inputs = engine.renderer.model_inputs([ids], [rollout.media])
    input_ids = torch.tensor([ids])
    types = engine.renderer.token_types(input_ids)
    if types is not None:
        inputs["mm_token_type_ids"] = types
    with torch.no_grad():
        logits_TV = engine.model(input_ids=input_ids, attention_mask=torch.ones_like(input_ids), **inputs).logits[0]
    logits_TV[:, engine._suppressed] = -torch.inf
    start, changed = len(rollout.prompt_ids), 0
    turn: list[int] = []
    for stage in ("answer", "again"):
        spans = [span for span in rollout.spans if span.stage == stage and span.author is not Author.ENVIRONMENT]
        own = list(range(spans[0].start, spans[-1].end))
        begun = len(engine.tokenize("so 5\n")) if stage == "answer" and sample.id == "begun" else 0
        turn = rollout.token_ids[own[0] : own[0] + begun]
        watch = decoding.watch(sample.question, turn)
        for place in own[begun:]:
            say, token = watch.say(), rollout.token_ids[place]
            author = next(span.author for span in spans if span.start <= place < span.end)
            if say.forced is not None:
                assert (token, author) == (say.forced, Author.FORCED)
            else:
                scores_V = logits_TV[start + place - 1].clone()
                for word, bias in say.bias.items():
                    scores_V[word] += bias
                assert (token, author) == (int(scores_V.argmax()), Author.MODEL)
            changed += say.forced is not None or any(say.bias.values())
            watch.take(token)
    facts = rollout.facts["procedure"]["decoding"]
    assert facts["forced"] + facts["biased"] == changed
    return changed


@pytest.mark.parametrize("name", ["cyclic_reflex", "forcing"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_sampled_reply_does_not_depend_on_its_neighbours(
    family: str, name: str, tiny_model: Callable[[str], Path], grid: Path
) -> None:
    engine = engine_of(tiny_model(family), 16)
    decoding = decodings(engine)[name]
    together = rolled(engine, samples_of(grid), decoding, 1.0)
    engine.batch_size = 1
    for group in together:
        (alone,) = rolled(engine, [group.sample], decoding, 1.0)
        assert alone.rollouts[0].token_ids == group.rollouts[0].token_ids
        assert alone.rollouts[0].facts == group.rollouts[0].facts


def test_early_stop_puts_the_end_tag_where_the_answer_stands(tiny_model: Callable[[str], Path], grid: Path) -> None:
    engine = engine_of(tiny_model("qwen2_5_vl"))
    groups = rolled(engine, samples_of(grid), decodings(engine)["early_stop"], 0.0)
    begun = groups[-1].rollouts[0]
    assert begun.text.startswith("so 5\n</think>")
    assert [(span.author, span.stage) for span in begun.spans][:2] == [
        (Author.FORCED, "answer"),
        (Author.MODEL, "answer"),
    ]
    assert begun.facts["procedure"]["decoding"]["forced"] == 1 and begun.facts["procedure"]["decoding"]["cuts"] == 1


def test_the_say_stands_before_temperature(tiny_model: Callable[[str], Path], grid: Path) -> None:
    """The bias is divided by the temperature like any logit, and top-p sees it."""
    from mmreflect.rollouts.engines._watching import Watching

    engine = engine_of(tiny_model("qwen2_5_vl"))
    decoding = cyclic_reflex.create(
        cyclic_reflex.Config(wave="constant", amplitude=6.0, words=words_of(engine, 1)), engine
    )
    steps = engine._processors(
        [request_of(engine)], Sampling(temperature=2.0, top_p=0.5, decoding=decoding), prompt=3, limit=4
    )
    names = [type(step).__name__ for step in steps]
    assert names == [
        "SuppressTokensLogitsProcessor",
        "Watching",
        "TemperatureLogitsWarper",
        "TopPLogitsWarper",
        "SeededDraw",
    ]
    watching = next(step for step in steps if isinstance(step, Watching))
    scores = watching(torch.zeros(1, 3, dtype=torch.long), torch.zeros(1, engine.model.config.text_config.vocab_size))
    assert scores[0, decoding.token_ids[0]] == 6.0 and scores.sum() == 6.0


def request_of(engine: TransformersEngine) -> Any:
    from mmreflect.rollouts.actions import Request

    return Request("q", [1, 2, 3], [], [], 4, 0)
