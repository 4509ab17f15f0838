"""Level 1: one value, or the label that has a value."""

from mmreflect.charts.questions.view import Question, Unaskable, View


def ask(view: View) -> Question:
    """Ask for a value, or for whose value it is."""
    table = view.table
    column = view.rng.randrange(5) if table.kind == "box" else view.column()
    row = view.rng.choice(view.known(column))
    value = view.value(row, column)
    values = [view.value(other, column) for other in view.known(column)]
    if values.count(value) == 1 and view.rng.random() < 0.25:
        unit = f" {table.unit}" if table.unit and table.unit != "%" else table.unit
        text = f"Which {table.row_noun} has a {view.noun(column)} of {view.say(value)}{unit}?"
        said, looks = view.read(row, column)
        return view.row_label(text, row, [(said, looks), (f"So it is {table.rows[row]}.", looks)])
    wrong = [item for item in values if item != value]
    wrong += [view.value(row, other) for other in range(len(table.columns)) if table.values[row][other] is not None]
    if not wrong:
        raise Unaskable
    return view.number(f"What is the {view.name(row, column)}{view.unit()}?", value, [view.read(row, column)], wrong)
