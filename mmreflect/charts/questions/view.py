"""A table as questions see it: how its cells are called, and where in the chart they are read."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from mmreflect.charts.scales import written
from mmreflect.charts.tables import QUANTILES, Table

Look = tuple[str, int | None, int | None]
"""An element by role, row and column; None for any."""
Step = tuple[str, list[Look]]


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its solution.

    Attributes:
        type: an answer type of the verifier; `places`: decimals of a number, which the question states where it rounds.
        wrong: answers that a slip would give, the likeliest first.
        choices: all the answers there are, where they are few; else None.
    """

    text: str
    answer: str
    type: str
    steps: list[Step]
    wrong: list[str]
    places: int | None = None
    choices: list[str] | None = None


class Unaskable(Exception):
    """A table has no unambiguous question of the kind that is wanted, such as where two tie: another is drawn."""


ROLES = {
    "bar": ("bar", "bar"),
    "grouped_bar": ("bar", "bar"),
    "stacked_bar": ("segment", "segment"),
    "line": ("point", "point"),
    "pie": ("wedge", "slice"),
    "heat_map": ("cell", "cell"),
    "table": ("cell", "cell"),
}


@dataclass(frozen=True, slots=True)
class View:
    """A table and the draws of one question; everything here is about tables with rows and columns of one measure."""

    table: Table
    rng: random.Random

    def known(self, column: int) -> list[int]:
        """Return the rows that have a value in a column."""
        return [row for row, line in enumerate(self.table.values) if line[column] is not None]

    def value(self, row: int, column: int) -> Fraction:
        """Return a value that is there."""
        value = self.table.values[row][column]
        assert value is not None
        return value

    def column(self) -> int:
        """Draw a column with at least three values; of a box plot the median."""
        if self.table.kind == "box":
            return 2
        able = [column for column in range(len(self.table.columns)) if len(self.known(column)) >= 3]
        if not able:
            raise Unaskable
        return self.rng.choice(able)

    def noun(self, column: int) -> str:
        """Return what a column's values are called."""
        table = self.table
        if table.kind == "box":
            name = QUANTILES[column]
            beyond = any(table.outliers) and column in (0, 4)
            return f"{name} {table.noun}{' (end of the whisker)' if beyond else ''}"
        if len(table.columns) == 1:
            return table.noun
        name = table.columns[column]
        return f"{table.noun} ({name})" if table.preposition == "for" else f"{table.noun} for {name}"

    def name(self, row: int, column: int) -> str:
        """Return what one value is called."""
        table = self.table
        return f"{self.noun(column)} {table.preposition} {table.rows[row]}"

    def unit(self) -> str:
        """Return the words that say a number's unit, for the end of a question."""
        table = self.table
        return f", in {'percent' if table.unit == '%' else table.unit}" if table.unit else ""

    def say(self, value: Fraction, places: int | None = None) -> str:
        """Write a value with the table's decimals."""
        return written(value, self.table.places if places is None else places)

    def look(self, row: int, column: int) -> list[Look]:
        """Return the elements in which a value is read."""
        table = self.table
        if table.kind == "box":
            role = ("whisker", "quartile", "median", "quartile", "whisker")[column]
            return [(role, row, column)]
        found: list[Look] = [(ROLES[table.kind][0], row, column)]
        if table.labelled and table.kind != "table":
            found.append(("value_label", row, column))
        return found

    def read(self, row: int, column: int) -> Step:
        """Say where a value is read, and what it is."""
        table, value = self.table, self.say(self.value(row, column))
        row_name = table.rows[row]
        looks = self.look(row, column)
        if table.kind == "box":
            part = (
                "lower whisker",
                "lower edge of the box",
                "line in the box",
                "upper edge of the box",
                "upper whisker",
            )[column]
            return f"{row_name}: the {part} stands at {value}.", looks
        what = ROLES[table.kind][1]
        which = (
            f"the {what} of {row_name}"
            if len(table.columns) == 1
            else f"the {table.columns[column]} {what} of {row_name}"
        )
        if table.kind in ("table", "heat_map"):
            return f"The cell in row {row_name} and column {table.columns[column]} says {value}.", looks
        if table.labelled:
            return f"The label on {which} says {value}.", looks
        if table.kind == "stacked_bar":
            below = sum((self.value(row, place) for place in range(column)), Fraction(0))
            top = below + self.value(row, column)
            return (
                f"{which[0].upper()}{which[1:]} runs from {self.say(below)} to {self.say(top)}, so it is {value}.",
                looks,
            )
        verb = "stands at" if table.kind == "line" else "ends at"
        return f"{which[0].upper()}{which[1:]} {verb} {value} on the axis.", looks

    def number(
        self, text: str, value: Fraction, steps: list[Step], wrong: Sequence[Fraction], places: int | None = None
    ) -> Question:
        """Return a question whose answer is a number; the wrong ones are written like the right one."""
        places = self.table.places if places is None else places
        answer = written(value, places)
        texts = [written(item, places) for item in wrong]
        return Question(text, answer, "float", steps, [item for item in dict.fromkeys(texts) if item != answer], places)

    def row_label(self, text: str, row: int, steps: list[Step], likely: Sequence[int] = ()) -> Question:
        """Return a question whose answer is a row's label."""
        rows = self.table.rows
        order = [*likely, *self.rng.sample(range(len(rows)), len(rows))]
        wrong = [rows[item] for item in dict.fromkeys(order) if item != row]
        return Question(text, rows[row], "text", steps, wrong)


def yes_no(text: str, truth: bool, steps: list[Step]) -> Question:
    """Return a question that is answered by yes or no."""
    return Question(text, "yes" if truth else "no", "yes_no", steps, [])
