"""A vote over rollouts, with the winner as the one answer that is left: what voting stages share."""

from collections.abc import Sequence

from mmreflect.answers.spec import AnswerSpec
from mmreflect.answers.voting import vote
from mmreflect.records import Rollout, Stop
from mmreflect.rollouts.rounds import Round, add_up, count, keep_rounds


def elected(
    rollouts: Sequence[Rollout],
    rounds: Sequence[Round],
    stage: str,
    spec: AnswerSpec,
    histories: Sequence[Rollout],
) -> Rollout:
    """Return the winner with all the rounds; where nobody states an answer the first one that did not fail.

    Args:
        rollouts: that of each round.
        histories: rollouts whose counts are added up, so that what was done to the losers is not lost.
    """
    answers = [
        None if rollout.stop is Stop.ERROR else item["answer"] for rollout, item in zip(rollouts, rounds, strict=True)
    ]
    found = vote(answers, spec)
    standing = [place for place, rollout in enumerate(rollouts) if rollout.stop is not Stop.ERROR]
    place = found.winner if found.winner is not None else standing[0] if standing else 0
    winner = rollouts[place]
    add_up(winner, histories)
    keep_rounds(winner, rounds, place)
    count(
        winner,
        stage,
        voters=len(answers),
        unparsed=len(answers) - found.cast,
        agreeing=found.votes,
        ties=found.tie,
        nobody_voted=found.winner is None,
        tokens=sum(int(item["tokens"]) for item in rounds),
    )
    return winner
