"""LeaP: paths that learn from their peers while they think (arXiv 2505.07787).

Several paths answer one question at the same time. Every `every` tokens each one that is not finished is made to sum
up where it stands, is shown the summaries of some of its peers, and goes on. What peers said is the environment's: it
is no part of the path's own text, and nothing that counts reflecting words sees it; tokens count it.

Where we differ: a path's limit (`max_new_tokens`) holds for everything in it, summaries and peers' words included. The
words that begin a summary are ours, and ask for what was seen apart from what was concluded, so that peers can
disagree about the picture. A summary that ends early is cut there; what the model said after it is thrown away and
counted as spent.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from mmreflect.answers.words import word_errors
from mmreflect.config import config
from mmreflect.records import Author, Group, Rollout, Stop
from mmreflect.rollouts.actions import Continue
from mmreflect.rollouts.rounds import count, notes
from mmreflect.rollouts.tools import Step, Tools
from mmreflect.stages import Needs

EVALUATION_ONLY = True
OPEN, CLOSE = "<summarize>", "</summarize>"
Routing = Literal["dispersed", "clustered", "hybrid", "random"]
_TRIGGERS = (
    "Let me take a step back and sum up: first what I saw, then what I concluded from it.",
    "Hold on, a short recap of what I saw and of what follows from it.",
    "Before I go on I review where I stand: my observations, then my conclusions.",
    "Time for a summary: what is there to see, and what I made of it.",
)
_OPENINGS = ("What I saw:", "My observations:", "Seen so far:", "To recap, I saw")


@config
class Config:
    """Options of the stage; the defaults are the paper's where it has one.

    Attributes:
        paths: that answer each question side by side (32 for mathematics, 8 for GPQA).
        every: tokens between two exchanges.
        exchanges: at most so many; None: as long as paths go on. 1 is the paper's cheap variant.
        peers: summaries that a path is shown.
        routing: whose: of the peers whose summaries are least like its own (`dispersed`), most like it (`clustered`),
            half of each (`hybrid`), or any.
        summary_tokens: limit of a summary.
        triggers, openings: what a summary is made to begin with, drawn anew each time.
    """

    paths: Annotated[int, Field(gt=1)] = 8
    every: Annotated[int, Field(gt=0)] = 4096
    exchanges: Annotated[int, Field(gt=0)] | None = None
    peers: Annotated[int, Field(gt=0)] = 4
    routing: Routing = "dispersed"
    summary_tokens: Annotated[int, Field(gt=0)] = 256
    triggers: Annotated[list[str], Field(min_length=1)] = Field(default_factory=lambda: list(_TRIGGERS))
    openings: Annotated[list[str], Field(min_length=1)] = Field(default_factory=lambda: list(_OPENINGS))

    def __post_init__(self) -> None:
        """Check that there are enough peers.

        Raises:
            ValueError: more peers than other paths.
        """
        if self.peers >= self.paths:
            raise ValueError(f"peers={self.peers} with paths={self.paths}; a path has {self.paths - 1} peers at most")


def needs(options: Config) -> Needs:
    """Return how many paths there are, and that they stop for the first exchange."""
    return Needs(rollouts=options.paths, capabilities=frozenset({"continue"}), max_new_tokens=options.every)


def similarity(one: str, other: str) -> float:
    """Return 1 - Levenshtein's distance over the longer length, in characters; 1 for two empty texts."""
    longer = max(len(one), len(other))
    return 1 - word_errors(list(one), list(other)) / longer if longer else 1.0


def route(similarities: Sequence[float], count: int, routing: Routing, rng: Random) -> list[int]:
    """Choose peers by how similar their summaries are; of equal ones the earlier is more similar.

    Returns:
        Places in `similarities`, ascending; all of them where there are no more than `count`. Of an odd number the
        hybrid takes one more from the least similar.
    """
    places = list(range(len(similarities)))
    if len(places) <= count:
        return places
    if routing == "random":
        return sorted(rng.sample(places, count))
    ranked = sorted(places, key=lambda place: -similarities[place])
    alike = {"dispersed": 0, "clustered": count, "hybrid": count // 2}[routing]
    return sorted([*ranked[:alike], *ranked[len(ranked) - (count - alike) :]])


@dataclass(slots=True, eq=False)
class Path:
    """One path and its last summary."""

    group: Group
    place: int
    rollout: Rollout
    summary: str = ""

    def left(self, limit: int) -> int:
        """Return how many tokens it may still have; 0 for one that is finished."""
        return max(0, limit - len(self.rollout.token_ids)) if self.rollout.stop is Stop.LENGTH else 0

    def step(self, action: Continue) -> Step:
        """Return one more action for it."""
        return Step(self.group, self.place, self.rollout, action)


class Shown(NamedTuple):
    """What a path is shown of its peers, and of how many."""

    text: str
    peers: int


NOBODY = Shown("", 0)


class Leap:
    """The stage."""

    def __init__(self, options: Config) -> None:
        self.options = options

    def __call__(self, groups: Sequence[Group], tools: Tools) -> list[Group]:
        """Let the paths go on in step, with an exchange before every stretch; a path without peers goes on alone."""
        paths = [Path(group, place, rollout) for group in groups for place, rollout in enumerate(group.rollouts)]
        limit, number = tools.sampling.max_new_tokens, 0
        while going := [path for path in paths if path.left(limit)]:
            last = number == self.options.exchanges
            meeting = [] if last else [path for path in going if self._meets(path, going, limit)]
            self._summarise(meeting, number, tools)
            meeting = [path for path in meeting if path.left(limit)]
            shown = [self._peers_of(path, meeting, number, tools) for path in meeting]
            alone = [path for path in going if path not in meeting and path.left(limit)]
            if not last:
                for path in alone:
                    count(path.rollout, "leap", alone=1)
            self._go_on([*meeting, *alone], [*shown, *([NOBODY] * len(alone))], number, last, tools)
            number += 1
        return [
            Group(group.id, group.sample, [path.rollout for path in paths if path.group is group], group.context)
            for group in groups
        ]

    def _meets(self, path: Path, going: Sequence[Path], limit: int) -> bool:
        """Tell whether a path takes part: somebody of its group does too, and there is room for a summary."""
        together = sum(other.group is path.group and self._has_room(other, limit) for other in going)
        return self._has_room(path, limit) and together > 1

    def _has_room(self, path: Path, limit: int) -> bool:
        return path.left(limit) > self.options.summary_tokens

    def _summarise(self, meeting: Sequence[Path], number: int, tools: Tools) -> None:
        """Make every path of an exchange sum up, in the tags."""
        if not meeting:
            return
        openings, actions = [], []
        for path in meeting:
            rng = tools.rng("leap", path.group.id, path.place, number)
            trigger, opening = rng.choice(self.options.triggers), rng.choice(self.options.openings)
            openings.append(opening)
            actions.append(Continue(f"\n\n{trigger}\n{OPEN}\n{opening}", "summary"))
        limited = replace(tools.sampling, max_new_tokens=self.options.summary_tokens)
        steps = [path.step(action) for path, action in zip(meeting, actions, strict=True)]
        made = tools.go_on(steps, f"summary {number}", limited)
        for path, action, opening, rollout in zip(meeting, actions, openings, made, strict=True):
            before = len(path.rollout.token_ids)
            path.rollout = rollout
            if rollout.stop in (Stop.BUDGET, Stop.ERROR):
                continue
            forced = len(tools.engine.tokenize(action.text))
            path.summary = f"{opening}{_closed(rollout, before + forced, tools)}".strip()
            rollout.stop = Stop.LENGTH
            count(rollout, "leap", exchanges=1, summary_tokens=len(rollout.token_ids) - before)

    def _peers_of(self, path: Path, meeting: Sequence[Path], number: int, tools: Tools) -> Shown:
        """Return what a path is shown of its peers."""
        others = [other for other in meeting if other.group is path.group and other is not path]
        alike = [similarity(path.summary, other.summary) for other in others]
        rng = tools.rng("peers", path.group.id, path.place, number)
        chosen = [others[place].summary for place in route(alike, self.options.peers, self.options.routing, rng)]
        if not chosen:
            return NOBODY
        said = "\n".join(f"<peer_{place}>\n{text}\n</peer_{place}>" for place, text in enumerate(chosen, 1))
        return Shown(f"\n<peer_summaries>\n{said}\n</peer_summaries>\n", len(chosen))

    def _go_on(self, going: Sequence[Path], shown: Sequence[Shown], number: int, last: bool, tools: Tools) -> None:
        """Let paths go on to the next exchange, or after the last one to their end."""
        limit = tools.sampling.max_new_tokens
        by_room: dict[int, list[tuple[Path, Step]]] = {}
        for path, (text, peers) in zip(going, shown, strict=True):
            tokens = len(tools.engine.tokenize(text)) if text else 0
            room = path.left(limit) - tokens
            if room <= 0:  # what the peers said would fill it: the path ends as it is, cut like any other
                text, room = "", path.left(limit)
                count(path.rollout, "leap", not_shown=1)
            elif text:
                count(path.rollout, "leap", peers=peers, peer_tokens=tokens)
            step = path.step(Continue(text, "leap", author=Author.ENVIRONMENT))
            by_room.setdefault(room if last else min(self.options.every, room), []).append((path, step))
        for room, asked in sorted(by_room.items()):
            sampling = replace(tools.sampling, max_new_tokens=room)
            made = tools.go_on([step for _, step in asked], f"go on {number}", sampling)
            for (path, _), rollout in zip(asked, made, strict=True):
                path.rollout = rollout


def _closed(rollout: Rollout, start: int, tools: Tools) -> str:
    """Cut the summary that begins at a token at its end tag, or put that in if it is missing; return what it says."""
    reply = rollout.token_ids[start:]
    said = len(reply) - bool(reply and reply[-1] in tools.engine.end_ids)
    text = tools.engine.detokenize(reply[:said])
    if CLOSE in text:
        kept = next(size for size in range(1, said + 1) if CLOSE in tools.engine.detokenize(reply[:size]))
        rollout.keep(start + kept)
        known = notes(rollout)
        known["discarded_tokens"] = known.get("discarded_tokens", 0) + len(reply) - kept
        return text[: text.index(CLOSE)]
    rollout.keep(start + said)
    rollout.append(tools.engine.tokenize(f"\n{CLOSE}"), Author.FORCED, "summary")
    return text


def create(options: Config) -> Leap:
    """Create the stage."""
    return Leap(options)
