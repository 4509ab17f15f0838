"""GRPO with Selective Sample Replay and Forced Rethinking (VL-Rethinker, arXiv 2504.08837), or without either.

mmreflect train configs/train/grpo.yaml
python -m train.grpo configs/train/grpo.yaml
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field

from mmreflect.components import (
    AdvantageOption,
    EngineOption,
    EnvironmentOption,
    RewardOption,
    SelectionOption,
    StageOption,
    default,
)  # fmt: skip
from mmreflect.config import config as config_class
from mmreflect.data.loading import DataConfig, count_samples
from mmreflect.errors import UserError
from mmreflect.files import content_mark, model_mark
from mmreflect.models import ModelOption
from mmreflect.rollouts.scoring import signal_names
from mmreflect.training.arguments import check_trainer, whole_groups
from mmreflect.training.validation import ValidationConfig, check_run

if TYPE_CHECKING:
    from mmreflect.data.guard import Limits, Report
    from mmreflect.records import Group
    from mmreflect.rl.trainer import Method
    from mmreflect.rollouts.actions import Environment
    from mmreflect.runs import Run


PER_TOKEN_LOSSES = ("dapo", "cispo", "vespo", "bnpo")
"""TRL's losses that are a mean over tokens, however these are spread over sequences."""


@config_class
class RolloutConfig:
    """How answers are made: the environment, the engine, and the stages between rollout and advantage.

    Attributes:
        max_reply_tokens: limit of one reply, where an environment lets the model speak several times; None is
            `trainer.max_completion_length`, which limits the whole rollout with everything shown in between.
        keep_every: optimizer steps between two rounds whose rollouts are kept for the report; 0 keeps none.
        keep_groups: groups kept of such a round.
    """

    environment: EnvironmentOption = Field(default_factory=lambda: default("environment", "single_turn"))
    engine: EngineOption = Field(default_factory=lambda: default("engine", "transformers"))
    stages: list[StageOption] = Field(default_factory=list)
    max_reply_tokens: Annotated[int, Field(gt=0)] | None = None
    keep_every: Annotated[int, Field(ge=0)] = 10
    keep_groups: Annotated[int, Field(gt=0)] = 2


@config_class
class Config:
    """A GRPO run. `trainer` holds fields of TRL's GRPOConfig under their own names."""

    output: str
    model: ModelOption
    data: DataConfig
    rewards: Annotated[list[RewardOption], Field(min_length=1)]
    rollout: RolloutConfig = Field(default_factory=RolloutConfig)
    advantage: AdvantageOption = Field(default_factory=lambda: default("advantage", "group_mean"))
    selection: SelectionOption = Field(default_factory=lambda: default("selection", "none"))
    evaluation: ValidationConfig | None = None
    trainer: Annotated[dict[str, Any], AfterValidator(check_trainer("grpo"))] = Field(default_factory=dict)
    seed: int = 0


def inputs(config: Config) -> dict[str, str]:
    """Return marks of what the run works on, so that a retrained model or a rebuilt dataset makes another run."""
    return {"model": model_mark(config.model.path), "data": content_mark(f"{config.data.path}/manifest.json")}


def plan(config: Config) -> dict[str, str]:
    """Say what a step is made of; check what can be checked before torch is loaded."""
    check_run(config)
    _check_engine(config)
    _check_signals(config)
    _check_loss(config)
    trainer = config.trainer
    per_device = trainer.get("per_device_train_batch_size", 8)
    accumulation = trainer.get("gradient_accumulation_steps", 1)
    per_generation = trainer.get("steps_per_generation") or accumulation
    group = trainer.get("num_generations", 8)
    whole_groups(per_device, per_generation, group)
    if per_generation % accumulation and accumulation % per_generation:
        raise UserError(
            f"trainer.steps_per_generation = {per_generation} and gradient_accumulation_steps = {accumulation} do not "
            "meet: an update would mix the halves of two generations",
            f"one a multiple of the other, for example steps_per_generation = {accumulation}",
            "change one of the two",
        )
    questions = count_samples(config.data)
    prompts = per_device * per_generation // group
    if questions < prompts:
        raise UserError(
            f"{questions} questions, but a generation takes {prompts} ({per_device} x {per_generation} / {group})",
            f"at least {prompts} questions",
            "give more questions, or lower trainer.per_device_train_batch_size",
        )
    limit = per_device * per_generation * trainer.get("max_completion_length", 256)
    epochs = f"{trainer.get('num_train_epochs', 3)} epochs of {questions // max(1, prompts)} generations"
    stages = ", ".join(stage.name for stage in config.rollout.stages) or "none"
    return {
        "model": config.model.path,
        "data": f"{config.data.path} ({config.data.split}), {questions:,} questions",
        "rollouts": f"{prompts} questions x {group} answers per device, used for {per_generation} micro-steps",
        "tokens": f"at most {limit:,} new tokens per generation",
        "steps": str(trainer.get("max_steps", epochs)),
        "rewards": ", ".join(f"{item.name} x {item.options.weight:g}" for item in config.rewards),
        "method": f"stages {stages}; advantage {config.advantage.name}; selection {config.selection.name}",
    }


def _check_engine(config: Config) -> None:
    """Check that the engine can do what this run asks of it."""
    engine = config.rollout.engine
    if hasattr(engine.module, "check"):
        engine.module.check(engine.options)
    needed = {"tokens", "policy"} | ({"continue"} if config.rollout.stages else set())
    missing = sorted(needed - engine.module.CAPABILITIES)
    if missing:
        raise UserError(
            f"engine {engine.name!r} lacks: {', '.join(missing)}",
            f"an engine that can: {', '.join(sorted(needed))}",
            "set rollout.engine to transformers",
        )


def _check_signals(config: Config) -> None:
    """Check that every part of the score that a stage decides on is a reward."""
    rewards = [item.name for item in config.rewards]
    if len(set(rewards)) != len(rewards):
        raise UserError(
            f"rewards holds a name twice: {', '.join(rewards)}",
            "each reward once",
            "remove one, or add up their weights",
        )
    signals = signal_names(config.rewards)
    signal = getattr(config.selection.options, "signal", None)
    if signal is not None and signal not in signals:
        raise UserError(
            f"selection.signal is {signal!r}, which no reward gives",
            f"one of: {', '.join(signals)}",
            "name a reward of this run",
        )
    for stage in config.rollout.stages:
        if getattr(stage.module, "EVALUATION_ONLY", False):
            raise UserError(
                f"stage {stage.name!r} is for evaluation: what it leaves is no group to learn from",
                "a stage of training, such as forced_rethinking",
                "remove it from rollout.stages",
            )
        fraction, group = getattr(stage.options, "fraction", 1.0), config.trainer.get("num_generations", 8)
        if int(fraction * group) < 1:
            raise UserError(
                f"stage {stage.name!r} with fraction {fraction} of groups of {group} could never replace a rollout",
                f"a fraction of at least {1 / group:g}",
                "raise it, or trainer.num_generations",
            )
        signal = getattr(stage.options, "signal", None)
        if signal is not None and signal not in signals[:-1]:
            raise UserError(
                f"stage {stage.name!r} decides on the score part {signal!r}, which no reward gives",
                f"one of: {', '.join(signals[:-1])}",
                "add it to 'rewards' (weight 0 keeps it out of the total), or set the stage's 'signal'",
            )


def _check_loss(config: Config) -> None:
    """Check that a rollout which is several sequences to the update counts once in the loss."""
    environment = config.rollout.environment
    splits = getattr(environment.module, "starts_afresh", None)
    if splits is None or not splits(environment.options):
        return
    loss, level = (
        config.trainer.get(key, usual) for key, usual in (("loss_type", "dapo"), ("importance_sampling_level", "token"))
    )
    if loss in PER_TOKEN_LOSSES and level == "token":
        return
    what = f"trainer.loss_type = {loss!r}" if loss not in PER_TOKEN_LOSSES else f"importance_sampling_level = {level!r}"
    raise UserError(
        f"{what} weighs sequences, and environment {environment.name!r} makes several of one rollout (it starts afresh "
        "in the middle)",
        f"a loss that weighs tokens ({', '.join(PER_TOKEN_LOSSES)}), with ratios per token",
        "set trainer.loss_type to dapo, or keep the whole dialogue in view (rollout.environment.stage2_context: code)",
    )


def limits(config: Config, context: int | None) -> "Limits":
    """Return what a sample must fit into: its prompt, and the longest completion after it."""
    from mmreflect.data.guard import Limits

    longest = config.trainer.get("max_completion_length", 256)
    return Limits(config.data.max_prompt_tokens, context, longest, "the model's context")


def _environment(config: Config) -> "Environment":
    made: Environment = config.rollout.environment.module.create(config.rollout.environment.options)
    return made


def check(config: Config) -> "Report":
    """Render and measure every sample without training."""
    from mmreflect.training.session import open_session

    return open_session(config, "answer", limits, None, _environment(config)).report


def run(config: Config, run: "Run") -> dict[str, Any]:
    """Train, validate, and save the model."""
    from trl import GRPOConfig

    from mmreflect.models import lora_settings
    from mmreflect.rl.trainer import ReflectGRPOTrainer
    from mmreflect.rollouts.actions import generation_round
    from mmreflect.training import session
    from mmreflect.training.checkpoints import LogFile
    from mmreflect.training.progress import take_over_output
    from mmreflect.training.survival import explained_memory

    opened = session.open_session(config, "answer", limits, run.path, _environment(config))
    loaded, samples = opened.loaded, opened.samples
    arguments = session.checked(
        GRPOConfig,
        **{"learning_rate": 1e-6, "beta": 0.0, "scale_rewards": "none", **session.trainer_arguments(config, run.path)},
    )
    if arguments.beta and config.model.path == "tiny":  # TRL loads the reference model again, by its path
        loaded.save(run.path / "initial")
        loaded.model.config.name_or_path = str(run.path / "initial")
    method = _method(config, arguments, loaded, opened.renderer, run)
    trainer = ReflectGRPOTrainer(
        loaded,
        opened.renderer,
        samples,
        method,
        arguments,
        peft_config=lora_settings(config.model.lora) if config.model.lora else None,
        callbacks=[LogFile(run.path / "log.jsonl")],
    )

    def measure() -> dict[str, float]:
        assert config.evaluation is not None
        with generation_round(method.engine, trainer.state.global_step):
            return session.ledger_metrics(
                method.engine, method.environment, opened.held_out, config.evaluation, method.sampling, config.seed
            )

    trainer.validate_with(measure if config.evaluation else None, config.evaluation)
    take_over_output(trainer, "grpo")
    with explained_memory(
        "trainer.per_device_train_batch_size", "rollout.engine.batch_size", "trainer.max_completion_length"
    ):
        trainer.train_or_resume()
    session.save_finished(loaded, trainer, run.path / "model")
    history = trainer.state.log_history
    return {
        "model": str(run.path / "model"),
        "steps": trainer.state.global_step,
        "samples": len(samples),
        **session.left_out(samples),
        **_means(history, "replay/effective_ratio_raw", "replay/effective_ratio_trained", "replay/replayed_share"),
        **session.videos_read(),
        **session.last_values(history, "reward", "eval_final_accuracy"),
    }


def _method(config: Config, arguments: Any, loaded: Any, renderer: Any, run: "Run") -> "Method":
    from mmreflect.rl.trainer import Method
    from mmreflect.rollouts.actions import Sampling
    from mmreflect.rollouts.scoring import scorer

    engine = config.rollout.engine
    whole = arguments.max_completion_length
    reply = min(config.rollout.max_reply_tokens or whole, whole)
    sampling = Sampling(arguments.temperature, arguments.top_p, arguments.top_k or 0, reply, whole)
    environment = config.rollout.environment
    made = engine.module.create(engine.options, loaded, renderer)
    return Method(
        engine=made,
        environment=environment.module.create(environment.options),
        scorer=scorer(config.rewards),
        advantage=config.advantage.module.create(config.advantage.options),
        selection=config.selection.module.create(config.selection.options),
        sampling=sampling,
        stages=[stage.module.create(stage.options) for stage in config.rollout.stages],
        sft_coefficient=max(
            (getattr(stage.options, "sft_coefficient", 0.0) for stage in config.rollout.stages), default=0.0
        ),
        watch=lambda step, groups: _keep(config, made, run, step, groups),
    )


def _keep(config: Config, engine: Any, run: "Run", step: int, groups: Sequence["Group"]) -> None:
    """Keep some groups of a round for the report, and every rollout that could not be graded, with its reason."""
    from dataclasses import asdict

    from mmreflect.evaluation.runner import segments
    from mmreflect.files import write_json

    failed = [
        {"sample_id": item.sample_id, "reason": item.score.reason, "text": item.text}
        for group in groups
        for item in group.rollouts
        if item.score is not None and item.score.value is None
    ]
    if failed:
        write_json(run.path / "quarantine-rollouts" / f"step-{step:06}.json", failed)
    every = config.rollout.keep_every
    if not every or step % every:
        return
    kept = [
        {
            "sample_id": group.sample.id,
            "question": group.sample.question,
            "media": [asdict(media) for media in group.sample.media],
            "gold": group.sample.gold,
            "sample_facts": group.sample.facts,
            "rollouts": [
                {
                    "media": [asdict(media) for media in item.media],
                    "facts": item.facts,
                    "probes": {name: reply.text for name, reply in item.probes.items()},
                    "segments": segments(item, engine),
                    "score": asdict(item.score) if item.score else None,
                    "stop": str(item.stop),
                }
                for item in group.rollouts
            ],
        }
        for group in groups[: config.rollout.keep_groups]
    ]
    write_json(run.path / "rollouts" / f"step-{step:06}.json", kept)


def _means(history: list[dict[str, Any]], *names: str) -> dict[str, float]:
    """Return the mean over the whole run of each metric that was logged."""
    logged = {name: [item[name] for item in history if item.get(name) is not None] for name in names}
    return {name.split("/")[1]: sum(values) / len(values) for name, values in logged.items() if values}


if __name__ == "__main__":
    import sys

    from mmreflect.cli import main

    sys.exit(main(["train", *sys.argv[1:]]))
