"""The one driver of episodes: environments on one side, an engine on the other, tokens between them.

Everything is spliced in token space; nothing that the model wrote is decoded and encoded again. All episodes that wait
for the model are answered together, round by round, until none is left.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, TypeVar

from mmreflect.decoding import follow
from mmreflect.errors import UserError, told
from mmreflect.limits import met
from mmreflect.records import Author, Group, Media, Reply, Restart, Rollout, Sample, Stop, Turn
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
    load_ahead,
)
from mmreflect.rollouts.rounds import notes
from mmreflect.seeds import derive_seed, python_rng


class Episode:
    """One rollout in the making: its environment and the action that waits for the model.

    An environment that raises fails its own rollout; `refused` is the error of one that refused its sample.
    """

    def __init__(self, sample: Sample, environment: Environment, seed: int, progress: float = 1.0) -> None:
        self.sample, self.seed, self.turn = sample, seed, 0
        self.context = Context(python_rng(seed, "environment"), progress)
        self.rollout: Rollout | None = None
        self.error: str | None = None
        self.reply_start: int | None = None
        self.refused: UserError | None = None
        self.pending: Action | None = self._guarded(lambda: self._begin(environment))
        self.opening = self.pending

    def _begin(self, environment: Environment) -> Action:
        self._generator: Generator[Action, Reply, dict[str, Any]] = environment(self.sample, self.context)
        return next(self._generator)

    def answer(self, reply: Reply) -> None:
        """Hand the model's reply to the environment and take its next action; its return value becomes facts."""
        self.turn += 1
        self.pending = self._guarded(lambda: self._generator.send(reply))

    def _guarded(self, step: Callable[[], Action]) -> Action | None:
        """Advance the environment; one that raises leaves the error as its rollout's reason."""
        try:
            return step()
        except StopIteration as stop:
            if self.rollout is not None and stop.value:
                self.rollout.facts.update(stop.value)
        except UserError as error:
            self.error, self.refused = error.given, error
        except Exception as error:
            if isinstance(error, OSError) and met(error) is not None:
                raise
            self.error = f"the environment raised {told(error)}"
        return None


class Driver:
    """Runs episodes round by round; `step` runs one round, so that a test can look between two."""

    def __init__(self, engine: Engine, sampling: Sampling, policy_step: int = 0) -> None:
        self.engine, self.sampling, self.policy_step = engine, sampling, policy_step

    def open(self, episodes: Sequence[Episode]) -> None:
        """Encode every distinct opening once and give each episode its empty rollout.

        Raises:
            UserError: none of the samples can be shown; the first reason is given.
        """
        refusals = [episode.refused for episode in episodes if episode.refused is not None]
        if refusals and len(refusals) == len(episodes):
            raise refusals[0]
        for episode in episodes:
            if episode.error is None and not isinstance(episode.opening, Observe):
                began = type(episode.opening).__name__ if episode.opening else "nothing"
                episode.error = f"the environment must begin with Observe, and began with {began}"
                episode.pending = None
        encoded = self._encode_openings([episode for episode in episodes if episode.error is None])
        for episode in episodes:
            ids = encoded.get(episode.sample.id, UserError(""))
            if isinstance(ids, UserError):
                episode.error, episode.pending = episode.error or ids.given, None
            media = [] if episode.error is not None else media_of(opening_turns(episode))
            prompt_ids = [] if isinstance(ids, UserError) else ids
            episode.rollout = Rollout(episode.sample.id, prompt_ids, media=media, policy_step=self.policy_step)

    def _encode_openings(self, episodes: Sequence[Episode]) -> dict[str, list[int] | UserError]:
        """Return the prompt of every sample, encoded once, or why there is none.

        Raises:
            UserError: no prompt could be encoded at all.
        """
        turns = {episode.sample.id: opening_turns(episode) for episode in episodes}
        try:
            return dict(zip(turns, self.engine.encode(list(turns.values())), strict=True))
        except UserError:
            found = {name: self._encode_alone(shown) for name, shown in turns.items()}
            if all(isinstance(item, UserError) for item in found.values()):
                raise
            return found

    def _encode_alone(self, shown: list[Turn]) -> list[int] | UserError:
        try:
            return self.engine.encode([shown])[0]
        except UserError as error:
            return error

    def step(self, episodes: Sequence[Episode]) -> list[Episode]:
        """Answer every waiting episode once and return those that still wait."""
        for episode in episodes:
            if episode.pending is not None and episode.turn >= self.sampling.max_turns:
                _rollout(episode).stop, episode.pending = Stop.BUDGET, None
        waiting = [episode for episode in episodes if episode.pending is not None]
        load_ahead(self.engine, (turn for episode in waiting for turn in _waiting_turns(episode)))
        asides = [episode for episode in waiting if isinstance(episode.pending, Probe)]
        self._ask_aside(asides)
        asked = [episode for episode in waiting if episode not in asides and _shown(episode, self._apply)]
        requests = [self._request(episode) for episode in asked]
        replies = self.engine.generate(requests, self.sampling)
        for episode, request, reply in zip(asked, requests, replies, strict=True):
            rollout, action = _rollout(episode), episode.pending
            assert isinstance(action, Observe | Continue)
            episode.reply_start = len(rollout.token_ids)
            self._append(rollout, request, reply, action.stage)
            rollout.stop = reply.stop
            if reply.refused:
                notes(rollout)["refused"] = reply.text
            episode.answer(reply)
        return [episode for episode in episodes if episode.pending is not None]

    def _append(self, rollout: Rollout, request: Request, reply: Reply, stage: str) -> None:
        """Write a reply; what a decoding did in it is read off by following it again."""
        if self.sampling.decoding is None:
            rollout.append(reply.token_ids, Author.MODEL, stage)
            return
        followed = follow(self.sampling.decoding.watch(request.question, request.said), reply.token_ids)
        for forced, places in groupby(range(len(reply.token_ids)), key=lambda place: followed.forced[place]):
            tokens = [reply.token_ids[place] for place in places]
            rollout.append(tokens, Author.FORCED if forced else Author.MODEL, stage)
        known = notes(rollout).get("decoding", {})
        notes(rollout)["decoding"] = {name: known.get(name, 0) + count for name, count in followed.facts.items()}

    def _ask_aside(self, episodes: Sequence[Episode]) -> None:
        """Ask the probes greedily; their rollouts stay as they are."""
        made = [(episode, _shown(episode, self._aside)) for episode in episodes]
        episodes = [episode for episode, request in made if request is not None]
        requests = [request for _, request in made if request is not None]
        greedy = replace(self.sampling, temperature=0.0, decoding=None)
        for episode, reply in zip(episodes, self.engine.generate(requests, greedy), strict=True):
            assert isinstance(episode.pending, Probe)
            _rollout(episode).probes[episode.pending.name] = reply
            episode.answer(reply)

    def _aside(self, episode: Episode) -> Request:
        """Return a probe's request; its reply may be as long as any, whatever is left of the rollout's budget."""
        rollout, action = _rollout(episode), episode.pending
        assert isinstance(action, Probe)
        limit = min(self.sampling.max_new_tokens, action.max_new_tokens or self.sampling.max_new_tokens)
        turn = Turn("user", action.content)
        if action.afresh:
            prompt_ids = self.engine.encode([[*action.history, turn]])[0]
            return Request(episode.sample.id, prompt_ids, [], media_of([*action.history, turn]), limit, seed=0)
        view = rollout.stretches()[-1]
        ids = [*rollout.token_ids[view.start :], *self._turn_ids(rollout, turn)]
        return Request(episode.sample.id, view.prompt_ids, ids, [*view.media, *media_of([turn])], limit, seed=0)

    def _apply(self, episode: Episode) -> bool:
        """Write what the action inserts; False when the budget leaves no room for it and a word of the model."""
        rollout, action = _rollout(episode), episode.pending
        assert isinstance(action, Observe | Continue)
        inserted: list[int] = []
        begin: list[int] = []
        media: list[Media] = []
        author = Author.FORCED
        length = len(rollout.token_ids)
        restart: Restart | None = None
        if isinstance(action, Continue):
            inserted, author = self.engine.tokenize(action.text), action.author
            length = _kept(rollout, action.keep, self.engine.end_ids, episode.reply_start)
        elif action is not episode.opening:
            author = Author.ENVIRONMENT
            turn = Turn(action.role, action.content)
            if action.afresh:
                prompt_ids = self.engine.encode([[*action.history, turn]])[0]
                restart = Restart(length, prompt_ids, len(rollout.media))
                media = media_of([*action.history, turn])
            else:
                inserted, media = self._turn_ids(rollout, turn), media_of([turn])
        if isinstance(action, Observe) and action.begin:
            begin = self.engine.tokenize(action.begin)
        if length + len(inserted) + len(begin) >= self.sampling.total:
            rollout.stop, episode.pending = Stop.BUDGET, None
            return False
        rollout.keep(length)
        rollout.append(inserted, author, action.stage)
        rollout.append(begin, Author.FORCED, action.stage)
        rollout.media.extend(media)
        rollout.restarts += [restart] if restart else []
        return True

    def _turn_ids(self, rollout: Rollout, turn: Turn) -> list[int]:
        """Return the tokens of a new turn in the middle of a rollout, with the last reply's end token if need be."""
        closed = bool(rollout.token_ids) and rollout.token_ids[-1] in self.engine.end_ids
        end = [] if closed else [self.engine.end_id]
        return end + self.engine.encode_turn(turn)

    def _request(self, episode: Episode) -> Request:
        rollout = _rollout(episode)
        room = self.sampling.total - len(rollout.token_ids)
        limit = min(self.sampling.max_new_tokens, room)
        seed = derive_seed(episode.seed, "reply", episode.turn)
        view = rollout.stretches()[-1]
        request = Request(episode.sample.id, view.prompt_ids, rollout.token_ids[view.start :], view.media, limit, seed)
        if self.sampling.decoding is None:
            return request
        turn = len(rollout.token_ids) - _turn_start(rollout, view.start, self.engine.end_ids)
        return replace(request, question=episode.sample.question, turn=turn)

    def finish(self, episodes: Sequence[Episode]) -> list[Rollout]:
        """Decode the finished rollouts."""
        for episode in episodes:
            rollout = _rollout(episode)
            rollout.text = self.engine.detokenize(_said(rollout))
            rollout.facts = {**episode.context.facts, **rollout.facts}
            if episode.error is not None:
                rollout.stop = Stop.ERROR
                rollout.facts["error"] = episode.error
        return [_rollout(episode) for episode in episodes]


Made = TypeVar("Made")


def _shown(episode: Episode, show: Callable[[Episode], Made]) -> Made | None:
    """Return what `show` makes; a clip or picture that cannot be read now fails its own rollout, with the reason."""
    try:
        return show(episode)
    except UserError as error:
        episode.error, episode.pending = error.given, None
        return None


def media_of(turns: Sequence[Turn]) -> list[Media]:
    """Return the media of some turns in order."""
    return [part for turn in turns for part in turn.content if isinstance(part, Media)]


def _waiting_turns(episode: Episode) -> list[Turn]:
    """Return the turns that an episode is about to show."""
    action = episode.pending
    return [] if action is None or isinstance(action, Continue) else [*action.history, Turn("user", action.content)]


def _said(rollout: Rollout) -> list[int]:
    """Return the tokens that are the model's own words."""
    return [
        token
        for span in rollout.spans
        if span.author is not Author.ENVIRONMENT
        for token in rollout.token_ids[span.start : span.end]
    ]


def opening_turns(episode: Episode) -> list[Turn]:
    """Return what an episode shows first.

    Raises:
        UserError: the environment refuses its sample.
    """
    if episode.refused is not None:
        raise episode.refused
    first = episode.opening
    assert isinstance(first, Observe)
    return [*first.history, Turn(first.role, first.content)]


def _rollout(episode: Episode) -> Rollout:
    if episode.rollout is None:
        raise RuntimeError("the episode was not opened")
    return episode.rollout


def _turn_start(rollout: Rollout, start: int, end_ids: frozenset[int]) -> int:
    """Return where the turn that is spoken began: after the last turn that was shown, or where the stretch began.

    What was shown in the middle of a turn begins after no end token and holds none.
    """
    for span in reversed(rollout.spans):
        shown = rollout.token_ids[max(span.start - 1, start) : span.end]
        if span.end > start and span.author is Author.ENVIRONMENT and any(token in end_ids for token in shown):
            return span.end
    return start


def _kept(rollout: Rollout, keep: int | None, end_ids: frozenset[int], reply_start: int | None) -> int:
    """Return how many tokens stay: the kept part of the last reply, never its end token.

    Args:
        reply_start: where the last reply began; None: with the last span.
    """
    ended = bool(rollout.token_ids) and rollout.token_ids[-1] in end_ids
    without_end = len(rollout.token_ids) - ended
    if keep is None:
        return without_end
    start = rollout.spans[-1].start if rollout.spans else 0
    return min((start if reply_start is None else reply_start) + keep, without_end)


def roll_out(
    engine: Engine,
    environment: Environment,
    samples: Sequence[Sample],
    n: int,
    sampling: Sampling,
    seed: int,
    policy_step: int = 0,
    progress: float = 1.0,
) -> list[Group]:
    """Roll every sample out `n` times.

    Args:
        seed: of the round; each rollout draws from (seed, sample id, its place in the group).
        progress: share of the training's steps that are done, which environments may look at.
    """
    driver = Driver(engine, sampling, policy_step)
    episodes = [
        Episode(sample, environment, derive_seed(seed, sample.id, place), progress)
        for sample in samples
        for place in range(n)
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
    samples = [Sample(rollout.sample_id, []) for rollout in rollouts]
    seeds = [derive_seed(seed, rollout.sample_id, place) for place, rollout in enumerate(rollouts)]
    return go_on(engine, samples, rollouts, actions, sampling, seeds)


def go_on(
    engine: Engine,
    samples: Sequence[Sample],
    rollouts: Sequence[Rollout],
    actions: Sequence[Action],
    sampling: Sampling,
    seeds: Sequence[int],
) -> list[Rollout]:
    """Let finished rollouts go on with one more action each; copies come back, as `resume` describes.

    A probe's reply is found in the copy's `probes`.

    Args:
        samples: of the rollouts, for what goes by their questions.
        seeds: one per rollout.
    """
    driver = Driver(engine, sampling)
    episodes = []
    for sample, rollout, action, seed in zip(samples, rollouts, actions, seeds, strict=True):
        episode = Episode(sample, _one_action(action), seed)
        episode.opening = None  # the action is one more, not the first
        episode.rollout = Rollout.from_json(rollout.to_json())
        episode.rollout.score = None
        episodes.append(episode)
    driver.step(episodes)
    return driver.finish(episodes)


def _one_action(action: Action) -> Environment:
    def environment(sample: Sample, context: Context) -> Generator[Action, Reply, dict[str, Any]]:
        yield action
        return {}

    return environment
