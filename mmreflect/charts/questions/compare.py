"""Level 2: the largest and smallest, and which of two is larger."""

from fractions import Fraction

from mmreflect.charts.questions.view import Question, Step, Unaskable, View, yes_no


def ask(view: View) -> Question:
    """Ask for an extreme, or compare two values."""
    form = view.rng.choice([extreme, extreme, larger, within_row])
    return form(view)


def margin(view: View) -> Fraction:
    """Return the difference above which two values are told apart without labels."""
    table = view.table
    if table.labelled or table.kind not in ("pie", "heat_map"):
        return Fraction(0)
    known = [value for line in table.values for value in line if value is not None]
    return Fraction(4) if table.kind == "pie" else (max(known) - min(known)) / 6


def seen(view: View, row: int, column: int) -> Step:
    """Say what is seen of a value where it cannot be read: its size or its shade."""
    table = view.table
    if table.labelled or table.kind not in ("pie", "heat_map"):
        return view.read(row, column)
    if table.kind == "pie":
        return f"The slice of {table.rows[row]} is compared by its angle.", view.look(row, column)
    return (
        f"The cell of {table.rows[row]} and {table.columns[column]} is compared by its shade on the colour bar.",
        view.look(row, column),
    )


def extreme(view: View) -> Question:
    """Ask which row has the highest or lowest value of a column."""
    table, column = view.table, view.column()
    highest = view.rng.random() < 0.6
    order = sorted(view.known(column), key=lambda row: view.value(row, column), reverse=highest)
    first, second = order[0], order[1]
    if abs(view.value(first, column) - view.value(second, column)) <= margin(view):
        raise Unaskable
    word = "highest" if highest else "lowest"
    steps = [seen(view, row, column) for row in order[:3]]
    steps.append((f"So the {word} is that of {table.rows[first]}.", view.look(first, column)))
    return view.row_label(f"Which {table.row_noun} has the {word} {view.noun(column)}?", first, steps, order[1:])


def larger(view: View) -> Question:
    """Ask whether one value is larger than another."""
    column = view.column()
    one, other = view.rng.sample(view.known(column), 2)
    difference = view.value(one, column) - view.value(other, column)
    if abs(difference) <= margin(view):
        raise Unaskable
    text = f"Is the {view.name(one, column)} higher than the {view.name(other, column)}?"
    steps = [seen(view, one, column), seen(view, other, column)]
    said = f"So the first is the {'higher' if difference > 0 else 'lower'} one."
    return yes_no(text, difference > 0, [*steps, (said, [])])


def within_row(view: View) -> Question:
    """Ask which column has the highest value in a row."""
    table = view.table
    if len(table.columns) < 2 or table.kind == "box":
        return extreme(view)
    row = view.rng.randrange(len(table.rows))
    columns = [column for column in range(len(table.columns)) if table.values[row][column] is not None]
    order = sorted(columns, key=lambda column: -view.value(row, column))
    if len(order) < 2 or view.value(row, order[0]) - view.value(row, order[1]) <= margin(view):
        raise Unaskable
    text = f"Which {table.column_noun} has the highest {table.noun} {table.preposition} {table.rows[row]}?"
    steps = [seen(view, row, column) for column in order]
    steps.append((f"So it is {table.columns[order[0]]}.", view.look(row, order[0])))
    wrong = [table.columns[column] for column in order[1:]]
    return Question(text, table.columns[order[0]], "text", steps, wrong)
