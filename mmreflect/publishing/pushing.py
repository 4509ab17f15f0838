"""`mmreflect push`: a dataset, or an export of one, with its card to the Hugging Face Hub.

mmreflect push DATASET repo=NAME/SET [private=true] [license=NAME] [replace=true] [endpoint=URL]

The token is HF_TOKEN or that of `hf auth login`. Media go first, in several commits; shards, manifest and card last and
in one, so that a push which was cut off leaves no dataset that looks whole. Started again it sends what is missing.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mmreflect import console
from mmreflect.config import settings_of
from mmreflect.data.checksums import sha256_of
from mmreflect.data.readme import CARD, is_untouched
from mmreflect.data.store import MANIFEST
from mmreflect.errors import UserError
from mmreflect.files import read_json
from mmreflect.publishing.card import card_of
from mmreflect.publishing.exporting import MARK, read_source
from mmreflect.publishing.layouts import Source

if TYPE_CHECKING:
    from huggingface_hub import HfApi

KEYS = ("repo", "private", "license", "replace", "endpoint")
MEDIA_PER_COMMIT = 500
_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_THEIRS = (".gitattributes", CARD)
"""What a repository may hold beside the dataset."""
T = TypeVar("T")
Content = Path | bytes


def push(folder: str, settings: Sequence[str]) -> str:
    """Upload a finished dataset, or an exported folder, and return its address.

    Rejected rows stay here, as do the run's own files. A README.md in the folder is sent as it is; else a card is made.

    Args:
        settings: `repo=NAME/SET`; `private=true` for a new repository; `license=`, for the card; `replace=true` deletes
            what else the repository holds; `endpoint=`, of a Hub of one's own.

    Raises:
        UserError: the folder is no whole dataset or was changed, a medium is missing, the name cannot be one, the
            repository holds other files, or the Hub cannot be reached or refuses.
    """
    given = settings_of(settings, KEYS, ("repo",))
    private, replace = (_switch(given, key) for key in ("private", "replace"))  # None leaves it to the Hub
    repo = given["repo"]
    if not _REPO.fullmatch(repo) or ".." in repo or "--" in repo:
        raise UserError(f"repo={repo} is no name on the Hub", "NAME/SET of letters, digits, - _ and .", "correct it")
    media, whole = (_exported if (Path(folder) / MARK).is_file() else _dataset)(Path(folder), given.get("license"))
    _refuse_offline()
    from huggingface_hub import HfApi

    api = HfApi(endpoint=given.get("endpoint"))
    url = _asking(repo, lambda: api.create_repo(repo, repo_type="dataset", private=private, exist_ok=True))
    stale = _others(api, repo, {*media, *whole})
    if stale and not replace:
        raise UserError(
            f"{repo} holds {console.count(len(stale), 'other file')} ({', '.join(stale[:3])})",
            "a new repository, or one with an earlier state of this dataset",
            "choose another name, or say replace=true to delete them",
        )
    for part in _parts(media):
        _commit(api, repo, part, [], "Add media")
        console.say(f"sent: {console.count(len(part), 'file')} of media")
    _commit(api, repo, whole, stale, "Add the dataset")
    console.say(f"pushed: {url}")
    return str(url)


def _switch(given: dict[str, str], key: str) -> bool | None:
    if given.get(key, "false") not in ("true", "false"):
        raise UserError(f"{key}={given[key]}", "true or false", "correct it")
    return given[key] == "true" if key in given else None


def _dataset(folder: Path, license_name: str | None) -> tuple[dict[str, Content], dict[str, Content]]:
    """Return a dataset's media, and what makes it whole, by their paths in the repository."""
    from mmreflect.data.store import read_rows

    source = read_source(str(folder))
    shards = [shard for split in source.splits for shard in source.shards(split.name)]
    media: dict[str, Content] = {}
    for shard in shards:
        for row in read_rows(folder / shard):
            for item in [*(row.get("images") or []), *(row.get("videos") or [])]:
                path = str(item["path"] if isinstance(item, dict) else item)
                media[path] = _inside(folder, path, row)
    whole: dict[str, Content] = {shard: folder / shard for shard in shards}
    whole[MANIFEST] = folder / MANIFEST
    return media, whole | {CARD: _card(source, license_name)}


def _card(source: Source, license_name: str | None) -> Content:
    """Return the card beside the dataset where somebody has written or edited one, or else a new one."""
    file = source.dataset.path / CARD
    if is_untouched(source.dataset.path, source.dataset.manifest):
        return card_of(source, None, license_name, "dataset").encode()
    if license_name is not None:
        raise UserError(
            f"license= for a dataset whose card is written: {file}", "license= in the card", "edit or delete the card"
        )
    return file


def _inside(folder: Path, path: str, row: dict[str, Any]) -> Path:
    file = folder / path
    if Path(path).is_absolute() or ".." in Path(path).parts or not file.is_file():
        raise UserError(
            f"row {row.get('id')!r} shows {path}, which is not in {folder}",
            "the dataset with its media inside its folder",
            "restore the file",
        )
    return file


def _exported(folder: Path, license_name: str | None) -> tuple[dict[str, Content], dict[str, Content]]:
    """Return an export's media, and what makes it whole."""
    if license_name is not None:
        raise UserError(
            "license= for an export, whose card is written", "license= when it is exported", "export it again with it"
        )
    files: dict[str, str] = read_json(folder / MARK)["files"]
    changed = [
        name for name, mark in files.items() if not (folder / name).is_file() or sha256_of(folder / name) != mark
    ]
    if changed:
        raise UserError(
            f"{folder}: {changed[0]} was changed since it was exported", "the export as it was", "export again"
        )
    every = {str(file.relative_to(folder)): file for file in sorted(folder.rglob("*")) if file.is_file()}
    media: dict[str, Content] = {name: file for name, file in every.items() if name.startswith("media/")}
    return media, {name: file for name, file in every.items() if name not in media}


def _refuse_offline() -> None:
    from huggingface_hub import is_offline_mode

    if is_offline_mode():
        raise UserError(
            "HF_HUB_OFFLINE is set, so nothing is sent to the Hub", "a call that may use the network", "unset it"
        )


def _others(api: "HfApi", repo: str, ours: set[str]) -> list[str]:
    there = _asking(repo, lambda: list(api.list_repo_files(repo, repo_type="dataset")))
    return sorted(set(there) - ours - set(_THEIRS))


def _parts(media: dict[str, Content]) -> Iterator[dict[str, Content]]:
    names = sorted(media)
    for start in range(0, len(names), MEDIA_PER_COMMIT):
        yield {name: media[name] for name in names[start : start + MEDIA_PER_COMMIT]}


def _commit(api: "HfApi", repo: str, files: dict[str, Content], stale: Sequence[str], message: str) -> None:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    operations: list[Any] = [
        CommitOperationAdd(name, content if isinstance(content, bytes) else str(content))
        for name, content in files.items()
    ]
    operations += [CommitOperationDelete(name) for name in stale]
    _asking(repo, lambda: api.create_commit(repo, operations, commit_message=message, repo_type="dataset"))


def _asking(repo: str, call: Callable[[], T]) -> T:
    """Ask the Hub, and say in words of ours what went wrong.

    Raises:
        UserError: it cannot be reached, or it refuses.
    """
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

    try:
        return call()
    except HFValidationError as error:
        raise UserError(f"repo={repo} is no name on the Hub: {_first(error)}", "NAME/SET", "correct it") from None
    except LocalTokenNotFoundError:
        raise _no_token() from None
    except HfHubHTTPError as error:
        raise _refused(repo, error) from None
    except OSError as error:
        raise _unreached(error) from None
    except Exception as error:
        if type(error).__module__.split(".")[0] not in (
            "httpx",
            "httpx2",
            "httpcore",
        ):  # whichever client the Hub's uses
            raise
        raise _unreached(error) from None


def _refused(repo: str, error: Any) -> UserError:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == 401:
        return _no_token()
    if status == 403:
        return UserError(
            f"the Hub refuses to write to {repo} (403)",
            "a token that may write to it",
            "make a token with write access, or choose a name of your own",
        )
    if status == 404:
        return UserError(f"the Hub knows no {repo}, or not for this token (404)", "NAME/SET of your own", "correct it")
    return UserError(f"the Hub answered with an error: {_first(error)}", "a push that is taken", "try again later")


def _no_token() -> UserError:
    return UserError(
        "the Hub takes no token from here, or knows it no more",
        "a token that may write, in HF_TOKEN or from hf auth login",
        "set HF_TOKEN",
    )


def _unreached(error: Exception) -> UserError:
    return UserError(
        f"the Hub cannot be reached ({type(error).__name__}: {_first(error)})",
        "a network that leads to it",
        "start the same again; what has arrived is not sent twice",
    )


def _first(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
