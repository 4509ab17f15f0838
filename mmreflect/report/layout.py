"""The parts that a page is made of, as plain values; each template shows one of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from markupsafe import Markup

from mmreflect.report.numbers import Figure
from mmreflect.report.pictures import Shown
from mmreflect.report.plots import Plot

if TYPE_CHECKING:  # a page without answers shall not wait for what reads and grades them
    from mmreflect.report.text import Block, Chip, Tone
    from mmreflect.report.timeline import Timeline


@dataclass(frozen=True, slots=True)
class Link:
    """A cell that leads to another file beside the page; without an address it is its text."""

    text: str
    href: str


Cell = str | Figure | Link


@dataclass(frozen=True, slots=True)
class Table:
    """A table; the first column names its row, the others are numbers unless `prose` says otherwise.

    A long one is folded away among plots, unless it is to be `whole`.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    prose: bool = False
    whole: bool = False

    @property
    def folded(self) -> bool:
        """Whether it is long."""
        return len(self.rows) > 12 and not self.whole


@dataclass(frozen=True, slots=True)
class LedgerBody:
    """The ledger: its table, the graphic of first and final accuracy, and what has to be said about it."""

    table: Table
    graphic: Markup | None
    notes: Sequence[str]


@dataclass(slots=True)
class PlotBlock:
    """Plots that belong together, under a title of their own.

    `packed`: plots of unequal height fill columns; `beside`: the tables stand next to the plots, not below;
    `folded`: the whole block is folded away below its title.
    """

    title: str = ""
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    packed: bool = False
    beside: bool = False
    folded: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer as shown: who gave it, the verdicts, the part of a video it chose, the text, and remarks below it."""

    label: str
    chips: "Sequence[Chip]"
    blocks: "Sequence[Block]"
    remarks: Sequence[str] = ()
    timeline: "Timeline | None" = None


@dataclass(frozen=True, slots=True)
class Example:
    """A question with its pictures and film strips, and one or more answers; `timeline` is of the question itself.

    `facts` are what else is known about the question, a line each: name and value.
    """

    id: str
    question: str
    gold: str | None
    media: Sequence[Shown]
    replies: Sequence[Reply]
    kind: str = ""
    timeline: "Timeline | None" = None
    facts: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class Gallery:
    """Examples in groups; a group with `closed` is folded away."""

    notes: Sequence[str]
    tables: Sequence[Table]
    groups: Sequence[tuple[str, Sequence[Example]]]
    closed: bool = False

    @property
    def kinds(self) -> set[str]:
        """The kinds of text that its answers hold."""
        return {
            block.kind
            for _, examples in self.groups
            for example in examples
            for reply in example.replies
            for block in reply.blocks
        }


@dataclass(frozen=True, slots=True)
class Card:
    """A question in the browser of all answers.

    Attributes:
        draw: which of the question's answers it is.
        options: letters with their texts, where the question does not hold them.
        labels: what it can be chosen by: its labels by the filter's name.
        said: the answer in a few characters, for the list; `tone` colours it.
        other: the same of a second run beside it.
    """

    example: Example
    labels: Mapping[str, Sequence[str]]
    said: str
    tone: "Tone"
    draw: int = 0
    options: Sequence[tuple[str, str]] = ()
    other: "tuple[str, Tone] | None" = None


@dataclass(frozen=True, slots=True)
class Browser:
    """All answers, one at a time; `data` is the JSON that the page's script shows, `shown` cards of `total`."""

    notes: Sequence[str]
    data: Markup
    shown: int
    total: int


@dataclass(frozen=True, slots=True)
class SettingsBody:
    """How it was run: one row per run, and each run's configuration."""

    notes: Sequence[str]
    table: Table
    files: Sequence[tuple[str, str]]


Body = LedgerBody | Sequence[PlotBlock] | Gallery | Browser | SettingsBody


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page with a title; `template` names the file that shows its body."""

    anchor: str
    title: str
    template: str
    body: Body


def plots_section(anchor: str, title: str, blocks: Sequence[PlotBlock | None]) -> Section | None:
    """Return a section of plots, or None when no block has anything to show."""
    shown = [block for block in blocks if block and (block.plots or block.tables or block.notes or block.warnings)]
    return Section(anchor, title, "plots", shown) if shown else None


Figures = Sequence[tuple[str, Figure]]
"""Label and number, for the head of a page."""
Parts = tuple[str, str, Sequence[str], Figures, Sequence[Section | None]]
"""What a kind of run puts on its page: title, subject, lead, figures, sections."""


@dataclass(frozen=True, slots=True)
class Page:
    """The whole page. `lead` answers the question in the title; `key_figures` are label, number, remark."""

    eyebrow: str
    title: str
    subject: str
    lead: Sequence[str]
    status: Sequence[str]
    key_figures: Figures
    sections: Sequence[Section]
    version: str

    @property
    def has_browser(self) -> bool:
        """Whether a part of the page needs its script."""
        return any(isinstance(section.body, Browser) for section in self.sections)
