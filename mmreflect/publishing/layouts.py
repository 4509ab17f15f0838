"""What an exported folder is made of, and where its media lie."""

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmreflect import console
from mmreflect.data.store import Dataset
from mmreflect.data.survey import SplitSurvey
from mmreflect.errors import UserError
from mmreflect.publishing.conversations import Conversation, Shape


@dataclass(slots=True)
class Exported:
    """What a format wrote.

    Attributes:
        rows: how many rows each split has; a split without any is not there.
        shapes: what each of them trains.
        files: the data files of each split, relative to the folder.
        left_out: rows that the layout cannot hold, by split and reason.
        usage: lines that say how the other tool takes it, for the card.
        unmasked: rows that say which characters of their target shall not be learnt (`facts.error_prefix`), as our own
            trainer obeys: no other one does.
    """

    rows: dict[str, int] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(default_factory=dict)
    files: dict[str, list[str]] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    usage: list[str] = field(default_factory=list)
    unmasked: int = 0

    def see_mask(self, row: Conversation, shape: Shape) -> None:
        """Count a row that is written, where its mask is lost."""
        self.unmasked += shape == "sft" and bool(row.facts.get("error_prefix"))

    def lost_masks(self) -> str:
        """Say what becomes of the rows with a mask; nothing where there are none."""
        if not self.unmasked:
            return ""
        return (
            f"{console.count(self.unmasked, 'row')} with a wrong attempt that our trainer puts no loss on "
            "(`facts.error_prefix`); whoever trains on this folder learns it as well"
        )


@dataclass(frozen=True, slots=True)
class Source:
    """A dataset whose shards were checked, with what is in it."""

    dataset: Dataset
    splits: Sequence[SplitSurvey]

    def shards(self, split: str) -> list[str]:
        """Return the files of a split."""
        return [str(shard["file"]) for shard in self.dataset.manifest["splits"][split]["shards"]]


class Shelf:
    """Brings media into an exported folder, each file once, under the path that it has in the dataset.

    Args:
        link: make links to the dataset's files in place of copies.
    """

    def __init__(self, source: Path, target: Path, link: bool) -> None:
        self._source, self._target, self._link = source.resolve(), target, link
        self._there: set[str] = set()

    def bring(self, row: Conversation) -> None:
        """Bring the media of a row.

        Raises:
            UserError: a file is missing.
        """
        for path in [*row.images, *row.videos]:
            if path in self._there:
                continue
            found = medium(self._source, row.id, path)
            target = self._target / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if self._link:
                target.symlink_to(found.absolute())
            else:
                shutil.copyfile(found, target)
            self._there.add(path)


def medium(folder: Path, row: str, path: str) -> Path:
    """Return where a row's medium lies.

    Raises:
        UserError: it is missing.
    """
    found = folder / path
    if not found.is_file():
        raise UserError(
            f"row {row!r} shows {path}, which is missing in {folder}", "the dataset with its media", "restore the file"
        )
    return found
