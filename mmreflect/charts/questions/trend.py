"""Level 5: what goes up and down over time."""

import itertools

from mmreflect.charts.questions.count import counted
from mmreflect.charts.questions.view import Question, Unaskable, View

WAYS = ("rise", "fall", "stay the same")


def ask(view: View) -> Question:
    """Ask about the course of one column over time."""
    if not view.table.ordered:
        raise Unaskable
    return view.rng.choice([way, steepest, rises])(view)


def _course(view: View) -> tuple[int, list[int]]:
    """Draw a column without gaps."""
    columns = [
        column for column in range(len(view.table.columns)) if len(view.known(column)) == len(view.table.rows) > 3
    ]
    if not columns:
        raise Unaskable
    return view.rng.choice(columns), list(range(len(view.table.rows)))


def way(view: View) -> Question:
    """Ask whether the values rose, fell or stayed the same between two points in time."""
    table, (column, rows) = view.table, _course(view)
    first, last = sorted(view.rng.sample(rows, 2))
    before, after = view.value(first, column), view.value(last, column)
    answer = WAYS[0] if after > before else WAYS[1] if after < before else WAYS[2]
    text = (
        f"Comparing {table.rows[last]} with {table.rows[first]}, did the {view.noun(column)} rise, fall or stay "
        "the same? Answer with: rise, fall, or stay the same."
    )
    steps = [
        view.read(first, column),
        view.read(last, column),
        (f"{view.say(before)} to {view.say(after)}: {answer}.", []),
    ]
    return Question(text, answer, "text", steps, [item for item in WAYS if item != answer], choices=list(WAYS))


def steepest(view: View) -> Question:
    """Ask when the largest rise or fall from one point in time to the next ended."""
    table, (column, rows) = view.table, _course(view)
    up = view.rng.random() < 0.6
    values = [view.value(row, column) for row in rows]
    moves = [(after - before) * (1 if up else -1) for before, after in itertools.pairwise(values)]
    order = sorted(range(len(moves)), key=lambda place: -moves[place])
    if moves[order[0]] <= 0 or moves[order[0]] == moves[order[1]]:
        raise Unaskable
    end = order[0] + 1
    word = "rise" if up else "fall"
    shows = f"shows the largest {word} of the {view.noun(column)} compared with the {table.row_noun} shown before it"
    text = f"Which {table.row_noun} {shows}?"
    steps = [view.read(row, column) for row in rows]
    listed = "; ".join(
        f"{table.rows[place + 1]}: {view.say(moves[place] * (1 if up else -1))}" for place in range(len(moves))
    )
    steps.append((f"Changes: {listed}.", []))
    steps.append((f"So the largest {word} is that of {table.rows[end]}.", view.look(end, column)))
    return view.row_label(text, end, steps, [place + 1 for place in order[1:]])


def rises(view: View) -> Question:
    """Ask how often the values rose from one point in time to the next."""
    table, (column, rows) = view.table, _course(view)
    values = [view.value(row, column) for row in rows]
    count = sum(after > before for before, after in itertools.pairwise(values))
    text = f"How many times was the {view.noun(column)} higher than {_before(table.row_noun)}?"
    steps = [view.read(row, column) for row in rows]
    ups = [table.rows[place + 1] for place in range(len(values) - 1) if values[place + 1] > values[place]]
    steps.append((f"It rose to {', '.join(ups) or 'none'}; that is {count}.", []))
    return counted(view, text, count, len(rows) - 1, steps)


def _before(noun: str) -> str:
    return f"{'on' if noun == 'day' else 'in'} the {noun} shown before"
