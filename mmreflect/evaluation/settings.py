"""How a model is asked, whatever it is asked: what the configurations of all evaluations share."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from mmreflect.components import DecodingOption, EngineOption, EnvironmentOption, StageOption, default
from mmreflect.config import config, to_tree
from mmreflect.errors import UserError
from mmreflect.evaluation import procedure
from mmreflect.evaluation.contract import hash_of, library_versions
from mmreflect.evaluation.speaking import PixelLimits, check_speaker, speaker_mark
from mmreflect.media.decoders import PACKAGES, choose
from mmreflect.media.reader import default_reader
from mmreflect.models import ModelOption
from mmreflect.records import Count, Sample
from mmreflect.rollouts.actions import Sampling, generation_round

if TYPE_CHECKING:
    from mmreflect.evaluation.runner import Evaluation
    from mmreflect.evaluation.speaking import Speaker


@config
class AskingConfig:
    """An evaluation.

    Attributes:
        model: None where the engine speaks with one behind a server.
        temperature: 0 is greedy.
        max_new_tokens: limit of one reply; `budget`: of a whole answer, with everything that an environment shows in
            between; None is `max_new_tokens`, and each further round of a stage may be as long.
        stages: what follows on the answers, in order: rethink, self_consistency, leap, reflect_vote, principles.
        decoding: what has a say in every token: cyclic_reflex, early_stop, truncate_reflection; None: nothing.
        num_generations: answers per question, for pass@k; more than one needs a temperature above 0.
        batch_size: answers that are asked for and written together.
    """

    output: str
    model: ModelOption | None = None
    environment: EnvironmentOption = Field(default_factory=lambda: default("environment", "single_turn"))
    engine: EngineOption = Field(default_factory=lambda: default("engine", "transformers"))
    stages: list[StageOption] = Field(default_factory=list)
    decoding: DecodingOption | None = None
    temperature: Annotated[float, Field(ge=0)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    top_k: Annotated[int, Field(ge=0)] = 0
    max_new_tokens: Count = 1024
    budget: Count | None = None
    num_generations: Count = 1
    batch_size: Count = 64
    seed: int = 0

    @property
    def sampling(self) -> Sampling:
        """How the model speaks."""
        return Sampling(self.temperature, self.top_p, self.top_k, self.max_new_tokens, self.budget)


def check_asking(asked: AskingConfig, limits: PixelLimits) -> None:
    """Check what can be known before anything is loaded: model, engine, and the settings of decoding.

    Raises:
        UserError: the model or the engine cannot be used, or lacks what the stages need; or several greedy answers are
            asked for, which would all be the same.
    """
    check_speaker(asked.engine, asked.model, limits)
    procedure.check(
        asked.engine,
        asked.environment,
        asked.stages,
        asked.decoding,
        asked.temperature,
        asked.max_new_tokens,
        asked.num_generations,
    )
    if asked.num_generations > 1 and asked.temperature == 0:
        raise UserError(
            f"num_generations={asked.num_generations} with temperature=0: all answers to a question would be the same",
            "a temperature above 0, or one answer",
            "set temperature (0.6 to 1 is usual for pass@k), or remove num_generations",
        )


def ask_all(
    asked: AskingConfig, speaker: "Speaker", samples: Sequence[Sample], file: Path, label: str, tolerate: float
) -> "Evaluation":
    """Ask all questions as a configuration says.

    Args:
        file: where answers are kept as they come; `label`: what the progress line says.
        tolerate: the largest share of answers that may be missing because they could not be asked for.

    Raises:
        UserError: more are missing.
    """
    from mmreflect.evaluation.runner import evaluate

    with generation_round(speaker.engine, 0):
        return evaluate(
            speaker.engine,
            asked.environment.module.create(asked.environment.options),
            samples,
            asked.sampling,
            n=asked.num_generations,
            seed=asked.seed,
            batch_size=asked.batch_size,
            file=file,
            label=label,
            stages=asked.stages,
            decoding=asked.decoding,
            tolerate=tolerate,
        )


def asking_marks(asked: AskingConfig) -> dict[str, str]:
    """Return marks of who answers and by which files, so that a retrained model makes another run."""
    return {"model": speaker_mark(asked.engine, asked.model), **procedure.marks(asked.decoding)}


def who(asked: AskingConfig) -> str:
    """Say who is asked."""
    return asked.model.path if asked.model else f"engine {asked.engine.name}"


def decoding_lines(asked: AskingConfig) -> dict[str, str]:
    """Say in a plan how the model will speak."""
    greedy = asked.temperature == 0
    drawn = "greedy" if greedy else f"temperature {asked.temperature:g}, top_p {asked.top_p:g}"
    each = f", {asked.num_generations} answers each" if asked.num_generations > 1 else ""
    line = f"{drawn}, at most {asked.max_new_tokens:,} new tokens{each}"
    return {"decoding": line, **procedure.plan_lines(asked.stages, asked.decoding)}


def asking_terms(asked: AskingConfig, speaker: "Speaker", samples: Sequence[Sample]) -> dict[str, Any]:
    """Return what the contract says of how a model was asked; the seed only where something is drawn."""
    decoding: dict[str, Any] = {
        "engine": asked.engine.name,
        **speaker.terms,
        "temperature": asked.temperature,
        "max_new_tokens": asked.max_new_tokens,
        "budget": asked.budget,
    }
    if asked.temperature:
        decoding |= {"top_p": asked.top_p, "top_k": asked.top_k, "seed": asked.seed}
    decoding |= {"num_generations": asked.num_generations} if asked.num_generations > 1 else {}
    reads = {}
    if any(item.kind == "video" or item.at is not None for sample in samples for item in sample.media):
        reads = {"decoder": choose(default_reader().options.decoder)}
    environment = hash_of(to_tree({"environment": asked.environment}))
    return {
        "model": speaker.subject,
        "prompt": {"environment": environment, "template": speaker.template},
        "pixels": {**speaker.pixels, **reads},
        "decoding": decoding | procedure.terms(asked.stages, asked.decoding),
        "versions": library_versions(*speaker.packages, *(PACKAGES[name] for name in reads.values())),
    }
