"""Any dataset that mmreflect build wrote, graded by the project's own grader.

mmreflect eval configs/eval/dataset.yaml model=outputs/demo/sft/model
python -m eval.dataset configs/eval/dataset.yaml
"""

from collections import Counter
from typing import TYPE_CHECKING, Any

from pydantic import Field

from mmreflect.config import config as config_class
from mmreflect.data.loading import DataConfig, count_samples, load_samples
from mmreflect.evaluation.contract import Contract, dataset_terms, media_terms
from mmreflect.evaluation.settings import (
    AskingConfig,
    ask_all,
    asking_marks,
    asking_terms,
    check_asking,
    decoding_lines,
    who,
)
from mmreflect.evaluation.speaking import Speaker
from mmreflect.files import content_mark
from mmreflect.media.reader import default_reader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmreflect.records import Sample
    from mmreflect.runs import Run


@config_class
class Config(AskingConfig):
    """An evaluation on a dataset folder."""

    data: DataConfig = Field()


def inputs(config: Config) -> dict[str, str]:
    """Return marks of what the run works on, so that a retrained model or a rebuilt dataset makes another run."""
    return {**asking_marks(config), "data": content_mark(f"{config.data.path}/manifest.json")}


def plan(config: Config) -> dict[str, str]:
    """Say what will be asked of which model."""
    check_asking(config, config.data)
    return {
        "model": who(config),
        "data": f"{config.data.path} ({config.data.split}), {count_samples(config.data):,} questions",
        **decoding_lines(config),
    }


def run(config: Config, run: "Run") -> dict[str, Any]:
    """Ask every question, record every answer, and print the ledger."""
    from mmreflect.evaluation.capability import pass_at_k_of, show_pass_at_k
    from mmreflect.evaluation.runner import show_ledger, videos_since
    from mmreflect.evaluation.speaking import open_speaker

    before = Counter(default_reader().counts)
    samples = load_samples(config.data, run.path / "quarantine.jsonl", need="answer")
    texts = (sample.question for sample in samples)
    speaker = open_speaker(config.engine, config.model, config.data, texts, config.seed)
    file, tolerate = run.path / "samples.jsonl", config.data.tolerate
    found = ask_all(config, speaker, samples, file, "questions", tolerate)
    show_ledger(f"{who(config)} on {config.data.path}", {config.data.split: found.ledger})
    result: dict[str, Any] = {"ledger": found.ledger.to_json(), **videos_since(before)}
    if config.num_generations > 1:
        verdicts = ((record["id"], record["final_correct"]) for record in found.records)
        result["pass_at_k"] = pass_at_k_of(verdicts, config.num_generations, config.seed)
        show_pass_at_k(result["pass_at_k"])
    result |= {"procedure": found.procedure} if found.procedure else {}
    return {**result, "contract": _contract(config, samples, speaker).to_json()}


def _contract(config: Config, samples: "Sequence[Sample]", speaker: Speaker) -> Contract:
    """Return what these scores depend on beside the model."""
    terms = dataset_terms(config.data.path, config.data.split, len(samples)) | {"media": media_terms(samples)}
    return Contract(benchmark=terms, rule="verifier", **asking_terms(config, speaker, samples))


if __name__ == "__main__":
    import sys

    from mmreflect.cli import main

    sys.exit(main(["eval", *sys.argv[1:]]))
