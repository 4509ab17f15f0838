"""Your own questions as a dataset: a JSONL file and its pictures, checked, copied and split.

    mmreflect build configs/build/rows.yaml source=questions.jsonl

A row is `{"id", "messages", "images", "videos", "answer", "facts"}`, or the short form
`{"question", "images", "answer", "response", "system", "history"}`. Rows as LLaVA, Qwen2-VL's fine-tuning,
LLaMA-Factory and ms-swift write them are read too: `conversations` of `from` and `value`, one `image`, and `<image>` in
plain text where a picture stands. Bad rows are quarantined with their reason, and so are those that say what is not
read (`mmreflect.data.columns`). ShareGPT's roles, human and gpt, are user and assistant; other ones are refused.
"""

import functools
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from mmreflect.answers.lists import reference_text
from mmreflect.building import Example, Rejected
from mmreflect.config import config as config_class
from mmreflect.data.columns import check_opinions, check_taken, plain_text, whole, whole_question
from mmreflect.data.conversations import in_parts, our_turns, said_turns, text_in, with_media, with_our_names
from mmreflect.data.fingerprint import digest_of_video
from mmreflect.data.store import Row, shown, split_response, try_rows
from mmreflect.errors import UserError
from mmreflect.files import content_mark, problem_of_name


@config_class
class Config:
    """What to build.

    Attributes:
        source: a JSONL file; media paths are relative to its folder.
        validation: share of the questions that becomes the validation split, at least one row when above 0. Rows that
            ask the same or begin with the same question, whatever their system turns, or show one picture or video,
            stay in one split; the plan says what that leaves.
    """

    output: str
    source: str
    seed: int = 0
    validation: Annotated[float, Field(ge=0, lt=1)] = 0.05
    shard_rows: Annotated[int, Field(gt=0)] = 1000


def inputs(config: Config) -> dict[str, str]:
    """Return what the dataset is made from, so that a changed source is another dataset."""
    return {"source": content_mark(config.source)}


def splits(config: Config) -> dict[str, int]:
    """Return how many rows each split has."""
    return {
        split: len(rows) for split, rows in _split_rows(config.source, config.seed, config.validation).parts.items()
    }


def make(config: Config, split: str, index: int) -> Example:
    """Turn one source row into an example.

    Raises:
        UserError: the line is no JSON object, the row misses a key or has no question, or its id stands before.
    """
    place, row = _split_rows(config.source, config.seed, config.validation).parts[split][index]
    if isinstance(row, UserError):
        raise row
    try:
        return _example(row, place, Path(config.source).parent)
    except UserError as error:
        raise _rejected(error, row, place) from None


def _rejected(error: UserError, row: Row, place: int) -> Rejected:
    why = Rejected.of(error, _id(row, place))
    return Rejected(why.given, **({"do": error.do} if error.do else {}), **why.facts)


def _example(row: Row, place: int, folder: Path) -> Example:
    images, videos = _paths(row, "images", folder), _paths(row, "videos", folder)
    turns = with_media(_turns(row, place), {"image": len(images), "video": len(videos)})
    messages = turns if row.get("messages") else [in_parts(turn) for turn in turns]
    facts = row.get("facts") or {}
    if not isinstance(facts, dict):
        raise UserError(f"row {place}: facts is no mapping ({shown(facts)})", "a mapping", "fix the row")
    answer = reference_text(row.get("answer"))
    return Example(id=_id(row, place), messages=messages, images=images, videos=videos, answer=answer, facts=facts)


def _id(row: Row, place: int) -> str:
    return f"row-{place:06}" if row.get("id") is None else str(row["id"])


def describe(config: Config) -> dict[str, str]:
    """Say in the plan where the validation split is not what was asked for, as what belongs together stays so."""
    split = _split_rows(config.source, config.seed, config.validation)
    held, total = len(split.parts.get("validation", ())), sum(map(len, split.parts.values()))
    wanted = _wanted(total, config.validation)
    if split.leak and held:
        return {"validation": f"{held:,} rows, {split.leak}"}
    if held == wanted:
        return {}
    return {"validation": f"{held:,} for {wanted:,} rows: those that ask or show the same stay in one split"}


Place = tuple[int, Row | UserError]
_MEDIA = "which show what train shows: all rows share pictures or videos"
_OPENING = "which may begin as train's do: their first questions join all rows"
_QUESTION = "which ask what train asks: all rows do, and their system turns alone tell them apart"


@dataclass(frozen=True, slots=True)
class _Split:
    """The rows of each split; `leak`: what rows of different splits have in common, as all rows have it; else empty."""

    parts: dict[str, list[Place]]
    leak: str


def _wanted(rows: int, validation: float) -> int:
    return max(1, round(rows * validation)) if validation else 0


@functools.lru_cache(maxsize=4)
def _split_rows(source: str, seed: int, validation: float) -> _Split:
    """Split the rows; rows that ask or begin with the same, with the same media, or show one medium, stay together."""
    rows = list(enumerate(_unique(_read(source))))
    if not rows:
        raise UserError(f"{source} holds no rows", "at least one JSON object per line", "check the file")
    wanted = _wanted(len(rows), validation)
    sound, ways = _ways(rows, Path(source).parent)
    keys, leak = next((way for way in ways if len({way[0][place] for place in sound}) > 1), ways[0])
    sizes = Counter(keys.values())
    candidates = sorted(
        {keys[place] for place in sound}, key=lambda key: hashlib.sha256(f"{seed}/{key}".encode()).digest()
    )
    held_out, held = set[str](), 0
    for key in candidates[:-1]:  # the last one stays in train, which must not be empty
        if sizes[key] < 2 * (wanted - held):  # nearer to what is wanted than without it
            held_out.add(key)
            held += sizes[key]
    if wanted and not held_out and len(candidates) > 1:
        held_out.add(min(candidates, key=sizes.__getitem__))
    parts = {
        "train": [row for row in rows if keys[row[0]] not in held_out],
        "validation": [row for row in rows if keys[row[0]] in held_out],
    }
    return _Split({split: part for split, part in parts.items() if part}, leak)


def _read(source: str) -> Iterator[Row | UserError]:
    """Read the rows, with their names made ours; of a file that is one JSON array, as LLaVA's, its items."""
    for place, row in enumerate(_array(Path(source)) or try_rows(Path(source))):
        if isinstance(row, UserError):
            yield row
            continue
        try:
            yield with_our_names(row)
        except UserError as error:
            yield _rejected(error, row, place)


def _array(path: Path) -> list[Row | UserError] | None:
    if not path.is_file() or not path.read_bytes()[:1000].lstrip().startswith(b"["):
        return None
    try:
        items = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return None  # lines that are told one by one
    return [item if isinstance(item, dict) else _no_row(item) for item in items]


def _no_row(item: Any) -> UserError:
    return UserError(f"an item is no row ({shown(item)})", "a mapping", "fix the item")


def _ways(rows: Iterable[Place], folder: Path) -> tuple[list[int], list[tuple[dict[int, str], str]]]:
    """Return the places of the rows that can be read, and ways to keep rows together, each with what it lets leak.

    A way is a group's name for every place. The first keeps together what asks or begins with the same, or shows one
    picture or video; each further one less, for rows that are all one group otherwise.
    """
    digests = dict[tuple[str, str], bytes]()
    sound, asked, told, links = [], dict[int, str](), dict[int, str](), dict[int, list[str]]()
    openings = dict[int, list[str]]()
    for place, row in rows:
        shown = [] if isinstance(row, UserError) else _media_of(row, folder, digests)
        texts = _texts(row, place)
        sound += [] if texts is None else [place]
        known = [("user", f"{place}")] if texts is None else texts  # a row that is refused is a question of its own
        questions = [each for each in known if each[0] == "user"]
        asked[place], told[place] = _digest(questions, shown), _digest(known, shown)
        links[place] = [f"~{medium.hex()}" for medium in shown]
        openings[place] = [*links[place], _digest(questions[:1], shown)]
    whole, media = _joined(asked, openings), _joined(asked, links)
    return sound, [(whole, ""), (media, _OPENING), (asked, _MEDIA), (told, _QUESTION)]


def _joined(own: dict[int, str], links: dict[int, list[str]]) -> dict[int, str]:
    """Return the names of groups, of which all rows have a key or a link in common."""
    joined = dict[str, str]()

    def root(key: str) -> str:
        while joined.setdefault(key, key) != key:
            joined[key] = joined[joined[key]]
            key = joined[key]
        return key

    for place, key in own.items():
        for link in links[place]:
            one, other = sorted((root(key), root(link)))  # a row's key comes before a medium's
            joined[other] = one
    return {place: root(key) for place, key in own.items()}


def _unique(rows: Iterable[Row | UserError]) -> Iterator[Row | UserError]:
    """Put an error in the place of every row whose id stands before."""
    seen: set[str] = set()
    for place, row in enumerate(rows):
        name = _id(row, place) if isinstance(row, dict) else f"line-{place}"
        twice = Rejected("an id stands more than once", id=name, expected="each id once")
        yield row if name not in seen else twice
        seen.add(name)


def _texts(row: Row | UserError, place: int) -> list[tuple[str, str]] | None:
    """Return what the user's and system turns of a row say, in whatever layout and white space; None: it is refused."""
    if isinstance(row, UserError):
        return None
    try:
        turns = [turn for turn in _turns(row, place) if isinstance(turn, dict)]
    except UserError:
        return None
    texts = [(str(turn.get("role")), plain_text(text_in(turn))) for turn in turns]
    return [each for each in texts if each[0] in ("user", "system") and each[1]]


def _digest(texts: Sequence[object], shown: Iterable[bytes]) -> str:
    digest = hashlib.sha256(repr(texts).encode(errors="surrogatepass"))
    for medium in shown:
        digest.update(medium)
    return digest.hexdigest()


def _media_of(row: Row, folder: Path, digests: dict[tuple[str, str], bytes]) -> list[bytes]:
    """Return what stands for each medium of a row: a hash of its content, or of a missing one its name."""
    items = [(kind, str(item)) for kind in ("images", "videos") for item in _listed(row.get(kind))]
    for kind, item in items:
        if (kind, item) not in digests:
            file = folder / item if _is_name(item) else folder
            if not file.is_file():
                digests[kind, item] = item.encode(errors="backslashreplace")
            elif kind == "videos":
                digests[kind, item] = digest_of_video(file)
            else:
                digests[kind, item] = hashlib.sha256(file.read_bytes()).digest()
    return [digests[item] for item in items]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _paths(row: Row, key: str, folder: Path) -> list[Path]:
    given = row.get(key) or []
    if not isinstance(given, list) or not all(isinstance(item, str) for item in given):
        raise UserError(f"{key!r} is no list of paths ({shown(given)})", "a list of paths")
    for item in given:
        if not _is_name(item):
            raise UserError(f"{key!r} holds a name that no file can have", ascii(item)[:200])
    return [folder / item for item in given]


def _is_name(path: str) -> bool:
    """Tell whether a file may have a path: where none can, systems raise instead of finding none."""
    return problem_of_name(path) is None


def _turns(row: Row, place: int) -> list[Any]:
    """Return all turns of a row, without places for its media.

    Raises:
        UserError: it has none, or a column says what is not read, or something else than the others.
    """
    turns = our_turns(row.get("messages"))
    if turns and not isinstance(turns, list):
        raise UserError(f"row {place}: messages is no list of turns ({shown(turns)})", "turns", "fix the row")
    if turns:
        check_taken(row, turns)
        split_response(said_turns(turns), str(row.get("id", place)))  # what is no turn is named before what it says
        check_opinions(row, turns := whole(turns, row))
        return said_turns(turns)
    if not isinstance(row.get("question"), str) or not row["question"].strip():
        raise UserError(f"row {place} has neither 'messages' nor a 'question'", "one of both", "add it")
    turns = whole_question(row, row)
    check_taken(row, turns)
    check_opinions(row, turns)
    return turns


if __name__ == "__main__":
    import sys

    from mmreflect.cli import main

    sys.exit(main(["build", *sys.argv[1:]]))
