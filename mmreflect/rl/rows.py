"""A row: one rollout with what the update needs, and its form on disk.

Advantages, behaviour log-probs and SFT weights are per token, so that one rollout can be judged in stages.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mmreflect.records import Author, Floats, Group, Rollout, Sample, Stop, Stretch, media_from_json

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(slots=True, eq=False)
class Row:
    """One rollout to train on.

    Attributes:
        advantages_T: 0 on the tokens that the policy gradient is not taken on.
        old_logps_T: log-probs under the policy that wrote it; None: captured from the update's own forward, which is
            that policy while a row is used for the first time.
        sft_weights_T: weights of the auxiliary supervised term, or None.
        group: names the group within its round.
        magnitude: the largest |A| of its tokens.
    """

    sample: Sample
    rollout: Rollout
    advantages_T: Floats
    old_logps_T: Floats | None = None
    sft_weights_T: Floats | None = None
    group: str = ""
    magnitude: float = field(init=False)

    def weighted(self, weight: float) -> "Row":
        """Return a copy of this row with its advantages scaled."""
        import numpy as np

        return replace(self, advantages_T=self.advantages_T * np.float32(weight))

    def __post_init__(self) -> None:
        """Note the magnitude once: selections ask for it again and again."""
        self.magnitude = float(abs(self.advantages_T).max(initial=0.0))

    @property
    def policy_mask_T(self) -> "npt.NDArray[np.bool_]":
        """True on the tokens that the policy gradient is taken on."""
        return policy_mask(self.rollout)


@dataclass(frozen=True, slots=True)
class Piece:
    """One sequence of a row: the whole row, or a part of it where its episode started afresh."""

    row: Row
    stretch: Stretch

    @property
    def token_ids(self) -> list[int]:
        """The tokens after the prompt."""
        return self.row.rollout.token_ids[self.stretch.start : self.stretch.end]

    def cut(self, values_T: Any) -> Any:
        """Return the piece's part of something that is per token of the row."""
        return values_T[self.stretch.start : self.stretch.end]


def pieces_of(rows: Sequence[Row]) -> list[Piece]:
    """Return the sequences of rows in order; a stretch without tokens is none."""
    return [Piece(row, part) for row in rows for part in row.rollout.stretches() if part.end > part.start]


def policy_mask(rollout: Rollout) -> "npt.NDArray[np.bool_]":
    """Return (T,): true on the tokens that the policy gradient is taken on.

    Those that the model wrote, and forced words too where a stage says so (VL-Rethinker's code does not mask triggers).
    """
    authors = [Author.MODEL, Author.FORCED] if rollout.facts.get("train_forced") else [Author.MODEL]
    return rollout.author_mask(*authors)


def rows_of(groups: Sequence[Group], advantage: Callable[[Group], list[Floats]]) -> list[Row]:
    """Turn scored groups into rows, in order; rollouts that failed are left out."""
    return [
        Row(
            group.sample,
            rollout,
            advantages_T,
            sft_weights_T=_sft_weights(rollout, advantages_T),
            group=f"{group.id}/{group.context}",
        )
        for group in groups
        for rollout, advantages_T in zip(group.rollouts, advantage(group), strict=True)
        if rollout.stop is not Stop.ERROR
    ]


def _sft_weights(rollout: Rollout, advantages_T: Floats) -> Floats | None:
    """Return the weights of the supervised term on the span a stage marked, for rollouts better than their group."""
    span = rollout.facts.get("sft_span")
    if span is None or advantages_T.max(initial=0.0) <= 0:
        return None
    import numpy as np

    weights_T = np.zeros(len(rollout.token_ids), np.float32)
    weights_T[span[0] : span[1]] = 1.0
    return weights_T * rollout.author_mask(Author.MODEL, Author.FORCED)


_ARRAYS = ("advantages_T", "old_logps_T", "sft_weights_T")


def pack_rows(rows: Sequence[Row]) -> tuple[list[dict[str, Any]], dict[str, Floats]]:
    """Return rows as plain records and float arrays, for JSON and `.npz`; a row that stands twice is kept once.

    Returns:
        Records (each with the place of its twin where it has one) and arrays named `<place>/<field>`.
    """
    places: dict[int, int] = {}
    records: list[dict[str, Any]] = []
    arrays: dict[str, Floats] = {}
    for place, row in enumerate(rows):
        twin = places.setdefault(id(row), place)
        if twin != place:
            records.append({"twin": twin})
            continue
        sample = asdict(row.sample)
        records.append({"sample": sample, "rollout": row.rollout.to_json(), "group": row.group})
        arrays |= {f"{place}/{name}": value for name in _ARRAYS if (value := getattr(row, name)) is not None}
    return records, arrays


def unpack_rows(records: Sequence[dict[str, Any]], arrays: dict[str, Floats]) -> list[Row]:
    """Rebuild rows from `pack_rows`; twins become one object again."""
    rows: list[Row] = []
    for place, record in enumerate(records):
        if "twin" in record:
            rows.append(rows[record["twin"]])
            continue
        sample = Sample(**{**record["sample"], "media": [media_from_json(item) for item in record["sample"]["media"]]})
        loaded = {name: arrays.get(f"{place}/{name}") for name in _ARRAYS}
        rollout = Rollout.from_json(record["rollout"])
        rows.append(Row(sample, rollout, group=record["group"], **loaded))  # type: ignore[arg-type]
    return rows
