r"""More questions from the same ones: in other words, and with their options in another order.

    mmreflect build configs/build/augment.yaml source.path=outputs/mine

VL-Rethinker (arXiv 2504.08837, appendix A) augments what its rule can verify by rephrasing questions and permuting
options; how is not said, and all of this is ours:

- `rephrase` asks a teacher. Numbers, in digits and in words up to a hundred, formulas, names in capitals, units, how
  often it is denied, and the places of pictures must be the same as before; options are taken out before and put back
  after, so that nobody can change them. Comparatives ("larger") and things in small letters are not compared
  (`mmreflect/teaching/rephrasing.py` says what else is not): where a `solver` is named it must still find the answer.
- `permute` asks nobody. Options move, and everything that speaks of them follows: the reference, `facts.options` and
  `facts.option`, and letters in the response. Options about all others stay at the end. A row in which a letter cannot
  be followed for sure is left out with its reason.

A row made from another has its id with `/rephrase-0` or `/permute-0` behind, the fact `augment`, and a `provenance`.
"""

from collections.abc import Generator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StringConstraints

from mmreflect.answers.spec import spec_of
from mmreflect.building import Example, Rejected
from mmreflect.config import config as config_class
from mmreflect.data.options import block_of, options_of, orders, permuted
from mmreflect.data.store import Row
from mmreflect.errors import UserError
from mmreflect.evaluation.asking import Source, carried
from mmreflect.quality import EXEMPTIBLE
from mmreflect.records import Count, Message, content_parts
from mmreflect.seeds import python_rng
from mmreflect.teaching import maker
from mmreflect.teaching.attempts import Asked, asked_of
from mmreflect.teaching.filters import says
from mmreflect.teaching.maker import TeachingMaker, Wanted, describe, hold_together, inputs
from mmreflect.teaching.prompts import Prompts, asked_turns
from mmreflect.teaching.rephrasing import MARK, check_same
from mmreflect.teaching.speakers import SpeakerConfig, Speakers, name_of, sampler_of
from mmreflect.teaching.steps import Question, Said, Steps, checked

__all__ = ["EXEMPT", "Config", "describe", "inputs", "open_maker", "splits"]

EXEMPT = {"*": EXEMPTIBLE}  # responses stay as their source has them, which checked them its own way

PROMPTS = Path(__file__).parent / "prompts" / "augment"
Kind = Literal["rephrase", "permute"]


class Rephrased(BaseModel):
    """What the teacher says."""

    question: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


@config_class
class Config:
    """What to make.

    Attributes:
        teacher: who rephrases; needed for the kind `rephrase` alone.
        solver: who must still find the answer of a rephrased question; None asks nobody.
        kinds: what is done to each question; `rephrasings` and `permutations`: how often.
        originals: whether the questions themselves are rows, too.
        prompts: a folder with templates that stand in for ours of the same name.
        solves: how often the solver is asked, and `min_solved` how often at least it must be right.
        max_growth: words of a rephrased question over those of the question, at most, and ten more.
        media: copy the videos, or link to the source's.
        shard_rows: rounded up, so that the rows of a question stand in one shard.
    """

    output: str
    source: Source
    teacher: SpeakerConfig | None = None
    solver: SpeakerConfig | None = None
    kinds: Annotated[list[Kind], Field(min_length=1)] = Field(
        default_factory=lambda: list[Kind](["rephrase", "permute"])
    )
    rephrasings: Count = 1
    permutations: Count = 1
    originals: bool = True
    prompts: str | None = None
    solves: Count = 1
    min_solved: Count = 1
    max_growth: Annotated[float, Field(ge=1)] = 2.0
    media: Literal["copy", "link"] = "copy"
    seed: int = 0
    shard_rows: Count = 1000

    def __post_init__(self) -> None:
        """Check the options against each other.

        Raises:
            ValueError: a speaker is missing or idle, a kind stands twice, or greedy replies would all be the same.
        """
        if len(set(self.kinds)) < len(self.kinds):
            raise ValueError("kinds holds one twice; name each once")
        rephrases = "rephrase" in self.kinds
        if rephrases and self.teacher is None:
            raise ValueError("the kind rephrase needs a teacher; name one, or set kinds=[permute]")
        for part in ("teacher", "solver"):
            if getattr(self, part) is not None and not rephrases:
                raise ValueError(f"{part} is set and nothing is rephrased; remove it")
        if self.teacher is not None and self.rephrasings > 1 and self.teacher.temperature == 0:
            raise ValueError(
                f"rephrasings={self.rephrasings} at temperature=0 would all be the same; set a temperature"
            )
        if self.solver is not None and self.solves > 1 and self.solver.temperature == 0:
            raise ValueError(f"solves={self.solves} at temperature=0 would all be the same; set a temperature")
        if self.min_solved > self.solves:
            raise ValueError(f"min_solved={self.min_solved} is above solves={self.solves}; lower it")
        hold_together(self, len(self.slots))

    @property
    def speakers(self) -> Speakers:
        """Who is asked."""
        named = {"teacher": self.teacher, "solver": self.solver}
        return {part: options for part, options in named.items() if options is not None}

    @property
    def sheet(self) -> Prompts:
        """The prompts."""
        return Prompts(PROMPTS, self.prompts)

    @property
    def slots(self) -> list[tuple[str, int]]:
        """The rows that a question may give: what is done, and which of several."""
        counts = {"rephrase": self.rephrasings, "permute": self.permutations}
        made = [(str(kind), place) for kind in self.kinds for place in range(counts[kind])]
        return [("original", 0), *made] if self.originals else made


def splits(config: Config) -> dict[str, int]:
    """Return how many rows each split could have."""
    return {split: size * len(config.slots) for split, size in maker.splits(config).items()}


def open_maker(config: Config) -> TeachingMaker:
    """Return what makes the rows; those of one question share its rephrasings."""
    sheet = config.sheet
    return TeachingMaker(config, lambda wanted: _Making(config, sheet, wanted).steps(), len(config.slots))


class _Making:
    """One row in the making."""

    def __init__(self, config: Config, sheet: Prompts, wanted: Wanted) -> None:
        self.config, self.sheet = config, sheet
        self.row, self.name, self.counted = wanted.row, wanted.name, wanted.counted
        self.kind, self.place = config.slots[wanted.slot]

    def steps(self) -> Steps:
        """Leave the row as it is, move its options, or let it be rephrased."""
        if self.kind == "original":
            made = carried(self.row, self.config.source, {"augment": "original"}, self.config.media == "link")
        elif self.kind == "permute":
            made = self._permuted()
        else:
            made = yield from self._rephrased()
        self.counted[self.kind] += 1
        return made

    # ---- options -----------------------------------------------------------------------------------------------

    def _permuted(self) -> Example:
        if "messages" not in self.row:
            raise Rejected("permute: a pair for preference training")
        asked_of(self.row, self.config.source)
        try:
            options = options_of(self.row)
            rng = python_rng(self.config.seed, self.name, "permute")
            order = orders(options, rng, self.place + 1)[self.place]
            made = permuted(self.row, options, order)
        except UserError as error:
            raise Rejected(f"permute: {error.given}", error.expected) from None
        origin = {"order": "".join(options[place][0] for place in order)}
        row = {**self.row, "messages": made.messages, "answer": made.answer, "facts": made.facts}
        return self._example(row, origin)

    # ---- other words -------------------------------------------------------------------------------------------

    def _rephrased(self) -> Generator[Any, Any, Example]:
        if "messages" not in self.row:
            raise Rejected("rephrase: a pair for preference training")
        asked = asked_of(self.row, self.config.source)
        turn, text, block = _taken_apart(self.row)
        questions = [self._question(asked, text, place) for place in range(self.config.rephrasings)]
        heard: list[Said] = yield questions
        checked(questions[self.place], heard[self.place])
        said = heard[self.place].value.question
        if any(other.value and other.value.question == said for other in heard[: self.place]):
            raise Rejected("rephrase: an earlier one is the same")
        check_same(text, said, asked.sample.gold or "", self.config.max_growth)
        messages = list(self.row["messages"])
        messages[turn] = {**messages[turn], "content": _put_together(messages[turn], said, block)}
        row = {**self.row, "messages": messages}
        yield from self._solved(asked_of(row, self.config.source))
        assert self.config.teacher is not None
        teacher = {"teacher": name_of(self.config.teacher), "sampler": sampler_of(self.config.teacher)}
        solver = {"solver": name_of(self.config.solver)} if self.config.solver is not None else {}
        return self._example(row, teacher | solver)

    def _question(self, asked: Asked, text: str, place: int) -> Question:
        marks = " ".join(match.group() for match in MARK.finditer(text))
        turn = self.sheet.turn("rephrase", asked.sample, text=text, marks=marks)
        system = asked_turns(replace(asked.sample, messages=[], media=[]), self.sheet.text("system"))
        return Question("teacher", "rephrase", [*system, turn], place, Rephrased)

    def _solved(self, asked: Asked) -> Generator[Any, Any, None]:
        """Let the solver answer the question as it is now.

        Raises:
            UserError: it is not right often enough, or could not be asked.
        """
        if self.config.solver is None:
            return
        turns = asked_turns(asked.sample, self.sheet.text("solver_system"))
        wanted = [Question("solver", f"solve-{self.place}", turns, draw) for draw in range(self.config.solves)]
        heard: list[Said] = yield wanted
        usable = [said for said in heard if said.problem is None and not said.cut]
        if not usable:
            checked(wanted[0], heard[0])
        right = sum(asked.graded(said.text).right for said in usable)
        if right < self.config.min_solved:
            detail = f"{right} of {len(heard)} right"
            raise Rejected("rephrase: the solver does not find the answer", detail, question=asked.sample.question)

    def _example(self, row: Row, how: Mapping[str, Any]) -> Example:
        before = (row.get("facts") or {}).get("provenance")
        origin = {"source": self.name, "augment": self.kind, "place": self.place, "seed": self.config.seed, **how}
        facts = {"augment": self.kind, "provenance": origin | ({} if before is None else {"before": before})}
        made = carried(row, self.config.source, facts, self.config.media == "link")
        return replace(made, id=f"{self.name}/{self.kind}-{self.place}")


def _taken_apart(row: Row) -> tuple[int, str, str | None]:
    """Return which turn asks, its text with marks for what is shown inside of it, and the options where it lists them.

    Raises:
        Rejected: there is no text, it holds marks of its own, or options that are not listed just once.
    """
    turn = max((place for place, item in enumerate(row["messages"]) if item["role"] == "user"), default=None)
    parts = [] if turn is None else _inside(row["messages"][turn])
    if turn is None or not any(part["type"] == "text" and part["text"].strip() for part in parts):
        raise Rejected("rephrase: there is no text to write anew")
    if any(MARK.search(part.get("text", "")) for part in parts):
        raise Rejected("rephrase: the question holds a mark of its own")
    text = "".join(part["text"] if part["type"] == "text" else f"<{part['type']}>" for part in parts)
    options = spec_of(row.get("facts") or {}).options
    block = block_of(text, options) if options else None
    if options and block is None and any(said.strip() and says(text, said.strip()) for _, said in options):
        raise Rejected("rephrase: the options are not listed in the question just once")
    if block is None:
        return turn, text, None
    return turn, f"{text[: block.start()]}<options>{text[block.end() :]}", block.group()


def _inside(turn: Message) -> list[dict[str, Any]]:
    """Return the parts of a turn from its first text on; media before it stay where they are."""
    parts = list(content_parts(turn["content"]))
    first = next((place for place, part in enumerate(parts) if part["type"] == "text"), len(parts))
    return parts[first:]


def _put_together(turn: Message, text: str, block: str | None) -> list[dict[str, Any]]:
    """Return the content of a turn with its text anew."""
    parts = list(content_parts(turn["content"]))
    made = parts[: len(parts) - len(_inside(turn))]
    if block is not None:
        before, _, after = text.partition("<options>")
        text = f"{before.rstrip()}\n{block}{after}"
    for number, piece in enumerate(MARK.split(text)):
        if number % 2:
            made.append({"type": piece})
        elif piece:
            made.append({"type": "text", "text": piece})
    return made


if __name__ == "__main__":
    import sys

    from mmreflect.cli import main

    sys.exit(main(["build", *sys.argv[1:]]))
