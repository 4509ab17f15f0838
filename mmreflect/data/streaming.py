"""Samples of a set that does not fit into memory: read, and checked, when their turn comes."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, overload

from mmreflect import console
from mmreflect.data.index import index_of
from mmreflect.data.loading import DataConfig, Quarantined, check_row
from mmreflect.data.store import open_dataset, sample_from_row
from mmreflect.errors import UserError
from mmreflect.files import append_jsonl, read_jsonl
from mmreflect.media.reader import use_reader
from mmreflect.records import Sample
from mmreflect.seeds import python_rng

_UNKNOWN, _SOUND, _BAD = 0, 1, 2
TOLD = 3
"""Bad samples that are printed; all of them are in the report."""
STAND_INS = 100


class SampleStream(Sequence[Sample]):
    """The samples of a split, of which nothing is held but nine bytes a row.

    A place is a row of the split, whatever is wrong with others, so that the order of a training depends on seed, epoch
    and the number of rows alone. The turn of a bad row is taken by another one, always the same, drawn by its place;
    the bad one is counted and named. No id may stand twice; the build has checked that.

    Args:
        report: JSONL that bad samples are appended to as they are met. A run that goes on keeps what it holds.
        need: what every sample must have, as in `load_samples`.

    Raises:
        UserError: there is no such dataset or split, or it is empty.
    """

    def __init__(self, data: DataConfig, report: Path | None, *, need: Literal["answer", "response"] | None) -> None:
        use_reader(data.reader)
        self._data, self._report, self._need = data, report, need
        self._rows, self._folder = index_of(data.path, data.split), open_dataset(data.path).path
        self._count = min(len(self._rows), data.limit or len(self._rows))
        if not self._count:
            raise UserError(
                f"split {data.split!r} of {data.path} is empty", "at least one row", "build it with more rows"
            )
        self._known = bytearray(self._count)
        self._guard: Callable[[Sample], str | None] = lambda sample: None
        self.bad: list[Quarantined] = []
        self._take_up()

    def _take_up(self) -> None:
        """Take back the bad samples that an earlier start of this run has met; a new run begins a new report."""
        if self._report is None or not self._report.is_file():
            return
        if not (self._report.parent / "checkpoints").is_dir():
            self._report.unlink()
            return
        for row in read_jsonl(self._report):
            if row.get("row", self._count) < self._count and self._known[row["row"]] != _BAD:
                self._known[row["row"]] = _BAD
                self.bad.append(Quarantined(row["id"], row["reason"]))

    def guard_with(self, guard: Callable[[Sample], str | None]) -> None:
        """Set what else a sample must pass when its turn comes; it returns what is wrong, or None."""
        self._guard = guard

    def __len__(self) -> int:
        """Return how many rows there are, bad ones included."""
        return self._count

    @overload
    def __getitem__(self, place: int) -> Sample: ...

    @overload
    def __getitem__(self, place: slice) -> list[Sample]: ...

    def __getitem__(self, place: int | slice) -> Sample | list[Sample]:
        """Return the sample of a place, or the one that stands in for it.

        Raises:
            IndexError: there is no such place.
            UserError: more samples are bad than `data.tolerate` allows.
        """
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(self._count))]
        place = place + self._count if place < 0 else int(place)
        if not 0 <= place < self._count:
            raise IndexError(f"sample {place} of {self._count}")
        for attempt in range(STAND_INS):
            own = place if attempt == 0 else python_rng("stands in", place, attempt).randrange(self._count)
            sample = self.look(own)
            if sample is not None:
                return sample
        raise self._too_many()

    def look(self, place: int) -> Sample | None:
        """Return the sample of a row, checked if it was not before; None where it is bad.

        Raises:
            UserError: it is one bad sample too many.
        """
        if self._known[place] == _BAD:
            return None
        try:
            row = self._rows[place]
        except UserError as error:
            self._found_bad(place, Quarantined(f"row {place}", error.given))
            return None
        if self._known[place] == _SOUND:
            return sample_from_row(row, self._folder)
        checked = check_row(row, self._folder, self._data.check, self._need)
        if isinstance(checked, Sample):
            problem = self._guard(checked)
            if problem is None:
                self._known[place] = _SOUND
                return checked
            checked = Quarantined(checked.id, problem)
        self._found_bad(place, checked)
        return None

    def texts(self, most: int) -> Iterator[str]:
        """Yield question and answer of the first rows as they stand, for a tiny model's tokenizer."""
        for place in range(min(most, self._count)):
            try:
                sample = sample_from_row(self._rows[place], self._folder)
            except UserError:
                continue  # it is named when its turn comes
            yield f"{sample.question} {sample.response or sample.gold}"

    def left_out(self) -> int:
        """Return how many bad samples were met, by other processes of this run as well."""
        if self._report is None or not self._report.is_file():
            return len(self.bad)
        return len({row.get("row") for row in read_jsonl(self._report)})

    def _found_bad(self, place: int, bad: Quarantined) -> None:
        self._known[place] = _BAD
        self.bad.append(bad)
        if self._report is not None:
            append_jsonl(self._report, [{"id": bad.id, "reason": bad.reason, "row": place}])
        if len(self.bad) <= TOLD:
            console.say(f"[yellow]left out a bad sample[/] {bad.id}: {bad.reason}")
        if len(self.bad) > self._data.tolerate * self._count or len(self.bad) == self._count:
            raise self._too_many()

    def _too_many(self) -> UserError:
        data, first = self._data, "".join(f"\n    {item.id}: {item.reason}" for item in self.bad[:TOLD])
        return UserError(
            f"{len(self.bad)} of {self._count} samples of {data.path} ({data.split}) are bad so far; the first:{first}",
            f"at most {data.tolerate:.1%} bad (data.tolerate)",
            "repair or remove them, or raise data.tolerate",
        )
