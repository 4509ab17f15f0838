r"""VL-Rethinker's shaped reward, as what it adds to plain correctness (arXiv 2504.08837; released code only).

The released code gives 1.1 for a right answer with one or two reflecting words, takes 0.2 per word from others, and
gives -0.1 for an answer that is not valid (no end token, no box, more than five "wait"). The paper's reward is 0/1.

Used beside `accuracy` with weight 1: their sum is the code's value, while `accuracy` stays the raw correctness that
selections and stages decide on.
"""

import re
from collections.abc import Callable

from mmreflect.answers.grade import verify
from mmreflect.answers.spec import AnswerSpec, spec_of
from mmreflect.config import config
from mmreflect.records import Group, Rollout, Score, Stop

_WORDS = re.compile(r"wait,|wait a|alternatively", re.IGNORECASE)


@config
class Config:
    """Options of the reward.

    Attributes:
        marker: what a valid answer must hold.
        most_waits: a valid answer holds "wait" at most so often.
        code_quirk: pay the bonus to invalid answers too, as the code does.
    """

    weight: float = 1.0
    marker: str = "boxed"
    most_waits: int = 5
    code_quirk: bool = False


def shaped(valid: bool, correct: bool, words: int, forced: bool, code_quirk: bool = False) -> float:
    """Return the shaped reward of one answer (released code, `get_logprobs_and_logs`).

    Args:
        words: how many reflecting words the answer holds.
        forced: it was made to think again; it keeps the base value.
        code_quirk: an invalid answer is judged by its words too.
    """
    base = (1.0 if correct else 0.0) if valid else -0.1
    if forced or not correct or not (valid or code_quirk):
        return base
    return 1.1 if 1 <= words <= 2 else max(base - 0.2 * words, -0.1)


def create(options: Config) -> Callable[[Group], list[Score]]:
    """Create the reward."""

    def native_wait_bonus(group: Group) -> list[Score]:
        spec = spec_of(group.sample.facts)
        return [_score(options, rollout, group.sample.gold, spec) for rollout in group.rollouts]

    return native_wait_bonus


def _score(options: Config, rollout: Rollout, gold: str | None, spec: AnswerSpec) -> Score:
    verdict = verify(rollout.text, gold, spec)
    if verdict.passed is None:
        return Score(None, reason=verdict.reason)
    text = rollout.text
    valid = rollout.stop is Stop.EOS and options.marker in text and text.lower().count("wait") <= options.most_waits
    words = len(_WORDS.findall(text))
    value = shaped(valid, verdict.passed, words, "rethink" in rollout.facts, options.code_quirk)
    plain = float(verdict.passed and rollout.stop is Stop.EOS)  # what `accuracy` gives by default
    return Score(value - plain, reason=f"{words} reflecting words, {'valid' if valid else 'not valid'}")
