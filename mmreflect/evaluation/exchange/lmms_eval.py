"""lmms-eval's result files, as its release 0.7.3 writes them (`loggers/evaluation_tracker.py`, `evaluator.py`).

MODEL/DATE_results.json         scores by task, with what was run
MODEL/DATE_samples_TASK.jsonl   a line per answer

What lmms-eval does not have stands beside its own keys: in a sample the release's fields and the whole response, so
that `mmreflect eval rescore` reads the file; in the results `mmreflect`, with intervals, label, counts and contract.
Several answers to a question are a line each, with `draw`; lmms-eval would put them into one.
"""

import hashlib
import json
import math
import re
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mmreflect import __version__, console
from mmreflect.evaluation.exchange.finished import Answer, Finished
from mmreflect.files import write_json, write_jsonl

FILTER = "none"
"""lmms-eval names the filter of a metric behind a comma; this is its name for no filter."""
_MOST_MEDIA = 4
_UNSAFE = re.compile(r"[\"<>:/\|\\?\*\[\]]+")


def write(found: Finished, output: Path, task: str, model: str) -> list[Path]:
    """Write both files and return their paths.

    Args:
        task: the name of the task; `model`: of the model, whose last two parts name the folder.
    """
    name = _UNSAFE.sub("__", "/".join(model.split("/")[-2:])).strip("_") or "model"
    date = datetime.fromtimestamp(found.when, UTC).strftime("%Y%m%d_%H%M%S")
    metric = next(iter(found.result.get("scores") or {}), "accuracy")
    left_out: set[str] = set()
    samples = [_sample(answer, metric, left_out) for answer in found.answers]
    for field in sorted(left_out):
        console.say(f"[yellow]left out[/]: the release's field {field!r}, a name that lmms-eval uses itself")
    lines = output / name / f"{date}_samples_{re.sub(r'[^0-9A-Za-z_]', '_', task)}.jsonl"
    results = output / name / f"{date}_results.json"
    write_jsonl(lines, samples)
    write_json(results, _results(found, task, model, name, metric, date, samples))
    return [results, lines]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _sample(answer: Answer, metric: str, left_out: set[str]) -> dict[str, Any]:
    """Return an answer's line; `resps` is left out where the filtered response is the whole one, as lmms-eval does."""
    record = answer.record
    media = [item["path"] for item in record.get("media") or []]
    sample: dict[str, Any] = {"doc_id": answer.place, "target": answer.gold}
    if answer.final != answer.text:
        sample["resps"] = [answer.text]
    sample |= {
        "filtered_resps": answer.final,
        "token_counts": [{"output_tokens": record["tokens"]}],
        "doc_hash": _hash(json.dumps(_doc(answer), indent=2, ensure_ascii=False)),
        **({"input_media": media[:_MOST_MEDIA]} if media else {}),
        metric: answer.value,
        "input": record["question"],
    }
    beside = {"id": answer.id, **({"draw": answer.draw} if answer.draw else {}), "response": answer.text, **answer.row}
    left_out |= {name for name in beside if name in sample}
    return sample | {name: value for name, value in beside.items() if name not in sample}


def _doc(answer: Answer) -> dict[str, Any]:
    """Return the question as it was in the release."""
    return {name: value for name, value in answer.row.items() if name != "response"}


def _results(
    found: Finished, task: str, model: str, name: str, metric: str, date: str, samples: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    contract = found.contract
    questions = len({answer.id for answer in found.answers})
    scores = found.result.get("scores") or {metric: {"value": _mean(found.answers)}}
    values: dict[str, Any] = {"alias": task, "samples": len(samples)}
    for place, (key, item) in enumerate(scores.items()):
        values[f"{key},{FILTER}"] = item["value"]
        values[f"{key}_stderr,{FILTER}"] = _stderr(found.answers, item["value"]) if not place else "N/A"
    hashes = "".join(f"sample_{place}{sample['doc_hash']}" for place, sample in enumerate(samples))
    seconds = found.result.get("seconds")
    own = {key: found.result.get(key) for key in ("scores", "label", "counts", "pass_at_k", "ledger", "contract")}
    return {
        "results": {task: values},
        "group_subtasks": {task: []},
        "configs": {task: {"task": task, "output_type": "generate_until", "metadata": contract.get("benchmark")}},
        "versions": {task: f"mmreflect {__version__}"},
        "n-shot": {task: 0},
        "higher_is_better": {task: dict.fromkeys(scores, True)},
        "n-samples": {task: {"original": questions, "effective": questions}},
        "config": {"model": model, "model_args": f"pretrained={model}", "gen_kwargs": contract.get("decoding")},
        "date": date,
        "task_hashes": {task: _hash(hashes)},
        "model_source": "mmreflect",
        "model_name": model,
        "model_name_sanitized": name,
        "total_evaluation_time_seconds": None if seconds is None else str(seconds),
        "mmreflect": {"version": __version__, **{key: value for key, value in own.items() if value is not None}},
    }


def _mean(answers: Sequence[Answer]) -> float | None:
    values = [answer.value for answer in answers if answer.value is not None]
    return statistics.fmean(values) if values else None


def _stderr(answers: Sequence[Answer], whole: float | None) -> float | str:
    """Return the standard error of a plain mean over independent answers, else lmms-eval's word for none."""
    values = [answer.value for answer in answers if answer.value is not None]
    if len(values) < 2 or whole is None or any(answer.draw for answer in answers):
        return "N/A"
    mean = statistics.fmean(values)
    scale = 100.0 if math.isclose(whole, 100 * mean, abs_tol=1e-9) and mean else 1.0
    if not math.isclose(whole, scale * mean, abs_tol=1e-9):
        return "N/A"
    return scale * statistics.stdev(values) / math.sqrt(len(values))
