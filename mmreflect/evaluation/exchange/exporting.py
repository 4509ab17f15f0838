"""Writing a result in the layout of another tool.

mmreflect export outputs/eval format=lmms_eval output=FOLDER [name=TASK] [model=NAME]
mmreflect export outputs/eval format=vlmevalkit output=FOLDER [name=DATASET] [model=NAME]
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from mmreflect import console
from mmreflect.config import settings_of
from mmreflect.errors import UserError, unknown_name
from mmreflect.evaluation.exchange import lmms_eval, vlmevalkit
from mmreflect.evaluation.exchange.finished import Finished, read_finished

Writer = Callable[[Finished, Path, str, str], list[Path]]
FORMATS: dict[str, Writer] = {"lmms_eval": lmms_eval.write, "vlmevalkit": vlmevalkit.write}
KEYS = ("format", "output", "name", "model")


def export_result(folder: str, settings: Sequence[str]) -> list[Path]:
    """Write the files of an evaluation in another tool's layout, and return their paths.

    Args:
        settings: `format=`, one of `FORMATS`, and `output=FOLDER`; `name=`: what the other tool calls the benchmark
            (its own prompts and rules may differ from ours, so that ours is the default), `model=`: and the model.

    Raises:
        UserError: a setting is unknown or missing, or the folder holds no finished evaluation.
    """
    given = settings_of(settings, KEYS, ("format", "output"))
    if given["format"] not in FORMATS:
        raise unknown_name("format", given["format"], list(FORMATS))
    output = Path(given["output"])
    if output.is_file():
        raise UserError(f"output={output} is a file", "a folder", "name another")
    found = read_finished(Path(folder))
    if not found.answers:
        raise UserError(f"{folder} holds no answer that was asked for", "at least one", "evaluate again")
    files = FORMATS[given["format"]](found, output, given.get("name", found.task), given.get("model", found.model))
    ungraded = sum(answer.value is None for answer in found.answers)
    console.say(f"{console.count(len(found.answers), 'answer')} exported")
    for number, what in ((found.not_asked, "left out: never asked for"), (ungraded, "without a verdict")):
        if number:
            console.say(f"[yellow]{console.count(number, 'answer')}[/] {what}")
    for file in files:
        console.say(f"written: {file}")
    return files
