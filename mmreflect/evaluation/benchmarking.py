"""Asking a model the questions of a benchmark: what a run of `mmreflect eval` is where `benchmark` names one.

samples.jsonl     every answer with its place in the ledger, appended while the run goes on
responses.jsonl   the release's rows with the responses, and what a judge said: `mmreflect eval rescore` reads it
scored.jsonl      the same with prediction and verdict
summary.json      the scores in the layout of the official score file
set_aside.jsonl   questions that cannot be shown, with the reason
submission.json   predictions by question, in the place of scores, where a split's answers are not published
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from mmreflect import console
from mmreflect.config import config
from mmreflect.errors import unknown_name
from mmreflect.evaluation.benchmark import Benchmark, Row
from mmreflect.evaluation.contract import Contract, hash_of, media_terms
from mmreflect.evaluation.judging import judge_of, judge_terms
from mmreflect.evaluation.releases import Question, Release, ReleaseConfig, cache_folder, open_release, questions
from mmreflect.evaluation.rescore import FALLBACKS, Settings
from mmreflect.evaluation.rules.verdicts import Strict
from mmreflect.evaluation.settings import (
    AskingConfig,
    ask_all,
    asking_marks,
    asking_terms,
    check_asking,
    decoding_lines,
    who,
)
from mmreflect.evaluation.speaking import Speaker, most_frames
from mmreflect.files import folder_mark
from mmreflect.media.reader import ReaderConfig, default_reader, use_reader
from mmreflect.records import Count, FrameSampling, Sample
from mmreflect.remote.settings import ServerConfig

if TYPE_CHECKING:
    from mmreflect.runs import Run

_ANSWER_KEYS = ("answer_type", "options", "precision", "unit")


@config
class BenchmarkConfig(AskingConfig):
    """A benchmark's questions, asked of a model.

    Attributes:
        release: where the benchmark is read, and which part of it.
        rule: how answers are read and judged; `official` is every benchmark's default.
        fallback: what stands in where nothing was found and the official code would guess: `wrong` or `random`.
        judge: the server that is asked what the official protocol asks a model; None scores by rules, and says so.
        min_pixels, max_pixels: limits per picture, as in qwen-vl-utils; None keeps the processor's own.
        frames: how videos are sampled and sized that the environment does not sample itself.
        reader: how video files are read: decoder, time limit, cache.
    """

    release: ReleaseConfig = Field(default_factory=ReleaseConfig)
    rule: str = "official"
    fallback: str = "wrong"
    judge: ServerConfig | None = None
    min_pixels: Count | None = None
    max_pixels: Count | None = None
    frames: FrameSampling = Field(default_factory=FrameSampling)
    reader: ReaderConfig = Field(default_factory=ReaderConfig)

    @property
    def settings(self) -> Settings:
        """How the answers are scored."""
        return Settings(self.rule, self.fallback, self.seed)


@dataclass(frozen=True, slots=True)
class BenchmarkRecipe:
    """A benchmark as a recipe: what every leaf of `eval/` is to the launcher."""

    benchmark: Benchmark
    Config: type[BenchmarkConfig] = BenchmarkConfig

    def inputs(self, config: BenchmarkConfig) -> dict[str, str]:
        """Return marks of what the run works on, so that another model or release makes another run.

        Of local media only names, sizes and times are looked at: a run that is finished is known at once.
        """
        places = [place for place in (config.release.source, config.release.media) if place and Path(place).is_dir()]
        media = {"media": folder_mark(*places)} if places else {}
        return {**asking_marks(config), "release": self._release(config).mark, **media}

    def plan(self, config: BenchmarkConfig) -> dict[str, str]:
        """Say what will be asked of which model, and how it will be scored; check all that can be checked before."""
        check_asking(config, config)
        if config.rule not in self.benchmark.rules:
            raise unknown_name(f"rule of {self.benchmark.name}", config.rule, list(self.benchmark.rules))
        if config.fallback not in FALLBACKS:
            raise unknown_name("fallback", config.fallback, FALLBACKS)
        if config.judge is not None:
            judge_of(self.benchmark, config.rule)
        release = self._release(config)
        hidden = "; its answers are not published: a submission is written in the place of scores"
        shard = f", shard {config.release.shard}" if config.release.shard else ""
        by = f", judged by {config.judge.model}" if config.judge else ""
        return {
            "model": who(config),
            "release": f"{release.where}: {release.count():,} questions{shard}{hidden if release.hidden else ''}",
            "prompt": f"{release.style}, environment {config.environment.name}",
            **decoding_lines(config),
            "scoring": f"rule {config.rule}{by}",
        }

    def run(self, config: BenchmarkConfig, run: "Run") -> dict[str, Any]:
        """Ask every question, record every answer, score them, and print the scores."""
        from mmreflect.evaluation.runner import videos_since
        from mmreflect.evaluation.scoring import score_answers
        from mmreflect.evaluation.speaking import open_speaker

        release = self._release(config)
        read = Counter(default_reader().counts)
        found = questions(release, report=run.path / "set_aside.jsonl")
        samples = [asked_sample(self.benchmark, question, prefilled(config)) for question in found.asked]
        texts = (sample.question for sample in samples)
        speaker = open_speaker(config.engine, config.model, config, texts, config.seed)
        file, tolerate = run.path / "samples.jsonl", config.release.tolerate
        answered = ask_all(config, speaker, samples, file, self.benchmark.name, tolerate)
        rows = rows_of(found.asked, answered.records)
        scored = score_answers(self.benchmark, config.settings, rows, answered.records, run.path, config.judge)
        prefill = (
            "" if not any(question.prefill for question in found.asked) else "used" if prefilled(config) else "left out"
        )
        if prefill == "left out":
            console.say(f"[yellow]left out[/]: the words that {self.benchmark.name} puts in the model's mouth")
        counts = {"set_aside": len(found.aside), **({"left_out": found.left_out} if found.left_out else {})}
        scored["counts"] = counts | scored["counts"]
        scored |= {"procedure": answered.procedure} if answered.procedure else {}
        return {
            **scored,
            **videos_since(read),
            "contract": self._terms(config, release, samples, answered.records, speaker, prefill),
        }

    def _release(self, config: BenchmarkConfig) -> Release:
        use_reader(config.reader)
        return open_release(
            self.benchmark, config.release, cache=cache_folder(), max_frames=most_frames(config.engine, config)
        )

    def _terms(
        self,
        config: BenchmarkConfig,
        release: Release,
        samples: Sequence[Sample],
        records: Sequence[dict[str, Any]],
        speaker: Speaker,
        prefill: str,
    ) -> dict[str, Any]:
        """Return the contract: what these scores depend on beside the model."""
        judge = judge_terms(self.benchmark, config.judge, config.rule) if config.judge else None
        terms = asking_terms(config, speaker, samples)
        terms["prompt"] |= {"prefill": prefill}
        questions = {**question_terms(records), "media": media_terms(samples)}
        return Contract(
            benchmark={
                "name": self.benchmark.name,
                "release": release.mark,
                "configs": list(release.configs),
                "split": release.split,
                "style": release.style,
                **questions,
            },
            rule=config.rule if config.fallback == "wrong" else f"{config.rule}, random fallbacks, seed {config.seed}",
            judge=judge,
            **terms,
        ).to_json()


def prefilled(config: BenchmarkConfig) -> bool:
    """Tell whether words that a benchmark puts in the model's mouth are put there.

    Only where it is asked once, and by an engine that can go on from the middle of a reply.
    """
    return config.environment.name == "single_turn" and "continue" in config.engine.module.CAPABILITIES


def asked_sample(benchmark: Benchmark, question: Question, prefill: bool) -> Sample:
    """Return the sample to ask: with what the project's verifier needs for the ledger, and the prefill as a last turn.

    The ledger's verdicts are the verifier's, under the benchmark's own options and reference; a benchmark that has no
    rule `strict` gives none, and its answers are in the ledger as ungraded.
    """
    rule, row = benchmark.rules.get("strict"), Row(question.row)
    facts = {key: value for key, value in question.sample.facts.items() if key not in _ANSWER_KEYS}
    gold = None
    if isinstance(rule, Strict):
        spec, gold = rule.spec(row), rule.gold(row)
        given = {"answer_type": spec.type, "options": dict(spec.options or ()), "precision": spec.precision}
        facts |= {key: value for key, value in {**given, "unit": spec.unit}.items() if value not in (None, {})}
    messages = list(question.sample.messages)
    if question.prefill and prefill:
        messages.append({"role": "assistant", "content": [{"type": "text", "text": question.prefill}]})
    return replace(question.sample, gold=gold, facts=facts, messages=messages)


def rows_of(asked: Sequence[Question], records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row to score for every answer: the release's own row with the response, and which draw it is."""
    rows = {question.id: question.row for question in asked}
    return [{**rows[record["id"]], "draw": record["draw"], "response": record["text"]} for record in records]


def question_terms(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return how many questions were asked, and a hash of them, whatever their order: what shards agree on."""
    asked = sorted({(record["id"], record["question"]) for record in records})
    return {"questions": len(asked), "asked": hash_of([list(item) for item in asked])}
