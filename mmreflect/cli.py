"""The command line: one verb, one YAML, any number of `key=value`.

Errors of the user exit with 2 and no traceback; bugs keep theirs. torch is imported only when a verb needs it.
"""

import argparse
import contextlib
import gc
import os
import sys
from collections.abc import Iterator, Sequence

from mmreflect import __version__, console, limits
from mmreflect.errors import Interrupted, UserError, nearest

# With OpenMP's default spinning, another busy process slows a training step on a CPU many times over.
_CALM_THREADS = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "TRL_EXPERIMENTAL_SILENCE": "1"}
# pydantic would look for plugins in the files of every package that is installed.
_NO_PLUGINS = {"PYDANTIC_DISABLE_PLUGINS": "__all__"}

VERBS = {
    "build": "build a dataset: mmreflect build configs/build/grid.yaml; or put parts together (shard=1/4): "
    "mmreflect build merge OUT PART PART ... [quality.against=[FILE]]",
    "train": "train a model: mmreflect train configs/train/grpo.yaml trainer.max_steps=100",
    "merge": "merge reasoning weights into a VLM: mmreflect merge configs/merge/frank_qwen2_5_vl_32b.yaml; or merge "
    "and evaluate several settings: mmreflect merge --sweep configs/merge/sweep.yaml; or check an old output again: "
    "mmreflect merge --verify OUTPUT [reload=no]",
    "eval": "evaluate a model: mmreflect eval configs/eval/dataset.yaml model=PATH; or score recorded responses: "
    "mmreflect eval rescore BENCHMARK responses=FILE.jsonl output=OUT.jsonl [rule=official]; or compare two results: "
    "mmreflect eval compare OUTPUT OUTPUT; or put shards together: mmreflect eval merge OUT SHARD SHARD ...",
    "check": "render and measure every sample of a training config: mmreflect check configs/train/grpo.yaml",
    "score": "score a file of rollouts: mmreflect score configs/train/grpo.yaml rollouts=FILE.jsonl output=OUT.jsonl",
    "grade": "grade a file of answers: mmreflect grade FILE.jsonl output=OUT.jsonl",
    "ledger": "the reflection ledger of any result file: mmreflect ledger samples.jsonl output=ledger.json",
    "view": "write the HTML page of a run or dataset: mmreflect view outputs/demo; or of two evaluations side by side: "
    "mmreflect view OUTPUT OUTPUT; or of a scored file: mmreflect view OUT.jsonl",
    "export": "write a result in another tool's layout: mmreflect export OUTPUT format=lmms_eval output=FOLDER; or a "
    "dataset for another trainer: mmreflect export DATASET format=trl output=FOLDER; or its card: format=card; or an "
    "adapter, shards or a run as one checkpoint: mmreflect export CHECKPOINT output=FOLDER [push=OWNER/NAME]",
    "push": "upload a dataset with its card to the Hugging Face Hub: mmreflect push DATASET repo=NAME/SET",
    "chat": "ask one question about one picture: mmreflect chat MODEL PICTURE QUESTION",
    "demo": "the whole pipeline on a laptop CPU: mmreflect demo [scale=tiny] [output=outputs/demo]",
    "doctor": "versions, devices, decoders, and what is missing",
    "recipes": "list builders, trainers, merges and benchmarks by name",
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mmreflect",
        description="Teach a Qwen-VL model to check its own work, and measure whether that helped.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"mmreflect {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb in ("build", "train", "merge", "eval"):
        command = verbs.add_parser(verb, help=VERBS[verb], description=VERBS[verb])
        command.add_argument("config", help="a YAML file")
        command.add_argument("overrides", nargs="*", metavar="key=value", help="settings that replace the file's")
        command.add_argument("--plan", action="store_true", help="check everything, print the plan, and stop")
        if verb == "merge":
            command.add_argument(
                "--sweep", action="store_true", help="merge and evaluate the settings of its sweep block"
            )
            command.add_argument("--verify", action="store_true", help="check the output of an old merge, and stop")
            skip = "skip this check, besides those of the file; once per check"
            command.add_argument("--force", action="append", metavar="CHECK", help=skip)
    for verb in ("check", "score"):
        command = verbs.add_parser(verb, help=VERBS[verb], description=VERBS[verb])
        command.add_argument("config", help="a YAML file of a training run")
        command.add_argument("overrides", nargs="*", metavar="key=value", help="settings that replace the file's")
    grade = verbs.add_parser("grade", help=VERBS["grade"], description=VERBS["grade"])
    grade.add_argument("file", help="JSONL with prediction, reference, answer_type, and options where needed")
    grade.add_argument("overrides", nargs="*", metavar="key=value", help="output=OUT.jsonl")
    ledger = verbs.add_parser("ledger", help=VERBS["ledger"], description=VERBS["ledger"])
    ledger.add_argument("file", help="JSONL with the text of each answer and its reference")
    ledger.add_argument(
        "overrides", nargs="*", metavar="key=value", help="output=FILE, text=KEY, gold=KEY, cluster=KEY"
    )
    _add_showing(verbs)
    chat = verbs.add_parser("chat", help=VERBS["chat"], description=VERBS["chat"])
    chat.add_argument("model", help="a model folder or Hub name")
    chat.add_argument("picture", help="an image file")
    chat.add_argument("question")
    chat.add_argument(
        "overrides", nargs="*", metavar="key=value", help="for example max_new_tokens=512 temperature=0.7"
    )
    demo = verbs.add_parser("demo", help=VERBS["demo"], description=VERBS["demo"])
    demo.add_argument("overrides", nargs="*", metavar="key=value", help="scale=full or scale=tiny, output=FOLDER")
    verbs.add_parser("doctor", help=VERBS["doctor"], description=VERBS["doctor"])
    verbs.add_parser("recipes", help=VERBS["recipes"], description=VERBS["recipes"])
    return parser


def _add_showing(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verbs that show what is there, or hand it on."""
    view = verbs.add_parser("view", help=VERBS["view"], description=VERBS["view"])
    view.add_argument(
        "words",
        nargs="+",
        metavar="run",
        help="a run's or dataset's folder, two evaluations', or a scored file; output=, pictures=, rows=",
    )
    export = verbs.add_parser("export", help=VERBS["export"], description=VERBS["export"])
    export.add_argument("folder", help="the output folder of mmreflect eval, build or train, or a checkpoint")
    export.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="of an evaluation: format=lmms_eval or vlmevalkit, output=, name=, model=; "
        "of a dataset: format=trl, llama_factory, ms_swift or card, output=, media=copy or link, license=, name=; "
        "of a checkpoint: output=, base=, dtype=, checkpoint=, max_shard_size=, verify=, push=OWNER/NAME, private=",
    )
    push = verbs.add_parser("push", help=VERBS["push"], description=VERBS["push"])
    push.add_argument("folder", help="the output folder of mmreflect build, or an export of it")
    push.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="repo=NAME/SET, private=true, license=, replace=true, endpoint=",
    )


def _parse(words: list[str]) -> argparse.Namespace:
    """Parse the words; `key=value` may stand before or after options."""
    parser = _parser()
    arguments, rest = parser.parse_known_args(words)
    overrides = getattr(arguments, "overrides", None)
    if rest and (overrides is None or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if overrides is not None:
        overrides.extend(rest)
    return arguments


def _run(arguments: argparse.Namespace) -> None:
    verb = arguments.verb
    if verb == "eval" and arguments.config == "rescore":
        _rescore(arguments.overrides)
    elif verb == "eval" and arguments.config == "compare":
        _compare(arguments.overrides)
    elif verb == "eval" and arguments.config == "merge":
        _merge(arguments.overrides)
    elif verb == "build" and arguments.config == "merge":
        _merge_parts(arguments.overrides, arguments.plan)
    elif verb == "merge" and arguments.verify:
        from mmreflect.merge.verify import verify_output

        verify_output(arguments.config, arguments.overrides)
    elif verb in ("build", "train", "merge", "eval"):
        _start(arguments)
    else:
        _look(arguments)


def _look(arguments: argparse.Namespace) -> None:
    """Run a verb that measures, shows, tries or hands on what is there."""
    verb = arguments.verb
    if verb == "check":
        from mmreflect.inspection import check

        check(arguments.config, arguments.overrides)
    elif verb == "score":
        from mmreflect.inspection import score

        score(arguments.config, arguments.overrides)
    elif verb == "grade":
        from mmreflect.inspection import grade

        grade(arguments.file, arguments.overrides)
    elif verb == "ledger":
        from mmreflect.evaluation.ledgers import ledger_file

        ledger_file(arguments.file, arguments.overrides)
    elif verb == "view":
        from mmreflect.report import view

        console.say(f"page: {view(arguments.words)}")
    elif verb == "export":
        _export(arguments.folder, arguments.overrides)
    elif verb == "push":
        from mmreflect.publishing import push

        push(arguments.folder, arguments.overrides)
    elif verb == "chat":
        from mmreflect.chat import chat

        chat(arguments.model, arguments.picture, arguments.question, arguments.overrides)
    elif verb == "demo":
        from mmreflect.demo import demo

        demo(arguments.overrides)
    elif verb == "doctor":
        from mmreflect.doctor import doctor

        doctor()
    else:
        _list_recipes()


def _start(arguments: argparse.Namespace) -> None:
    """Start a verb that has a YAML, or show its plan."""
    forced = (arguments.force or []) if arguments.verb == "merge" else []
    with _without_collection():
        from mmreflect.launch import prepare_call

        job = prepare_call(arguments.verb, arguments.config, arguments.overrides, forced)
    if arguments.verb == "merge":
        _check_sweep(arguments.config, arguments.sweep, job.name == "sweep")
    if arguments.plan:
        console.show_plan(job.preview())
    else:
        job.run()


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """Look for no garbage: importing makes objects by the hundred thousand, and nearly all of them stay.

    Afterwards they count as old, or the next look at what is new would go over all of them.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():  # a program that froze what it has keeps it so
            gc.freeze()
            gc.unfreeze()
        if was_on:
            gc.enable()


def _check_sweep(config: str, asked: bool, given: bool) -> None:
    """A sweep takes as long as all of its merges and evaluations: it is not started by mistake."""
    if asked != given:
        raise UserError(
            f"{config} holds a sweep of several settings" if given else f"{config} holds no sweep",
            "mmreflect merge --sweep for one" if given else "a configuration with a block 'sweep'",
            f"start it with: mmreflect merge --sweep {config}" if given else "see configs/merge/sweep.yaml",
        )


def _rescore(words: Sequence[str]) -> None:
    from mmreflect import recipes
    from mmreflect.evaluation.rescore import rescore_file

    if not words or "=" in words[0]:
        known = ", ".join(name for name in recipes.names("benchmark"))
        raise UserError("no benchmark is named", f"one of: {known}", "name it behind the word rescore")
    leaf = recipes.load("benchmark", words[0])
    if not hasattr(leaf, "BENCHMARK"):
        raise UserError(
            f"{words[0]} has no rules of its own", "a benchmark", "use mmreflect grade for answers with a reference"
        )
    rescore_file(leaf.BENCHMARK, words[1:])


def _compare(words: Sequence[str]) -> None:
    from mmreflect.evaluation.compare import compare

    folders = [word for word in words if "=" not in word]
    if len(folders) != 2:
        raise UserError(f"{len(folders)} results are named", "two output folders of mmreflect eval", "name both")
    compare(folders[0], folders[1], [word for word in words if "=" in word])


def _merge(words: Sequence[str]) -> None:
    from mmreflect import recipes
    from mmreflect.evaluation.shards import merge_shards, shard_names

    if strange := [word for word in words if "=" in word]:
        raise UserError(f"cannot use {strange[0]!r} here", "OUT and the folders of all shards", "remove it")
    leaf = recipes.load("benchmark", shard_names(words[1:]))
    merge_shards(leaf.BENCHMARK, words[0], words[1:])


def _merge_parts(words: Sequence[str], plan: bool) -> None:
    from mmreflect import recipes
    from mmreflect.building.merging import merge_parts, part_names

    folders = [word for word in words if "=" not in word]
    if plan or not folders:
        raise UserError(
            "cannot use '--plan' here" if plan else "no output is named",
            "OUT and the folders of all parts",
            "correct it",
        )
    leaf = recipes.load("builder", part_names(folders[1:]))
    merge_parts(leaf, folders[0], folders[1:], [word for word in words if "=" in word])


def _export(folder: str, words: Sequence[str]) -> None:
    """Export what the folder holds; what that is decides which settings there are."""
    from pathlib import Path

    from mmreflect.data.survey import holds_dataset

    if not Path(folder).is_dir():
        what = "is a file" if Path(folder).is_file() else "does not exist"
        raise UserError(f"{folder} {what}", "the folder of a dataset, an evaluation or a checkpoint", "check the path")
    if holds_dataset(Path(folder)):
        from mmreflect.publishing import export_dataset

        export_dataset(folder, words)
        return
    from mmreflect.exporting import export_checkpoint, is_checkpoint

    if is_checkpoint(folder):
        export_checkpoint(folder, words)
        return
    if not any(next(Path(folder).glob(pattern), None) for pattern in ("run.json", "samples.jsonl", "*/samples.jsonl")):
        raise UserError(
            f"{folder} holds neither a dataset (manifest.json), an evaluation (run.json) nor a checkpoint (weights)",
            "the output folder of mmreflect build, eval or train, or a checkpoint",
            "check the path",
        )
    from mmreflect.evaluation.exchange import export_result

    export_result(folder, words)


def _list_recipes() -> None:
    from mmreflect import components, recipes

    rows = [(f"{kind}", ", ".join(recipes.names(kind))) for kind in recipes.FOLDERS]
    rows += [(kind, ", ".join(components.names(kind))) for kind in components.KINDS]
    console.show_plan(dict(rows))


def entry() -> None:
    """The console script."""
    if sys.argv[1:2] == ["merge"] and not {"--plan", "--sweep", "--verify"}.intersection(sys.argv):
        from mmreflect.report.ahead import get_ready

        _set_defaults()
        get_ready()
    code = main()
    gc.freeze()  # the interpreter would go over every object once more before it ends, which takes a fifth of a second
    sys.exit(code)


def _set_defaults() -> None:
    """Set what libraries look for when they are imported, unless the user has."""
    for name, value in (_CALM_THREADS | _NO_PLUGINS).items():
        os.environ.setdefault(name, value)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 2 a mistake in what was given or a limit of the system."""
    _set_defaults()
    words = list(sys.argv[1:] if argv is None else argv)
    if words and not words[0].startswith("-") and words[0] not in VERBS:
        close = nearest(words[0], VERBS)
        console.complain(
            str(
                UserError(
                    f"unknown verb {words[0]!r}",
                    f"one of: {', '.join(VERBS)}",
                    f"did you mean {close!r}?" if close else "see mmreflect --help",
                )
            )
        )
        return 2
    try:
        _run(_parse(words))
    except UserError as error:
        console.complain(str(error))
        return 2
    except Interrupted as interrupted:
        console.complain(str(interrupted))
        return 143
    except KeyboardInterrupt:
        console.complain("interrupted; start the same command again to go on")
        return 130
    except Exception as error:
        told = limits.met(error)
        if told is None:
            raise
        console.complain(str(told))
        return 2
    return 0
