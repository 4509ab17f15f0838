import pytest

from mmreflect.reflection.ledger import Entry, entry, ledger, ledger_from_json


def answer(first: str, final: str) -> str:
    return f"<think>t</think><answer>{first}</answer><reflection>looks right</reflection><answer>{final}</answer>"


def test_entry_reads_first_and_final() -> None:
    read = entry(answer("2", "3"), "3", tokens=20)
    assert (read.first, read.final, read.first_correct, read.final_correct) == ("2", "3", False, True)
    assert read.fixed and not read.harmed and read.corrective and read.reflected


def test_entry_without_reflection_or_answer() -> None:
    plain = entry("<answer>3</answer>", "3", tokens=4)
    assert not plain.reflected and not plain.corrective and plain.tokens_first == 4
    nothing = entry("<answer></answer>", "3", tokens=2)
    assert nothing.final is None and nothing.final_correct is False and nothing.tokens_first == 2


def test_tokens_up_to_the_first_answer_from_prefixes() -> None:
    text = "ab<answer>3</answer>cd"
    assert entry(text, "3", tokens=6, prefix_tokens=[2, 10, 11, 20, 21, 22]).tokens_first == 4


def make(first: bool | None, final: bool | None, tokens: int = 10) -> Entry:
    return Entry("a", "b", first, final, True, first != final, tokens, 4)


def test_rates_by_hand() -> None:
    """4 answers: wrong->right, wrong->wrong, right->wrong, right->right."""
    table = ledger([make(False, True), make(False, False), make(True, False), make(True, True), make(None, None)])
    assert (table.n, table.ungraded, table.fixed, table.harmed) == (5, 1, 1, 1)
    assert table.first_accuracy.value == table.final_accuracy.value == 0.5
    assert table.fix_rate.value == 0.5 and table.harm_rate.value == 0.5 and table.gain.value == 0
    assert table.tokens_first.value == 4 and table.tokens_after.value == 6 and table.tokens_per_point is None


def test_tokens_per_point_gained() -> None:
    table = ledger([make(False, True), make(False, False)])
    assert table.gain.value == 0.5 and table.tokens_per_point == pytest.approx(6 / 50)


def test_nothing_wrong_at_first_has_no_fix_rate() -> None:
    table = ledger([make(True, True)])
    assert table.fix_rate.value is None and table.harm_rate.value == 0


def test_empty_ledger() -> None:
    assert ledger([]).final_accuracy.value is None


def test_intervals_hold_the_value_and_are_seeded() -> None:
    entries = [make(index % 3 == 0, index % 2 == 0) for index in range(200)]
    table, again = ledger(entries), ledger(entries)
    assert table == again
    rate = table.final_accuracy
    assert rate.low is not None and rate.low < 0.5 < rate.high  # type: ignore[operator]
    assert rate.high - rate.low == pytest.approx(2 * 1.96 * (0.25 / 200) ** 0.5, rel=0.1)  # type: ignore[operator]


def test_json_round_trip() -> None:
    table = ledger([make(False, True), make(True, True)])
    assert ledger_from_json(table.to_json()) == table
