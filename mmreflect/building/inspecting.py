"""Looking over the rows of a shard while it is built: what is not fit is rejected, what is gets its mark."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmreflect.building.builder import Rejected
from mmreflect.building.examples import Example
from mmreflect.config import parse, to_tree
from mmreflect.data.store import Row, split_response
from mmreflect.errors import UserError, unknown_name
from mmreflect.files import read_json, read_jsonl, write_json, write_jsonl
from mmreflect.quality.checks import CHECKS, EXEMPTIBLE, Texts, check_row
from mmreflect.quality.config import QualityConfig
from mmreflect.quality.marks import Mark, asked_text, mark_from_json, mark_of, mark_to_json
from mmreflect.records import text_of

ASKED = Path("marks/asked.json")
EVERY = "*"
REPEATING = "repeats"
Exempt = Mapping[str, Collection[str]]


def exemptions(builder: Any) -> Exempt:
    """Return what a leaf says makes no sense for its rows, by their kind.

    Raises:
        UserError: it names a check that there is not, or one that is always made.
    """
    found: Exempt = getattr(builder, "EXEMPT", {})
    allowed = [*EXEMPTIBLE, REPEATING]
    for names in found.values():
        for name in names:
            if name not in allowed:
                raise unknown_name("check in EXEMPT", name, allowed)
    return found


def write_asked(folder: Path, builder: Any, config: QualityConfig) -> None:
    """Write down what is asked of the rows of a dataset, for whoever builds its shards, in whichever process."""
    exempt = {kind: sorted(names) for kind, names in exemptions(builder).items()}
    write_json(folder / ASKED, {"quality": to_tree(config), "exempt": exempt})


class Inspector:
    """Looks over the rows of one shard."""

    def __init__(self, config: QualityConfig, exempt: Exempt) -> None:
        self._config, self._exempt = config, exempt
        self._marks: list[Mark] = []
        self._states: dict[str, Counter[str]] = {}
        self._dropped = Counter[str]()

    @classmethod
    def of(cls, folder: Path) -> "Inspector":
        """Return one that asks what was written down for a dataset.

        Raises:
            UserError: the folder was not begun by a build.
        """
        if not (folder / ASKED).is_file():
            raise UserError(
                f"{folder} does not say what is asked of its rows", f"{ASKED}, which mmreflect build writes", "build it"
            )
        asked = read_json(folder / ASKED)
        return cls(parse(QualityConfig, asked["quality"], str(folder / ASKED)), asked["exempt"])

    def check(self, example: Example) -> None:
        """Check a row by itself.

        Raises:
            UserError: it is no conversation.
            Rejected: it does not keep to what is asked for; the first failure is the reason, the others stand beside.
        """
        prompt, response = split_response(example.messages, example.id)
        texts = Texts(
            question=asked_text(prompt),
            response=response,
            gold=example.answer,
            facts=example.facts,
            rejected=example.rejected,
            name=example.id,
            system="\n".join(text_of(turn["content"]) for turn in prompt if turn["role"] == "system"),
        )
        exempt = self._exempt_of(example.facts) | set(example.exempt)
        found = check_row(texts, self._config, exempt)
        for finding in found:
            self._count(finding.check, finding.state)
        for check in sorted(exempt & set(CHECKS)):
            self._count(check, "exempt")
        failed = [finding for finding in found if finding.state == "failed"]
        if failed:
            self._dropped[failed[0].reason] += 1
            facts = dict(failed[0].facts)
            if failed[1:]:
                facts["also"] = [finding.reason for finding in failed[1:]]
            raise Rejected(failed[0].reason, **facts)

    def mark(self, row: Row, folder: Path, place: int) -> None:
        """Mark a row that was stored."""
        if self._config.compares:
            exempt = REPEATING in self._exempt_of(row["facts"])
            self._marks.append(mark_of(row, folder, place, sketches=self._config.sketches, exempt=exempt))

    def write(self, path: Path) -> None:
        """Write marks and counts, atomically."""
        states = {check: dict(sorted(self._states[check].items())) for check in CHECKS if check in self._states}
        counts = {"checks": states, "dropped": dict(sorted(self._dropped.items()))}
        write_jsonl(path, [counts, *(mark_to_json(mark) for mark in self._marks)])

    def _exempt_of(self, facts: Mapping[str, Any]) -> set[str]:
        return {*self._exempt.get(EVERY, ()), *self._exempt.get(str(facts.get("kind")), ())}

    def _count(self, check: str, state: str) -> None:
        self._states.setdefault(check, Counter())[state] += 1


def marks_file(folder: Path, split: str, number: int | str) -> Path:
    """Return where the marks of a shard lie."""
    return folder / "marks" / f"{split}-{number:0>5}.jsonl"


def read_marks(file: Path) -> tuple[dict[str, Any], Iterator[Mark]]:
    """Return the counts of a shard's checks, and its marks."""
    lines = read_jsonl(file)
    return next(lines), (mark_from_json(line) for line in lines)
