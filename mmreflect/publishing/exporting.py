"""`mmreflect export` of a dataset: its card, or its rows in the layout of another trainer.

mmreflect export DATASET format=trl|llama_factory|ms_swift output=FOLDER [media=copy|link] [license=NAME] [name=SET]
mmreflect export DATASET format=card [output=FILE] [license=NAME]

A folder is made beside its place and moved there when it is whole, so that a killed export leaves nothing that looks
like one; started again it begins anew. `export.json` in it says what it was made from.
"""

import errno
import fcntl
import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmreflect import __version__, console
from mmreflect.config import settings_of
from mmreflect.data.checksums import check_dataset, sha256_of
from mmreflect.data.readme import CARD, is_untouched
from mmreflect.data.store import MANIFEST, open_dataset
from mmreflect.data.survey import survey_split
from mmreflect.errors import UserError, unknown_name
from mmreflect.files import read_json, sync_folder, write_atomic, write_json
from mmreflect.publishing import llama_factory, ms_swift, trl
from mmreflect.publishing.card import card_of
from mmreflect.publishing.layouts import Exported, Shelf, Source

Writer = Callable[[Source, Path, Shelf, str], Exported]
WRITERS: dict[str, Writer] = {"trl": trl.write, "llama_factory": llama_factory.write, "ms_swift": ms_swift.write}
FORMATS = (*WRITERS, "card")
KEYS = ("format", "output", "media", "license", "name")
MARK = "export.json"
_BEGUN = ".export-begun"


def export_dataset(folder: str, settings: Sequence[str]) -> Path:
    """Write a dataset's card, or its rows for another trainer, and return the path of what was written.

    Args:
        settings: `format=`, one of `FORMATS`; `output=`, the folder, or for a card a file (the dataset's own README.md
            where it is left out); `media=copy` or `link`; `license=`, for the card; `name=`, what the set is called.

    Raises:
        UserError: a setting is unknown, missing or of no use, the dataset is not finished or was changed since it was
            built, no row fits the layout, a medium is missing, or the output is in use.
    """
    given = settings_of(settings, KEYS, ("format",))
    if given["format"] not in FORMATS:
        raise unknown_name("format", given["format"], FORMATS)
    _check(given)
    output = _place(folder, given) if given["format"] != "card" else None
    source = read_source(folder)
    if output is None:
        return _write_card(source, given)
    begun = {"format": given["format"], "manifest": sha256_of(source.dataset.path / MANIFEST)}
    begun |= {key: given[key] for key in ("media", "license", "name") if key in given}
    if _is_there(output, begun):
        console.say(f"exported before: {output}")
        return output
    made = _write(source, given, output, begun)
    _say(made, output)
    return output


def read_source(folder: str) -> Source:
    """Open a dataset, check its shards and media against its manifest, and read what it holds.

    Raises:
        UserError: it is not finished, or was changed since it was built.
    """
    dataset = open_dataset(folder)
    check_dataset(dataset)
    splits = dataset.manifest["splits"]
    found = [
        survey_split(dataset.path, name, [shard["file"] for shard in entry["shards"]]) for name, entry in splits.items()
    ]
    return Source(dataset, found)


def _check(given: dict[str, str]) -> None:
    of_use = {"trl": (), "llama_factory": ("media", "name"), "ms_swift": ("media",), "card": ()}[given["format"]]
    for key in ("media", "name"):
        if key in given and key not in of_use:
            raise UserError(f"{key}= is of no use for format={given['format']}", "", "leave it out")
    if given.get("media", "copy") not in ("copy", "link"):
        raise unknown_name("media", given["media"], ("copy", "link"))
    if "output" not in given and given["format"] != "card":
        raise UserError("missing: output=VALUE", "output=FOLDER", "add it")


def _place(folder: str, given: dict[str, str]) -> Path:
    output, dataset = Path(given["output"]), Path(folder)
    if output.is_file():
        raise UserError(f"output={output} is a file", "a folder", "name another")
    if output.resolve().is_relative_to(dataset.resolve()):
        raise UserError(f"output={output} lies inside the dataset", "a folder of its own", "name another")
    return output


def _is_there(output: Path, begun: dict[str, str]) -> bool:
    """Say whether the very same export is there already.

    Raises:
        UserError: something else is.
    """
    if not output.is_dir() or not any(output.iterdir()):
        return False
    known: dict[str, Any] = read_json(output / MARK) if (output / MARK).is_file() else {}
    if known.get("of") == begun:
        return True
    what = "another export" if known else "other files"
    found = ", ".join(sorted(item.name for item in output.iterdir())[:3])
    raise UserError(f"output={output} holds {what} ({found})", "a new or empty folder", "name another, or delete it")


def _write(source: Source, given: dict[str, str], output: Path, begun: dict[str, str]) -> Exported:
    partial = output.resolve().with_name(f".{output.resolve().name}.partial")
    _refuse_foreign(partial)
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        with open(partial / _BEGUN, "w") as mark:
            fcntl.flock(mark, fcntl.LOCK_EX)
            made = _fill(source, given, partial, begun)
            os.replace(partial, output)
            (output / _BEGUN).unlink()
        sync_folder(output.resolve().parent)
    except UserError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        raise UserError(
            f"output={output} cannot be written: {error.strerror}", "a writable place with room", "start the same again"
        ) from None
    return made


def _fill(source: Source, given: dict[str, str], partial: Path, begun: dict[str, str]) -> Exported:
    shelf = Shelf(source.dataset.path, partial, given.get("media") == "link")
    made = WRITERS[given["format"]](source, partial, shelf, given.get("name") or _called(source))
    write_atomic(partial / CARD, card_of(source, made, given.get("license"), given["format"]))
    files = {name: sha256_of(partial / name) for names in made.files.values() for name in names}
    told = {"mmreflect": __version__, "rows": made.rows, "left_out": dict(sorted(made.left_out.items()))}
    write_json(partial / MARK, {"of": begun, **told, "files": files})
    return made


def _refuse_foreign(partial: Path) -> None:
    """Refuse a folder in the way of ours, and one that another process is writing to.

    Raises:
        UserError: it is one of these.
    """
    mark = partial / _BEGUN
    if partial.exists() and not mark.is_file() and any(partial.iterdir()):
        raise UserError(f"{partial} is in the way", "no such folder", "move it away")
    if mark.is_file():
        with open(mark) as held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(f"another process is writing to {partial}", "one at a time", "wait for it") from None


def _called(source: Source) -> str:
    """Return a name for the dataset that is fit for a command line."""
    return re.sub(r"\W+", "_", source.dataset.path.resolve().name).strip("_") or "dataset"


def _write_card(source: Source, given: dict[str, str]) -> Path:
    file = Path(given["output"]) if "output" in given else source.dataset.path / CARD
    if file.is_dir():
        raise UserError(f"output={file} is a folder", "a file", f"name a file in it, such as {file / CARD}")
    text = card_of(source, None, given.get("license"), "dataset")
    own = file.resolve() == (source.dataset.path / CARD).resolve()
    untouched = own and is_untouched(source.dataset.path, source.dataset.manifest)
    if file.is_file() and not untouched and file.read_bytes() != text.encode():
        raise UserError(
            f"{file} is there and says something else",
            "a card that nobody has edited",
            "delete it, or name another output=",
        )
    write_atomic(file, text)
    console.say(f"written: {file}")
    return file


def _say(made: Exported, output: Path) -> None:
    rows = ", ".join(f"{split} {count:,} ({made.shapes[split]})" for split, count in made.rows.items())
    console.say(f"exported: {rows}")
    for reason, count in made.left_out.most_common():
        console.say(f"[yellow]{console.count(count, 'row')}[/] left out of {reason}")
    if lost := made.lost_masks():
        console.say(f"[yellow]a mask is lost[/] in {lost}")
    console.say(f"written: {output}")
