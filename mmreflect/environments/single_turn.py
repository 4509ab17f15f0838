"""Ask once, answer once."""

from collections.abc import Generator
from typing import Any

from mmreflect.config import config
from mmreflect.records import Reply, Sample, Turn
from mmreflect.rollouts.actions import Action, Context, Environment, Observe


@config
class Config:
    r"""Options of the environment.

    Attributes:
        system: a system turn before the sample's own; None adds none.
        instruction: text after the question, such as "Put your final answer within \boxed{}."; None adds none.
    """

    system: str | None = None
    instruction: str | None = None


def create(options: Config) -> Environment:
    """Create the environment."""

    def single_turn(sample: Sample, context: Context) -> Generator[Action, Reply, dict[str, Any]]:
        *history, last = sample.turns()
        if options.system is not None:
            history = [Turn("system", [options.system]), *history]
        content = [*last.content, f"\n\n{options.instruction}"] if options.instruction else last.content
        yield Observe(content, stage="answer", role=last.role, history=history)
        return {}

    return single_turn
