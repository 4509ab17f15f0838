"""Putting the shards of an evaluation together: what came of `shard=1/4` to `shard=4/4` becomes one result.

mmreflect eval merge OUT SHARD SHARD ...
"""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmreflect import console
from mmreflect.config import Tree, differences, load_yaml, parse
from mmreflect.errors import UserError
from mmreflect.evaluation import contract as contracts
from mmreflect.evaluation.benchmark import Benchmark
from mmreflect.evaluation.benchmarking import BenchmarkConfig, question_terms
from mmreflect.evaluation.contract import media_of_all
from mmreflect.evaluation.scoring import score_answers
from mmreflect.files import read_json, read_jsonl, write_jsonl
from mmreflect.runs import Run, open_run, run_at


@dataclass(frozen=True, slots=True)
class Shard:
    """A finished shard: `number` of `total`."""

    path: Path
    name: str
    number: int
    total: int
    config: Tree
    result: dict[str, Any]
    inputs: dict[str, str]

    @property
    def shared(self) -> Tree:
        """The configuration without what tells shards apart."""
        release = {key: value for key, value in self.config["release"].items() if key != "shard"}
        return {**{key: value for key, value in self.config.items() if key != "output"}, "release": release}


def shard_names(folders: Sequence[str]) -> str:
    """Return the benchmark's name of the first folder, which its leaf is found by.

    Raises:
        UserError: no folder is named, or it holds no finished shard.
    """
    if len(folders) < 2:
        raise UserError(f"{len(folders)} shards are named", "the output folders of all shards", "name them behind OUT")
    return read_shard(folders[0]).name


def read_shard(folder: str) -> Shard:
    """Read the folder of a finished shard.

    Raises:
        UserError: it holds none, or one that is not finished.
    """
    run = run_at(Path(folder))
    config = load_yaml(run.path / "config.yaml")
    shard = (config.get("release") or {}).get("shard")
    if run.verb != "eval" or not shard:
        raise UserError(f"{folder} holds no shard", "a run of mmreflect eval with release.shard=1/4", "check the path")
    if run.result is None:
        raise UserError(f"the shard in {folder} is not finished", "a finished one", "start it again; it goes on")
    number, total = (int(word) for word in shard.split("/"))
    return Shard(run.path, run.name, number, total, config, run.result, read_json(run.path / "run.json")["inputs"])


def merge_shards(benchmark: Benchmark, output: str, folders: Sequence[str]) -> Run:
    """Score the answers of all shards as one evaluation and write its folder, as a run without shards leaves it.

    Raises:
        UserError: a shard is missing, stands twice, or was made in another way: the keys that differ are named.
    """
    shards = sorted((read_shard(folder) for folder in folders), key=lambda shard: shard.number)
    _check_whole(shards)
    first = shards[0]
    tree = {**first.shared, "output": output, "release": {**first.shared["release"], "shard": None}}
    run = open_run(output, "eval", first.name, tree, first.inputs)
    config = parse(BenchmarkConfig, {key: value for key, value in tree.items() if key != "benchmark"}, output)
    records = _interleaved([list(read_jsonl(shard.path / "samples.jsonl")) for shard in shards])
    rows = _interleaved([list(read_jsonl(shard.path / "responses.jsonl")) for shard in shards])
    write_jsonl(run.path / "samples.jsonl", records)
    scored = score_answers(benchmark, config.settings, _aligned(rows, records), records, run.path, config.judge)
    aside = [item for shard in shards for item in _aside(shard.path)]
    if aside:
        write_jsonl(run.path / "set_aside.jsonl", aside)
    scored["counts"] = {"set_aside": len(aside)} | scored["counts"]
    videos = sum((Counter(shard.result.get("videos", {})) for shard in shards), Counter[str]())
    scored |= {"videos": dict(sorted(videos.items()))} if videos else {}
    seconds = sum(shard.result["seconds"] for shard in shards)
    run.finish({**scored, "contract": _contract(shards, records), "shards": len(shards), "seconds": seconds})
    console.say(f"{len(shards)} shards, {console.count(len(records), 'answer')}: {output}")
    return run


def _check_whole(shards: Sequence[Shard]) -> None:
    total, first = shards[0].total, shards[0]
    numbers = [shard.number for shard in shards]
    if any(shard.total != total for shard in shards) or numbers != list(range(1, total + 1)):
        given = ", ".join(f"{shard.number}/{shard.total}" for shard in shards)
        raise UserError(f"shards {given} are given", f"1/{total} to {total}/{total}, each once", "name all of them")
    for shard in shards[1:]:
        changed = differences(first.shared, shard.shared)
        if shard.name != first.name:
            changed.insert(0, f"benchmark: {first.name} -> {shard.name}")
        changed += [
            f"{key}: another one" for key, value in shard.inputs.items() if first.inputs.get(key, value) != value
        ]
        changed += [item for item in _term_differences(first, shard) if item not in changed]
        if changed:
            shown = "".join(f"\n    {item}" for item in changed)
            raise UserError(
                f"{first.path} and {shard.path} are no shards of one evaluation; they differ in:{shown}",
                "shards that differ in release.shard and output alone",
                "make them in the same way",
            )


def _term_differences(one: Shard, other: Shard) -> list[str]:
    """Return where the contracts differ beside the questions, and the versions of what scored them among that."""
    return contracts.differences(_without_questions(one), _without_questions(other))


def _without_questions(shard: Shard) -> dict[str, Any]:
    terms = dict(shard.result["contract"])
    own = {key: value for key, value in terms["benchmark"].items() if key not in ("questions", "asked", "media")}
    return {**terms, "benchmark": own}


def _contract(shards: Sequence[Shard], records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the contract of the whole: that of a shard, over all questions."""
    terms = {key: value for key, value in shards[0].result["contract"].items() if key != "hash"}
    media = [shard.result["contract"]["benchmark"]["media"] for shard in shards]
    terms["benchmark"] = {**terms["benchmark"], **question_terms(records), "media": media_of_all(media)}
    return contracts.Contract(**terms).to_json()


def _interleaved(parts: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return the rows in the order of the whole: shards take turns, all draws of a question staying together.

    Where questions were set aside, the turns after them are earlier than in an evaluation without shards.
    """
    grouped = [[list(rows) for _, rows in itertools.groupby(part, key=lambda row: row["id"])] for part in parts]
    turns = itertools.zip_longest(*grouped, fillvalue=[])
    return [row for turn in turns for rows in turn for row in rows]


def _aligned(rows: Sequence[dict[str, Any]], records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for every record; an answer that could not be asked for has none, and gets an empty one."""
    known = {(str(row["id"]), row["draw"]): row for row in rows}
    empty: dict[str, Any] = {"response": None}
    return [
        known.get((str(record["id"]), record["draw"]), {**empty, "id": record["id"], "draw": record["draw"]})
        for record in records
    ]


def _aside(folder: Path) -> list[dict[str, Any]]:
    file = folder / "set_aside.jsonl"
    return list(read_jsonl(file)) if file.is_file() else []
