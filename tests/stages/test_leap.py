"""LeaP: similarity and routing by hand, and the exchange of summaries token by token."""

import random
from typing import Any

import pytest
from stages.test_rounds import ENVIRONMENT, answer, sample, stage

from mmreflect.components import load
from mmreflect.config import component_parser
from mmreflect.errors import UserError
from mmreflect.evaluation.procedure import Procedure
from mmreflect.records import Author, Rollout
from mmreflect.rollouts.actions import Request, Sampling
from mmreflect.rollouts.engines.scripted import ScriptedEngine
from mmreflect.stages.leap import Routing, route, similarity


def test_similarity() -> None:
    assert similarity("kitten", "sitting") == pytest.approx(1 - 3 / 7)
    assert similarity("", "") == 1.0 and similarity("ab", "") == 0.0 and similarity("ab", "ab") == 1.0


@pytest.mark.parametrize(
    ("routing", "count", "chosen"),
    [
        ("dispersed", 2, [1, 3]), ("clustered", 2, [0, 2]), ("hybrid", 2, [0, 3]),
        ("hybrid", 3, [0, 1, 3]), ("dispersed", 4, [0, 1, 2, 3]), ("clustered", 9, [0, 1, 2, 3]),
    ],
)  # fmt: skip
def test_routing(routing: Routing, count: int, chosen: list[int]) -> None:
    """Similarities of path 0 to 1..4 are .9, .2, .5, .1; places are counted from 0 here."""
    assert route([0.9, 0.2, 0.5, 0.1], count, routing, random.Random(0)) == chosen


def test_random_routing_takes_anybody_once() -> None:
    drawn = [tuple(route([0.9, 0.2, 0.5, 0.1], 2, "random", random.Random(seed))) for seed in range(200)]
    assert len(set(drawn)) == 6 and all(one < other for one, other in drawn)


def test_equal_summaries_keep_their_order() -> None:
    assert route([0.5, 0.5, 0.5], 1, "clustered", random.Random(0)) == [0]
    assert route([0.5, 0.5, 0.5], 1, "dispersed", random.Random(0)) == [2]


OPTIONS = {
    "name": "leap", "paths": 2, "every": 30, "peers": 1, "summary_tokens": 40, "triggers": ["Stop."], "openings": ["I saw"],
}  # fmt: skip


def say(request: Request, asked: int) -> str:
    """Think for long; sum up when made to; answer once a peer was heard."""
    said = "".join(chr(token) for token in request.token_ids)
    if said.endswith("I saw"):
        return f" {asked} shapes</summarize> and more"
    return f" so {answer(3)}" if "</peer_summaries>" in said else "x" * 500


def rolled(script: Any = say, max_new_tokens: int = 400, n: int = 2, **options: Any) -> list[Rollout]:
    engine = ScriptedEngine(script)
    sampling = Sampling(0.7, max_new_tokens=max_new_tokens)
    (group,) = Procedure(engine, ENVIRONMENT, sampling, [stage({**OPTIONS, **options})])([sample()], n, seed=0)
    return group.rollouts


def test_paths_sum_up_and_hear_their_peer() -> None:
    paths = rolled()
    spans = [[(span.author, span.stage) for span in item.spans] for item in paths]
    assert spans == [[
        (Author.MODEL, "answer"), (Author.FORCED, "summary"), (Author.MODEL, "summary"), (Author.ENVIRONMENT, "leap"),
        (Author.MODEL, "leap"),
    ]] * 2  # fmt: skip
    texts = [["".join(chr(token) for token in item.token_ids[s.start : s.end]) for s in item.spans] for item in paths]
    assert texts[0] == [
        "x" * 30, "\n\nStop.\n<summarize>\nI saw", " 2 shapes</summarize>",
        "\n<peer_summaries>\n<peer_1>\nI saw 3 shapes\n</peer_1>\n</peer_summaries>\n", f" so {answer(3)}\0",
    ]  # fmt: skip
    assert "I saw 2 shapes" in texts[1][3] and "3 shapes" in texts[1][2]
    assert "peer" not in paths[0].text, "what peers said is not the path's own text"
    assert paths[0].facts["procedure"]["discarded_tokens"] == len(" and more") + 1
    summary, peers = len(texts[0][1] + texts[0][2]), len(texts[0][3])
    assert paths[0].facts["procedure"]["stages"]["leap"] == {
        "exchanges": 1,
        "summary_tokens": summary,
        "peers": 1,
        "peer_tokens": peers,
    }


def test_a_summary_without_an_end_is_closed() -> None:
    def endless(request: Request, asked: int) -> str:
        said = "".join(chr(token) for token in request.token_ids)
        return "y" * 500 if said.endswith("I saw") else say(request, asked)

    text = rolled(endless)[0].text
    assert f"I saw{'y' * 40}\n</summarize> so {answer(3)}" in text


def test_exchanges_are_repeated_up_to_their_number() -> None:
    def stubborn(request: Request, asked: int) -> str:
        said = "".join(chr(token) for token in request.token_ids)
        return "s</summarize>" if said.endswith("I saw") else "x" * 500

    found = [rolled(stubborn, max_new_tokens=500, exchanges=number)[0] for number in (1, 2)]
    assert [item.facts["procedure"]["stages"]["leap"]["exchanges"] for item in found] == [1, 2]
    assert [len(item.token_ids) for item in found] == [500, 500], "the limit holds for everything in a path"
    free = rolled(stubborn, max_new_tokens=500)[0]
    assert free.facts["procedure"]["stages"]["leap"]["exchanges"] > 2 and len(free.token_ids) == 500


def test_a_path_whose_peers_have_finished_goes_on_alone() -> None:
    def uneven(request: Request, asked: int) -> str:
        return answer(3)[:19] if asked == 0 else ("x" * 500 if asked == 1 else answer(5))

    first, second = rolled(uneven)
    assert first.text == answer(3) and first.facts == {}
    assert second.text == "x" * 30 + answer(5) and second.facts["procedure"]["stages"]["leap"] == {"alone": 1}


def test_peers_for_whom_there_is_no_room_are_counted() -> None:
    """30 tokens, a summary of 25 + 21, and 24 left: what the peer said takes 70."""
    first = rolled(max_new_tokens=100)[0]
    assert first.facts["procedure"]["stages"]["leap"] == {"exchanges": 1, "summary_tokens": 46, "not_shown": 1}
    assert "peer" not in "".join(chr(token) for token in first.token_ids) and len(first.token_ids) == 100


def test_more_peers_than_paths_are_refused() -> None:
    with pytest.raises(ValueError, match="peers=4 with paths=4; a path has 3 peers at most"):
        component_parser("stage", load)({"name": "leap", "paths": 4, "peers": 4})


def test_paths_without_a_vote_are_all_answers() -> None:
    with pytest.raises(UserError, match=r"stage 'leap' leaves 2 answers to a question, and 1 is asked for"):
        rolled(n=1)
    assert len(rolled(n=4)) == 4
