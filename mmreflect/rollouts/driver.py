"""The one driver of episodes: environments on one side, an engine on the other, tokens between them.

Everything is spliced in token space; nothing that the model wrote is decoded and encoded again. All episodes that wait
for the model are answered together, round by round, until none is left.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import Any

from mmreflect.errors import UserError
from mmreflect.records import Author, Group, Media, Reply, Rollout, Sample, Stop, Turn
from mmreflect.rollouts.actions import (
    Action,
    Context,
    Continue,
    Engine,
    Environment,
    Observe,
    Probe,
    Request,
    Sampling,
)
from mmreflect.seeds import derive_seed, python_rng


class Episode:
    """One rollout in the making: its environment and the action that waits for the model."""

    def __init__(self, sample: Sample, environment: Environment, seed: int) -> None:
        self.sample, self.seed, self.turn = sample, seed, 0
        self.rollout: Rollout | None = None
        self.error: str | None = None
        self.pending: Action | None = self._guarded(lambda: self._begin(environment))
        self.opening = self.pending

    def _begin(self, environment: Environment) -> Action:
        self._generator: Generator[Action, Reply, dict[str, Any]] = environment(
            self.sample, Context(python_rng(self.seed, "environment"))
        )
        return next(self._generator)

    def answer(self, reply: Reply) -> None:
        """Hand the model's reply to the environment and take its next action; its return value becomes facts."""
        self.turn += 1
        self.pending = self._guarded(lambda: self._generator.send(reply))

    def _guarded(self, step: Callable[[], Action]) -> Action | None:
        """Advance the environment; one that raises fails its own rollout, with the error as its reason."""
        try:
            return step()
        except StopIteration as stop:
            if self.rollout is not None and stop.value:
                self.rollout.facts.update(stop.value)
        except UserError:
            raise
        except Exception as error:
            self.error = f"the environment raised {type(error).__name__}: {error}"
        return None


class Driver:
    """Runs episodes round by round; `step` runs one round, so that a test can look between two."""

    def __init__(self, engine: Engine, sampling: Sampling, policy_step: int = 0) -> None:
        self.engine, self.sampling, self.policy_step = engine, sampling, policy_step

    def open(self, episodes: Sequence[Episode]) -> None:
        """Encode every distinct opening once and give each episode its empty rollout."""
        for episode in episodes:
            if episode.error is None and not isinstance(episode.opening, Observe):
                began = type(episode.opening).__name__ if episode.opening else "nothing"
                episode.error = f"the environment must begin with Observe, and began with {began}"
                episode.pending = None
        failed = [episode for episode in episodes if episode.error is not None]
        episodes = [episode for episode in episodes if episode.error is None]
        turns = [opening_turns(episode) for episode in episodes]
        for episode in failed:
            episode.rollout = Rollout(episode.sample.id, [], policy_step=self.policy_step)
        keys = [episode.sample.id for episode in episodes]
        places = {key: place for place, key in reversed(list(enumerate(keys)))}
        encoded = dict(zip(places, self.engine.encode([turns[place] for place in places.values()]), strict=True))
        for episode, shown in zip(episodes, turns, strict=True):
            media = [part for turn in shown for part in turn.content if isinstance(part, Media)]
            episode.rollout = Rollout(
                episode.sample.id, encoded[episode.sample.id], media=media, policy_step=self.policy_step
            )

    def step(self, episodes: Sequence[Episode]) -> list[Episode]:
        """Answer every waiting episode once and return those that still wait."""
        for episode in episodes:
            if episode.pending is not None and episode.turn >= self.sampling.max_turns:
                _rollout(episode).stop, episode.pending = Stop.BUDGET, None
        waiting = [episode for episode in episodes if episode.pending is not None]
        asides = [episode for episode in waiting if isinstance(episode.pending, Probe)]
        self._ask_aside(asides)
        asked = [episode for episode in waiting if episode not in asides and self._apply(episode)]
        requests = [self._request(episode) for episode in asked]
        for episode, reply in zip(asked, self.engine.generate(requests, self.sampling), strict=True):
            rollout, action = _rollout(episode), episode.pending
            assert isinstance(action, Observe | Continue)
            rollout.append(reply.token_ids, Author.MODEL, action.stage)
            rollout.stop = reply.stop
            episode.answer(reply)
        return [episode for episode in episodes if episode.pending is not None]

    def _ask_aside(self, episodes: Sequence[Episode]) -> None:
        """Ask the probes greedily; their rollouts stay as they are."""
        requests = []
        for episode in episodes:
            rollout, action = _rollout(episode), episode.pending
            assert isinstance(action, Probe)
            shown = self._turn_ids(rollout, action.content, "user")
            media = [*rollout.media, *(part for part in action.content if isinstance(part, Media))]
            ids = [*rollout.token_ids, *shown]
            limit = self.sampling.max_new_tokens
            requests.append(Request(episode.sample.id, rollout.prompt_ids, ids, media, limit, seed=0))
        greedy = replace(self.sampling, temperature=0.0)
        for episode, reply in zip(episodes, self.engine.generate(requests, greedy), strict=True):
            assert isinstance(episode.pending, Probe)
            _rollout(episode).probes[episode.pending.name] = reply
            episode.answer(reply)

    def _apply(self, episode: Episode) -> bool:
        """Write what the action inserts; False when the budget leaves no room for it and a word of the model."""
        rollout, action = _rollout(episode), episode.pending
        assert isinstance(action, Observe | Continue)
        inserted: list[int] = []
        media: list[Media] = []
        author = Author.FORCED
        length = len(rollout.token_ids)
        if isinstance(action, Continue):
            inserted = self.engine.tokenize(action.text)
            length = _kept(rollout, action.keep, self.engine.end_ids)
        elif action is not episode.opening:
            author = Author.ENVIRONMENT
            inserted = self._turn_ids(rollout, action.content, action.role)
            media = [part for part in action.content if isinstance(part, Media)]
        if length + len(inserted) >= self.sampling.total:
            rollout.stop, episode.pending = Stop.BUDGET, None
            return False
        rollout.keep(length)
        rollout.append(inserted, author, action.stage)
        rollout.media.extend(media)
        return True

    def _turn_ids(self, rollout: Rollout, content: Sequence[str | Media], role: str) -> list[int]:
        """Return the tokens of a new turn in the middle of a rollout, with the last reply's end token if need be."""
        closed = bool(rollout.token_ids) and rollout.token_ids[-1] in self.engine.end_ids
        end = [] if closed else [self.engine.end_id]
        return end + self.engine.encode_turn(Turn(role, content))

    def _request(self, episode: Episode) -> Request:
        rollout = _rollout(episode)
        room = self.sampling.total - len(rollout.token_ids)
        limit = min(self.sampling.max_new_tokens, room)
        seed = derive_seed(episode.seed, "reply", episode.turn)
        return Request(episode.sample.id, rollout.prompt_ids, list(rollout.token_ids), list(rollout.media), limit, seed)

    def finish(self, episodes: Sequence[Episode]) -> list[Rollout]:
        """Decode the finished rollouts."""
        for episode in episodes:
            rollout = _rollout(episode)
            rollout.text = self.engine.detokenize(rollout.token_ids)
            if episode.error is not None:
                rollout.stop = Stop.ERROR
                rollout.facts["error"] = episode.error
        return [_rollout(episode) for episode in episodes]


def opening_turns(episode: Episode) -> list[Turn]:
    """Return what an episode shows first."""
    first = episode.opening
    assert isinstance(first, Observe)
    return [*first.history, Turn(first.role, first.content)]


def _rollout(episode: Episode) -> Rollout:
    if episode.rollout is None:
        raise RuntimeError("the episode was not opened")
    return episode.rollout


def _kept(rollout: Rollout, keep: int | None, end_ids: frozenset[int]) -> int:
    """Return how many tokens stay: the kept part of the last reply, never its end token."""
    ended = bool(rollout.token_ids) and rollout.token_ids[-1] in end_ids
    without_end = len(rollout.token_ids) - ended
    if keep is None:
        return without_end
    start = rollout.spans[-1].start if rollout.spans else 0
    return min(start + keep, without_end)


def roll_out(
    engine: Engine,
    environment: Environment,
    samples: Sequence[Sample],
    n: int,
    sampling: Sampling,
    seed: int,
    policy_step: int = 0,
) -> list[Group]:
    """Roll every sample out `n` times.

    Args:
        seed: of the round; each rollout draws from (seed, sample id, its place in the group).
    """
    driver = Driver(engine, sampling, policy_step)
    episodes = [
        Episode(sample, environment, derive_seed(seed, sample.id, place)) for sample in samples for place in range(n)
    ]
    driver.open(episodes)
    waiting: list[Episode] = list(episodes)
    while waiting:
        waiting = driver.step(waiting)
    rollouts = driver.finish(episodes)
    return [Group(sample.id, sample, rollouts[place * n : (place + 1) * n]) for place, sample in enumerate(samples)]


def resume(
    engine: Engine, rollouts: Sequence[Rollout], actions: Sequence[Continue], sampling: Sampling, seed: int
) -> list[Rollout]:
    """Let finished rollouts go on from forced words; the given rollouts are left as they are.

    A rollout whose budget leaves no room comes back unchanged but for `stop`, which says so.
    """
    driver = Driver(engine, sampling)
    episodes = []
    for place, (rollout, action) in enumerate(zip(rollouts, actions, strict=True)):
        episode = Episode(
            Sample(rollout.sample_id, []), _one_action(action), derive_seed(seed, rollout.sample_id, place)
        )
        episode.rollout = Rollout.from_json(rollout.to_json())
        episode.rollout.score = None
        episode.pending = action
        episodes.append(episode)
    driver.step(episodes)
    return driver.finish(episodes)


def _one_action(action: Continue) -> Environment:
    def environment(sample: Sample, context: Context) -> Generator[Action, Reply, dict[str, Any]]:
        yield action
        return {}

    return environment
