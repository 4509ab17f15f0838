"""A conversation in an environment with given replies: demonstrations that show exactly what training will show."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from mmreflect.records import Media, Message, Reply, Sample, Stop, Turn
from mmreflect.rollouts.actions import Action, Context, Environment, Observe, Probe


@dataclass(slots=True)
class Transcript:
    """What was shown and said.

    Attributes:
        conversations: the episode's turns; one more conversation for every time it starts afresh.
        asides: the conversation of each probe that was asked afresh, by its name.
        facts: what the environment found out.
    """

    conversations: list[list[Turn]] = field(default_factory=list)
    asides: dict[str, list[Turn]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


def play(environment: Environment, sample: Sample, answer: Callable[[Action], str]) -> Transcript:
    """Run one episode with replies from a function, no model and no tokens.

    Args:
        answer: from what the environment shows or asks to what is said.

    Raises:
        TypeError: the environment puts words in the model's mouth, which has no place in a conversation.
    """
    episode = environment(sample, Context(Random(0)))
    transcript = Transcript()
    try:
        action = next(episode)
        while True:
            if not isinstance(action, Observe | Probe):
                raise TypeError(f"{type(action).__name__} has no place in a transcript")
            text = (action.begin if isinstance(action, Observe) else "") + answer(action)
            reply = Turn("assistant", [text])
            if isinstance(action, Observe):
                if action.afresh or not transcript.conversations:
                    transcript.conversations.append(list(action.history))
                transcript.conversations[-1] += [Turn(action.role, action.content), reply]
            elif action.afresh:
                transcript.asides[action.name] = [*action.history, Turn("user", action.content), reply]
            action = episode.send(Reply(text, [], Stop.EOS))
    except StopIteration as stop:
        transcript.facts = stop.value or {}
    return transcript


def messages_of(turns: Sequence[Turn]) -> tuple[list[Message], list[Media]]:
    """Return turns as messages with placeholders, and the media that belong there, in order."""
    messages: list[Message] = []
    media: list[Media] = []
    for turn in turns:
        parts = [
            {"type": "text", "text": part} if isinstance(part, str) else {"type": part.kind} for part in turn.content
        ]
        messages.append({"role": turn.role, "content": parts})
        media += [part for part in turn.content if isinstance(part, Media)]
    return messages, media
