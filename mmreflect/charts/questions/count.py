"""Level 3: how many are above or below a value, how many are missing, in how many rows one column leads."""

from fractions import Fraction

from mmreflect.charts.questions.view import Question, Step, Unaskable, View
from mmreflect.charts.scales import written


def ask(view: View) -> Question:
    """Ask for a count."""
    table = view.table
    forms = [beyond, beyond]
    if any(value is None for line in table.values for value in line):
        forms += [missing, missing]
    if len(table.columns) > 1 and table.kind != "box":
        forms.append(leads)
    return view.rng.choice(forms)(view)


def counted(view: View, text: str, count: int, most: int, steps: list[Step]) -> Question:
    """Return a question whose answer is a whole number."""
    wrong = [Fraction(item) for item in (count + 1, count - 1, count + 2, count - 2, most) if item >= 0]
    return view.number(text, Fraction(count), steps, wrong, 0)


def beyond(view: View) -> Question:
    """Ask how many values of a column are above or below a round one that none of them equals."""
    table, column = view.table, view.column()
    rows = view.known(column)
    values = [view.value(row, column) for row in rows]
    lowest, highest = min(values), max(values)
    step = table.scale.step if table.scale and not table.scale.log else Fraction(5)
    grid = [step * place / 2 for place in range(1, 60)]
    places = [item for item in grid if lowest < item < highest and item not in values]
    if not places:
        raise Unaskable
    limit, above = view.rng.choice(places), view.rng.random() < 0.6
    inside = [row for row in rows if (view.value(row, column) > limit) == above]
    word = "above" if above else "below"
    unit = "%" if table.unit == "%" else f" {table.unit}" if table.unit else ""
    shown = written(limit, next(places for places in range(4) if (limit * 10**places).denominator == 1 or places == 3))
    steps = [view.read(row, column) for row in rows]
    names = ", ".join(table.rows[row] for row in inside)
    steps.append(
        (
            f"{word.capitalize()} {shown}: {names}; that is {len(inside)}.",
            [item for row in inside for item in view.look(row, column)],
        )
    )
    text = f"For how many {plural(table.row_noun)} is the {view.noun(column)} {word} {shown}{unit}?"
    return counted(view, text, len(inside), len(rows), steps)


def missing(view: View) -> Question:
    """Ask how many values are not shown."""
    table = view.table
    gaps = [
        (row, column) for row, line in enumerate(table.values) for column, value in enumerate(line) if value is None
    ]
    names = [
        f"{table.rows[row]}{', ' + table.columns[column] if table.columns[column] else ''}" for row, column in gaps
    ]
    label = "header" if table.kind == "table" else "tick_label"
    what = {"line": "points", "heat_map": "cells", "table": "cells"}[table.kind]
    steps: list[Step] = [(f"There is no value for {'; '.join(names)}.", [(label, row, None) for row, _ in gaps])]
    text = (
        f"How many {what} have no value in this chart?"
        if table.kind != "line"
        else "How many values are missing in this chart?"
    )
    return counted(view, text, len(gaps), len(gaps) + 3, steps)


def leads(view: View) -> Question:
    """Ask in how many rows one column has the higher value than another."""
    table = view.table
    one, other = view.rng.sample(range(len(table.columns)), 2)
    rows = [row for row in view.known(one) if row in view.known(other)]
    if len(rows) < 3 or any(view.value(row, one) == view.value(row, other) for row in rows):
        raise Unaskable
    ahead = [row for row in rows if view.value(row, one) > view.value(row, other)]
    steps = [step for row in rows for step in (view.read(row, one), view.read(row, other))]
    steps.append(
        (
            f"{table.columns[one]} is higher in {len(ahead)} of {len(rows)}.",
            [item for row in ahead for item in view.look(row, one)],
        )
    )
    leading = f"the {table.noun} for {table.columns[one]} higher than for {table.columns[other]}"
    text = f"For how many {plural(table.row_noun)} is {leading}?"
    return counted(view, text, len(ahead), len(rows), steps)


def plural(noun: str) -> str:
    """Return a noun in the plural."""
    if noun == "means":
        return noun
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(("s", "ch", "sh")) else f"{noun}s"
