"""What `mmreflect view` writes: the page of a run, of two evaluations side by side, or of a scored file."""

from collections.abc import Sequence
from pathlib import Path

from mmreflect.config import settings_of
from mmreflect.errors import UserError
from mmreflect.files import write_atomic
from mmreflect.report import PAGE, evaluations, pair
from mmreflect.report.browser import MOST_PICTURES, thumbnails
from mmreflect.report.folders import read_folder
from mmreflect.report.layout import Page
from mmreflect.report.page import origin, settings_section, write_page
from mmreflect.report.render import render
from mmreflect.report.scored import read_scoring

KEYS = ("output", "pictures", "rows")


def view(words: Sequence[str]) -> Path:
    """Write the page that the words of the command line ask for, and return its path.

    Args:
        words: a run's folder, the folders of two evaluations, or a file that `mmreflect eval rescore` wrote; and
            `output=FILE`, `pictures=N`, and of a dataset `rows=N`.

    Raises:
        UserError: none of these is named, or what is named cannot be read.
    """
    settings = [word for word in words if "=" in word and not Path(word).exists()]
    named = [word for word in words if word not in settings]
    given = settings_of(settings, KEYS)
    if len(named) not in (1, 2):
        raise UserError(
            f"{len(named)} runs are named",
            "the folder of one run, the folders of two evaluations, or a file of mmreflect eval rescore",
            "name one or two: mmreflect view outputs/eval",
        )
    pictures, rows = (_number(given, key) for key in ("pictures", "rows"))
    output = Path(given["output"]) if "output" in given else None
    if output is not None and output.is_dir():
        raise UserError(f"output={output} is a folder", "a file", f"name a file in it, such as {output / PAGE}")
    if rows is not None and (len(named) == 2 or Path(named[0]).is_file()):
        raise UserError(f"rows={rows} for what is no dataset", "the folder of a dataset", "leave it out")
    if len(named) == 2:
        return _pair_page(Path(named[0]), Path(named[1]), output, MOST_PICTURES if pictures is None else pictures)
    if Path(named[0]).is_file():
        if pictures is not None:
            raise UserError("pictures= for a file of responses", "a run, which knows its pictures", "leave it out")
        return _file_page(Path(named[0]), output)
    return write_page(named[0], output, pictures, rows)


def _number(given: dict[str, str], key: str) -> int | None:
    word = given.get(key)
    if word is not None and not (word.isdecimal() and word.isascii()):
        raise UserError(f"{key}={word}", "a whole number, 0 for none", "correct it")
    return None if word is None else int(word)


def _file_page(file: Path, output: Path | None) -> Path:
    summary = file.with_name(f"{file.name.removesuffix('.jsonl')}.summary.json")
    if file.suffix != ".jsonl" or not summary.is_file():
        lacks = f", which has no {summary.name} beside it" if file.suffix == ".jsonl" else ""
        raise UserError(
            f"{file} is no scored file{lacks}",
            "OUT.jsonl with its OUT.summary.json, as mmreflect eval rescore writes them, or the folder of a run",
            "score it first: mmreflect eval rescore BENCHMARK responses=FILE.jsonl output=OUT.jsonl",
        )
    scoring = read_scoring(file, summary)
    title, subject, lead, figures, sections = evaluations.rescored(scoring, file)
    shown = [section for section in sections if section]
    page = Page(f"mmreflect eval rescore · {file.name}", title, subject, lead, [], figures, shown, origin())
    target = output or file.with_suffix(".html")
    write_atomic(target, render(page))
    return target


def _pair_page(left: Path, right: Path, output: Path | None, pictures: int) -> Path:
    runs = read_folder(left), read_folder(right)
    for run in runs:
        if run.verb != "eval":
            raise UserError(f"{run.path} is a {run.verb} run", "two evaluations", "name the folders of two evaluations")
    names = pair.names_of(*runs)
    title, subject, lead, figures, sections = pair.parts(*runs, names, thumbnails(left.resolve(), pictures))
    notes = ["Each config.yaml below is complete and gives its run again with mmreflect eval."]
    files = [(f"{name}: config.yaml", run.config_text) for name, run in zip(names, runs, strict=True)]
    shown = [section for section in [*sections, settings_section(notes, runs, files)] if section]
    eyebrow = f"mmreflect view · {left} · {right}"
    page = Page(eyebrow, title, subject, lead, [], figures, shown, origin(*(run.version for run in runs)))
    target = output or right / f"against-{left.resolve().name}.html"
    write_atomic(target, render(page))
    return target
