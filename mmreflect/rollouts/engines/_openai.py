"""Speaking through a server: what the engine `openai` runs on."""

from collections import Counter
from collections.abc import Sequence

from mmreflect import console
from mmreflect.records import Reply, Stop, Turn
from mmreflect.remote.asks import Answer, Ask, UnansweredError
from mmreflect.remote.client import Client
from mmreflect.rollouts.actions import Request, Sampling
from mmreflect.rollouts.engines._openai_table import END, Table, no_continue
from mmreflect.rollouts.engines.openai import CAPABILITIES


class OpenAIEngine:
    """Speaks through a client's server.

    A turn is one token; a reply has as many as the server counts, its text spread evenly over them, so that lengths and
    places in a reply are right on average. A request that fails for good gives a reply of stop `error` with the reason
    as its text and no token.
    """

    capabilities = CAPABILITIES
    end_ids = frozenset({END})
    end_id = END

    def __init__(self, client: Client) -> None:
        self.client = client
        self._table = Table()

    def encode(self, turns: Sequence[Sequence[Turn]]) -> list[list[int]]:
        """Return one id per turn."""
        return [[self._table.turn(turn) for turn in conversation] for conversation in turns]

    def encode_turn(self, turn: Turn) -> list[int]:
        """Return the one id of a turn."""
        return [self._table.turn(turn)]

    def tokenize(self, text: str) -> list[int]:
        """Refuse: only forced words are tokenised on their own, and a server takes none.

        Raises:
            UserError: always.
        """
        raise no_continue()

    def detokenize(self, token_ids: Sequence[int]) -> str:
        """Return the exact text of ids; of turns, their text."""
        return self._table.text(token_ids)

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Reply]:
        """Return one reply per request, in order; a greedy request carries no seed.

        Raises:
            UserError: the server cannot be used, a limit is reached, or all requests fail before any has succeeded.
        """
        asks = [self._ask(request, sampling) for request in requests]
        answers = self.client.ask(asks)
        self._tell_failures(answers)
        return [self._reply(answer) for answer in answers]

    def _ask(self, request: Request, sampling: Sampling) -> Ask:
        return Ask(
            self._table.conversation([*request.prompt_ids, *request.token_ids]),
            request.max_new_tokens,
            sampling.temperature,
            sampling.top_p if sampling.temperature else 1.0,
            sampling.top_k if sampling.temperature else 0,
            request.seed if sampling.temperature else None,
        )

    def _reply(self, answer: Answer) -> Reply:
        if answer.error is not None:
            return Reply(answer.error.given, [], Stop.ERROR, refused=not isinstance(answer.error, UnansweredError))
        ended = answer.finish != "length"
        return Reply(
            answer.text,
            self._table.reply(answer.text, answer.tokens_out, ended),
            Stop.EOS if ended else Stop.LENGTH,
        )

    def _tell_failures(self, answers: Sequence[Answer]) -> None:
        errors = [answer.error for answer in answers if answer.error is not None]
        if not errors:
            return
        spent = self.client.spent
        if len(errors) == len(answers) and not spent.answered + spent.cached:
            raise errors[0]
        from mmreflect.console import escape

        counted = Counter(error.given for error in errors).most_common(3)
        reasons = "; ".join(f"{reason} ({number})" for reason, number in counted)
        console.say(f"[yellow]{len(errors)} of {console.count(len(answers), 'request')} failed[/]: {escape(reasons)}")
