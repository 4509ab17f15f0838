"""Any dataset that mmreflect build wrote, graded by the project's own grader.

mmreflect eval configs/eval/dataset.yaml model=outputs/demo/sft/model
python -m eval.dataset configs/eval/dataset.yaml
"""

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from mmreflect import console
from mmreflect.components import DecodingOption, EngineOption, EnvironmentOption, StageOption, default
from mmreflect.config import config as config_class
from mmreflect.config import to_tree
from mmreflect.data.loading import DataConfig, count_samples, load_samples
from mmreflect.evaluation import procedure
from mmreflect.evaluation.contract import Contract, dataset_terms, hash_of, library_versions, model_subject
from mmreflect.files import content_mark, model_mark
from mmreflect.models import ModelOption, check_model

if TYPE_CHECKING:
    from mmreflect.runs import Run


@config_class
class Config:
    """An evaluation.

    Attributes:
        temperature: 0 is greedy.
        max_new_tokens: limit of one reply; `budget`: of a whole answer, with everything that an environment shows in
            between; None is `max_new_tokens`, and each further round of a stage may be as long.
        stages: what follows on the answers, in order: rethink, self_consistency, leap, reflect_vote, principles.
        decoding: what has a say in every token: cyclic_reflex, early_stop, truncate_reflection; None: nothing.
    """

    output: str
    model: ModelOption
    data: DataConfig
    environment: EnvironmentOption = Field(default_factory=lambda: default("environment", "single_turn"))
    engine: EngineOption = Field(default_factory=lambda: default("engine", "transformers"))
    stages: list[StageOption] = Field(default_factory=list)
    decoding: DecodingOption | None = None
    temperature: Annotated[float, Field(ge=0)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    top_k: Annotated[int, Field(ge=0)] = 0
    max_new_tokens: Annotated[int, Field(gt=0)] = 1024
    budget: Annotated[int, Field(gt=0)] | None = None
    batch_size: Annotated[int, Field(gt=0)] = 64
    seed: int = 0


def inputs(config: Config) -> dict[str, str]:
    """Return marks of what the run works on, so that a retrained model or a rebuilt dataset makes another run."""
    marks = {"model": model_mark(config.model.path), "data": content_mark(f"{config.data.path}/manifest.json")}
    return marks | procedure.marks(config.decoding)


def plan(config: Config) -> dict[str, str]:
    """Say what will be asked of which model."""
    check_model(config.model)
    if hasattr(config.engine.module, "check"):
        config.engine.module.check(config.engine.options)
    procedure.check(
        config.engine, config.environment, config.stages, config.decoding, config.temperature, config.max_new_tokens
    )
    decoding = "greedy" if config.temperature == 0 else f"temperature {config.temperature:g}, top_p {config.top_p:g}"
    return {
        "model": config.model.path,
        "data": f"{config.data.path} ({config.data.split}), {count_samples(config.data):,} questions",
        "decoding": f"{decoding}, at most {config.max_new_tokens:,} new tokens",
        **procedure.plan_lines(config.stages, config.decoding),
    }


def run(config: Config, run: "Run") -> dict[str, Any]:
    """Ask every question, record every answer, and print the ledger."""
    from mmreflect.evaluation.runner import evaluate, show_ledger
    from mmreflect.models import load_model
    from mmreflect.rollouts.actions import Sampling, generation_round
    from mmreflect.training.session import renderer_for, videos_read

    samples = load_samples(config.data, run.path / "quarantine.jsonl", need="answer")
    loaded = load_model(config.model, (sample.question for sample in samples), config.seed)
    engine = config.engine.module.create(config.engine.options, loaded, renderer_for(loaded, config.data))
    with generation_round(engine, 0):
        found = evaluate(
            engine,
            config.environment.module.create(config.environment.options),
            samples,
            Sampling(config.temperature, config.top_p, config.top_k, config.max_new_tokens, config.budget),
            seed=config.seed,
            batch_size=config.batch_size,
            file=run.path / "samples.jsonl",
            stages=config.stages,
            decoding=config.decoding,
        )
    show_ledger(f"{config.model.path} on {config.data.path}", {config.data.split: found.ledger})
    if read := videos_read():
        console.say(f"videos: {', '.join(f'{count:,} {what}' for what, count in read['videos'].items())}")
    terms = _contract(config, len(samples), loaded.tokenizer.chat_template)
    done = {"procedure": found.procedure} if found.procedure else {}
    return {"ledger": found.ledger.to_json(), "contract": terms.to_json(), **done}


def _contract(config: Config, questions: int, template: str | None) -> Contract:
    """Return what these scores depend on beside the model."""
    decoding = {
        "engine": config.engine.name,
        "temperature": config.temperature,
        "max_new_tokens": config.max_new_tokens,
    }
    decoding["budget"] = config.budget
    if config.temperature:
        decoding |= {"top_p": config.top_p, "top_k": config.top_k, "seed": config.seed}
    decoding |= procedure.terms(config.stages, config.decoding)
    data = to_tree(config.data)
    return Contract(
        model=model_subject(config.model),
        benchmark=dataset_terms(config.data.path, config.data.split, questions),
        prompt={"environment": hash_of(to_tree({"environment": config.environment})), "template": hash_of(template)},
        pixels={name: data[name] for name in ("min_pixels", "max_pixels", "frames")},
        decoding=decoding,
        rule="verifier",
        versions=library_versions(),
    )


if __name__ == "__main__":
    import sys

    from mmreflect.cli import main

    sys.exit(main(["eval", *sys.argv[1:]]))
