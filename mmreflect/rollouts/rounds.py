"""The rounds that an answer took, and what was done to it: kept by stages and decodings in `facts["procedure"]`.

`rounds` is a list of `{"stage", "text", "answer", "tokens"}` in the order in which they were asked, parallel samples
among them, each with its own `rounds` and `chosen` where it took several; `chosen` is the place of the round whose
answer is the final one. `stages` counts, by the name of the stage, what was done, and `decoding` what a decoding did;
`discarded_tokens` were said and thrown away. `refused` is why a server has refused to answer, or withheld its reply.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from mmreflect.answers.extract import final_answer
from mmreflect.answers.spec import AnswerSpec
from mmreflect.records import Author, Rollout

Round = dict[str, Any]
KEY = "procedure"
"""The one key of a rollout's facts that is not the environment's."""


def notes(rollout: Rollout) -> dict[str, Any]:
    """Return what is kept about how a rollout was made, to read or to write."""
    kept: dict[str, Any] = rollout.facts.setdefault(KEY, {})
    return kept


def noted(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same of a record's facts; empty where nothing was done."""
    return dict(facts.get(KEY, {}))


def spent(rollout: Rollout) -> int:
    """Return the tokens that a rollout cost in all of its rounds, with what was inserted and what was thrown away."""
    kept = noted(rollout.facts)
    if "rounds" in kept:
        return sum(int(item["tokens"]) for item in kept["rounds"])
    return len(rollout.token_ids) + int(kept.get("discarded_tokens", 0))


def chosen(rollout: Rollout) -> Round | None:
    """Return the round whose answer is the final one; None: there was only one."""
    kept = noted(rollout.facts)
    return kept["rounds"][kept["chosen"]] if "rounds" in kept else None


def stated(rollout: Rollout, spec: AnswerSpec) -> str | None:
    """Return the answer that a rollout ends on, of its chosen round where it took several."""
    found = chosen(rollout)
    return final_answer(rollout.text, spec) if found is None else found["answer"]


def round_of(stage: str, text: str, tokens: int, spec: AnswerSpec) -> Round:
    """Return one round."""
    return {"stage": stage, "text": text, "answer": final_answer(text, spec), "tokens": tokens}


def whole_round(stage: str, rollout: Rollout, spec: AnswerSpec) -> Round:
    """Return a whole rollout as one round of a larger one, its own rounds within."""
    found = chosen(rollout)
    text = rollout.text if found is None else found["text"]
    kept = noted(rollout.facts)
    own = {key: kept[key] for key in ("rounds", "chosen")} if found is not None else {}
    return {**round_of(stage, text, spent(rollout), spec), "answer": stated(rollout, spec), **own}


def begun(rollout: Rollout, spec: AnswerSpec) -> list[Round]:
    """Return the rounds so far: those that were kept, or the rollout itself as the first one."""
    stage = rollout.spans[0].stage if rollout.spans else "answer"
    return list(noted(rollout.facts).get("rounds") or [round_of(stage, rollout.text, spent(rollout), spec)])


def keep_rounds(rollout: Rollout, rounds: Sequence[Round], place: int) -> None:
    """Keep the rounds of an answer, and which of them is the final one."""
    notes(rollout).update(rounds=list(rounds), chosen=place % len(rounds))


def first_round(rounds: Sequence[Round]) -> Round:
    """Return the very first round, within the first one where that took several."""
    first = rounds[0]
    return first_round(first["rounds"]) if "rounds" in first else first


def place_of_chosen(rollout: Rollout) -> int:
    """Return the place of the final round; 0 where there was only one."""
    return int(noted(rollout.facts).get("chosen", 0))


def last_reply_start(rollout: Rollout) -> int:
    """Return where the reply to the last turn begins, the words that it was made to begin with among it."""
    return next((span.end for span in reversed(rollout.spans) if span.author is Author.ENVIRONMENT), 0)


def count(rollout: Rollout, stage: str, **counts: int) -> None:
    """Add to what a stage did for this answer."""
    known = notes(rollout).setdefault("stages", {}).setdefault(stage, {})
    for name, number in counts.items():
        known[name] = known.get(name, 0) + int(number)


def add_up(rollout: Rollout, others: Sequence[Rollout]) -> None:
    """Let a rollout's counts be the sums over others, itself among them."""
    stages: dict[str, Counter[str]] = {}
    decoding: Counter[str] = Counter()
    for other in others:
        for stage, counts in noted(other.facts).get("stages", {}).items():
            stages.setdefault(stage, Counter()).update(counts)
        decoding.update(noted(other.facts).get("decoding", {}))
    if stages:
        notes(rollout)["stages"] = {stage: dict(counts) for stage, counts in stages.items()}
    if decoding:
        notes(rollout)["decoding"] = dict(decoding)
