"""Going on with a finished rollout: forced beginnings, somebody else's words, and what a decoding is told of the turn."""

from collections.abc import Generator, Sequence
from typing import Any

from mmreflect.decoding import NOTHING, Say, Watch
from mmreflect.environments import single_turn
from mmreflect.records import Author, Reply, Sample, Span, Stop
from mmreflect.rollouts.actions import Action, Context, Continue, Observe, Probe, Sampling
from mmreflect.rollouts.driver import go_on, roll_out
from mmreflect.rollouts.engines.scripted import ScriptedEngine
from mmreflect.rollouts.transcript import play

SINGLE = single_turn.create(single_turn.Config())
SAMPLE = Sample("q", [{"role": "user", "content": "why?"}])


def engine_of(*replies: str) -> ScriptedEngine:
    return ScriptedEngine(lambda request, asked: replies[asked % len(replies)])


def text_of(engine: ScriptedEngine, ids: Sequence[int]) -> str:
    return engine.detokenize(ids)


def begun(sample: Sample, context: Context) -> Generator[Action, Reply, dict[str, Any]]:
    yield Observe(["q"], "one", begin="So")
    yield Observe(["again"], "two", begin="Now")
    return {}


def test_a_reply_is_made_to_begin_with_words() -> None:
    engine = engine_of(" a", " b")
    (group,) = roll_out(engine, begun, [SAMPLE], 1, Sampling(max_new_tokens=50), 0)
    rollout = group.rollouts[0]
    assert rollout.text == "So aNow b"
    assert [(span.author, span.stage, span.end - span.start) for span in rollout.spans] == [
        (Author.FORCED, "one", 2), (Author.MODEL, "one", 3), (Author.ENVIRONMENT, "two", 5), (Author.FORCED, "two", 3),
        (Author.MODEL, "two", 3),
    ]  # fmt: skip
    (group,) = roll_out(engine_of(" a"), begun, [SAMPLE], 1, Sampling(max_new_tokens=50, budget=2), 0)
    assert group.rollouts[0].stop is Stop.BUDGET and group.rollouts[0].token_ids == []


def test_a_transcript_holds_the_beginning_too() -> None:
    said = play(begun, SAMPLE, lambda action: " x").conversations[0]
    assert [turn.content for turn in said if turn.role == "assistant"] == [["So x"], ["Now x"]]


class Second:
    """Forces the second token of every reply, and keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, list[int]]] = []

    def report(self) -> dict[str, Any]:
        return {}

    def watch(self, question: str, said: Sequence[int]) -> Watch:
        self.told.append((question, list(said)))

        class Place:
            place = 0

            def say(self) -> Say:
                return Say(forced=1) if self.place == 1 else NOTHING

            def take(self, token: int) -> None:
                self.place += 1

            def facts(self) -> dict[str, int]:
                return {}

        return Place()


def test_forced_tokens_are_spans_of_their_own_and_counts_add_up_over_replies() -> None:
    engine, decoding = engine_of("abc", "de"), Second()
    sampling = Sampling(max_new_tokens=50, budget=500, decoding=decoding)
    (group,) = roll_out(engine, SINGLE, [SAMPLE], 1, sampling, 0)
    first = group.rollouts[0]
    assert first.spans == [
        Span(0, 1, Author.MODEL, "answer"), Span(1, 2, Author.FORCED, "answer"), Span(2, 4, Author.MODEL, "answer")
    ]  # fmt: skip
    assert first.facts["procedure"]["decoding"] == {"forced": 1, "cuts": 1, "biased": 0}
    (second,) = go_on(engine, [SAMPLE], [first], [Continue("!", "more")], sampling, [1])
    assert second.facts["procedure"]["decoding"] == {"forced": 2, "cuts": 2, "biased": 0} and second.text == "abc!de"
    assert [(question, text_of(engine, said)) for question, said in decoding.told] == [("why?", ""), ("why?", "abc!")]


def test_a_turn_holds_what_was_spliced_into_it_and_nothing_before() -> None:
    engine, decoding = engine_of("abc", "de", "fg", "h"), Second()
    sampling = Sampling(max_new_tokens=50, budget=500, decoding=decoding)
    (group,) = roll_out(engine, SINGLE, [SAMPLE], 1, sampling, 0)
    rollouts = group.rollouts
    actions = [
        Continue("<peer>", "peers", author=Author.ENVIRONMENT),
        Observe(["new turn"], "new"),
        Continue("!", "new"),
    ]
    for action in actions:
        rollouts = go_on(engine, [SAMPLE], rollouts, [action], sampling, [1])
    assert [text_of(engine, said) for _, said in decoding.told] == ["", "abc<peer>", "", "fg!"]
    assert rollouts[0].text == "abcdefg!h", "what was shown is not the model's own text"


def test_a_probe_is_not_decoded() -> None:
    engine, decoding = engine_of("abc"), Second()
    sampling = Sampling(max_new_tokens=50, budget=500, decoding=decoding)
    (group,) = roll_out(engine, SINGLE, [SAMPLE], 1, sampling, 0)
    (asked,) = go_on(engine, [SAMPLE], group.rollouts, [Probe("aside", ["sure?"])], sampling, [1])
    assert len(decoding.told) == 1 and asked.probes["aside"].text == "abc" and asked.text == "abc"


def test_a_kept_part_is_counted_from_the_reply_not_from_its_last_span() -> None:
    def environment(sample: Sample, context: Context) -> Generator[Action, Reply, dict[str, Any]]:
        yield Observe(["q"], "one")
        yield Continue("!", "two", keep=3)
        return {}

    sampling = Sampling(max_new_tokens=50, budget=500, decoding=Second())
    (group,) = roll_out(engine_of("abcdef", "x"), environment, [SAMPLE], 1, sampling, 0)
    assert group.rollouts[0].text == "abc!x"
