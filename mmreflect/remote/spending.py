"""What asking a server took."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from mmreflect import console
from mmreflect.remote.asks import Completion
from mmreflect.remote.cache import Paid
from mmreflect.remote.requests import CHARACTERS_PER_TOKEN
from mmreflect.remote.settings import ServerConfig


@dataclass(slots=True)
class Spending:
    """What a client did so far. Tokens of answers from the cache count once for each request.

    Attributes:
        answered: requests that the server answered; `cached`: those that the cache did.
        tokens_in, tokens_out: of `answered`; `saved_in`, `saved_out`: of `cached`.
        retried: requests that were sent once more after a failure.
        slowed: how often the number of requests at once was halved.
        rejected: structured replies that were refused.
        failed: asks that ended without a good reply.
        repaired: structured replies whose JSON was mended.
        estimated: answers whose tokens the server did not count.
        health: questions that the server answered only to show that it lives, as others were not answered; their tokens
            are in `tokens_in` and `tokens_out`.
        elsewhere: answers from the cache that another address than the server's gave, by that address.
        before: what earlier starts of the run have paid; None where no run is known.
    """

    answered: int = 0
    cached: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    saved_in: int = 0
    saved_out: int = 0
    retried: int = 0
    slowed: int = 0
    rejected: int = 0
    failed: int = 0
    repaired: int = 0
    estimated: int = 0
    health: int = 0
    elsewhere: Counter[str] = field(default_factory=Counter)
    before: Paid | None = None
    server: ServerConfig = field(kw_only=True, repr=False)
    _counted: set[str] = field(default_factory=set, repr=False)

    @property
    def paid(self) -> float:
        """What the server's answers cost."""
        return self.server.cost(self.tokens_in, self.tokens_out)

    @property
    def cost(self) -> float:
        """What all answers cost, those from the cache as well."""
        return self.server.cost(self.tokens_in + self.saved_in, self.tokens_out + self.saved_out)

    @property
    def tokens(self) -> int:
        """Tokens of all answers, those from the cache as well."""
        return self.tokens_in + self.tokens_out + self.saved_in + self.saved_out

    @property
    def this_start(self) -> Paid:
        """What this start has paid."""
        return Paid(self.answered, self.tokens_in, self.tokens_out)

    @property
    def ever_answered(self) -> bool:
        """Whether the server has answered anything, now or before."""
        return bool(self.answered or self.cached or (self.before and self.before.requests))

    def add_health(self, completion: Completion) -> None:
        """Count a plain question."""
        self.health += 1
        self.tokens_in += completion.tokens_in or 0
        self.tokens_out += completion.tokens_out or 0

    def add(self, key: str, completion: Completion, cached: bool) -> None:
        """Count one answer, its tokens known; a request that was counted before adds no tokens."""
        tokens_in, tokens_out = completion.tokens_in or 0, completion.tokens_out or 0
        if not cached:
            self.answered += 1
            self.tokens_in, self.tokens_out = self.tokens_in + tokens_in, self.tokens_out + tokens_out
        else:
            self.cached += 1
            if completion.address not in ("", self.server.base_url):
                if completion.address not in self.elsewhere:
                    self._tell_elsewhere(completion.address)
                self.elsewhere[completion.address] += 1
            if key not in self._counted:
                self.saved_in, self.saved_out = self.saved_in + tokens_in, self.saved_out + tokens_out
        self._counted.add(key)

    def _tell_elsewhere(self, address: str) -> None:
        console.say(
            f"[yellow]answers in the cache are from {address}[/], and {self.server.model!r} is at "
            f"{self.server.base_url} now: they are taken for the same model's; give one of two models a version"
        )

    def text(self) -> str:
        """Say it in one line; what did not happen is left out."""
        priced = bool(self.server.price_in or self.server.price_out)
        parts = [
            f"{console.count(self.answered, 'answer')} for {self.tokens_in:,} + {self.tokens_out:,} tokens",
            f"cost {self.paid:.4g}" if priced else "",
            f"{self.cached:,} from the cache" if self.cached else "",
            *(f"{number:,} of them by {address}" for address, number in self.elsewhere.items()),
            f"{self.repaired:,} replies repaired" if self.repaired else "",
            f"{self.rejected:,} replies rejected" if self.rejected else "",
            f"{self.failed:,} failed" if self.failed else "",
            f"{self.retried:,} sent again" if self.retried else "",
            f"slowed down {console.count(self.slowed, 'time')}" if self.slowed else "",
            f"asked {console.count(self.health, 'time')} whether it lives" if self.health else "",
            f"tokens of {self.estimated:,} estimated" if self.estimated else "",
        ]
        return ", ".join(part for part in parts if part)


def brief(all_spent: Sequence[Spending]) -> str:
    """Say in a few words what clients have had answered, and what they pay for it now."""
    answers = sum(spent.answered + spent.cached for spent in all_spent)
    tokens = sum(spent.tokens_in + spent.tokens_out for spent in all_spent)
    paid = sum(spent.paid for spent in all_spent)
    return f"{console.count(answers, 'answer')}, {_short(tokens)} tokens" + (f", cost {paid:.3g}" if paid else "")


def _short(number: int) -> str:
    """Write a number in few characters: 950, 12.3k, 4.5M."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:.1f}{letter}"
    return str(number)


def reckoned(completion: Completion, tokens_in: int) -> Completion:
    """Return a completion with an estimate where the server counts no tokens.

    Args:
        tokens_in: the estimate of the prompt.
    """
    said = len(completion.text) + len(completion.reasoning)
    return replace(
        completion,
        tokens_in=tokens_in if completion.tokens_in is None else completion.tokens_in,
        tokens_out=-(-said // CHARACTERS_PER_TOKEN) if completion.tokens_out is None else completion.tokens_out,
    )
