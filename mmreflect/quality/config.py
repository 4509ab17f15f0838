"""What is asked of every dataset that is built: the block `quality:` of a build's YAML."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from mmreflect.config import config
from mmreflect.quality.texts import SCRIPTS, SURE_LEAKS, check_patterns
from mmreflect.records import Count

COMPARISON = ("repeats", "near_repeats", "likeness", "picture_bits", "against", "overlap")
"""Settings of how rows are compared when all are there; the others decide about each row while it is made."""

Share = Annotated[float, Field(gt=0, le=1)]
Scripts = Annotated[list[str], Field(min_length=1)]
OFF = BeforeValidator(lambda value: "off" if value is False else value)  # YAML reads a bare off as false
Repeats = Annotated[Literal["drop", "count", "off"], OFF]


def _known(scripts: list[str] | None) -> list[str] | None:
    for script in scripts or []:
        if script not in SCRIPTS:
            raise ValueError(f"scripts holds {script!r}; known: {', '.join(SCRIPTS)}")
    return scripts


@config
class QualityConfig:
    """What rows must keep to. A row's own checks are made while its shard is built, repeats are found when all are.

    What a row has nothing for is not asked of it: an RL row has no response to check. What a builder makes on purpose
    (a lazy reflection that ends wrong) it exempts itself. Both are counted.

    Attributes:
        answer: `right`: a response must end on the right answer by the project's verifier; `off`: it may say anything.
        ungraded: whether a row whose answer could not be graded, or whose reference cannot be graded against, is
            dropped, under a reason of its own, or kept.
        final_answer: `one`: exactly one, boxed, tagged, or told by a phrase that the verifier reads; a box and a tag
            that say the same are one, two boxes or two tags are not, and no phrase behind them says another. Thinking
            and a first try before a reflection are none. `marked`: one box or tag. `off`: any number.
        min_words, max_words: of a response; ideographs count one each. None: no limit.
        repetition: how often a response may hold one run of eight words, or as many characters that repeat without a
            blank; None: as often as it likes.
        scripts: of the letters of question and response, as in `[latin, greek, han]`; None: a response keeps to Latin,
            Greek and the scripts of its question.
        script_share: of the letters that must be in these scripts, at least.
        leaks: regular expressions that no response may hold, whatever the case; builders that ask a teacher have
            stricter ones of their own.
        repeats: rows that ask the same of the same media and respond the same, of each split: `drop` all but the
            first, `count` them, or `off`.
        near_repeats: the same for rows that are nearly so, with the same answer, in the whole dataset.
        likeness: from which share of common runs of five words on texts are nearly the same (Jaccard).
        picture_bits: up to how many bits of 64 perceptual hashes of nearly the same picture differ: 6 finds it in
            another format or size, but not where 3 % or more are cut off at each side.
        against: evaluation sets: folders that `mmreflect build` wrote, JSONL or parquet files of rows, folders with
            these, or folders of pictures. What of them cannot be compared is told, and counted in the manifest.
        overlap: `drop` or `count` rows whose question or a medium of which stands in one of them, nearly or exactly.
    """

    answer: Annotated[Literal["right", "off"], OFF] = "right"
    ungraded: Literal["drop", "keep"] = "drop"
    final_answer: Annotated[Literal["one", "marked", "off"], OFF] = "one"
    min_words: Count | None = 1
    max_words: Count | None = 8192
    repetition: Count | None = 4
    scripts: Annotated[Scripts | None, AfterValidator(_known)] = None
    script_share: Share = 0.9
    leaks: list[str] = Field(default_factory=lambda: list(SURE_LEAKS))
    repeats: Repeats = "drop"
    near_repeats: Repeats = "count"
    likeness: Annotated[float, Field(ge=0.7, le=1)] = 0.8
    picture_bits: Annotated[int, Field(ge=0, le=10)] = 6
    against: list[str] = Field(default_factory=list)
    overlap: Literal["drop", "count"] = "drop"

    def __post_init__(self) -> None:
        """Check the options against each other.

        Raises:
            ValueError: the limits cross, a pattern is none, or an evaluation set is named twice.
        """
        check_patterns(self.leaks)
        if self.min_words and self.max_words and self.min_words > self.max_words:
            raise ValueError(f"min_words={self.min_words} is above max_words={self.max_words}; lower it")
        if len(set(self.against)) < len(self.against):
            raise ValueError("against names a set twice; name each once")

    @property
    def sketches(self) -> bool:
        """Whether near repeats are looked for, for which every picture is hashed."""
        return self.near_repeats != "off" or bool(self.against)

    @property
    def compares(self) -> bool:
        """Whether rows are compared with others at all."""
        return self.sketches or self.repeats != "off"
