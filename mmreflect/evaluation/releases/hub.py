"""Releases on the Hub: tables through `datasets`, pictures left as bytes; other files as they are."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmreflect.errors import UserError
from mmreflect.evaluation.benchmark import Source
from mmreflect.files import content_mark
from mmreflect.limits import met

_COMMIT = re.compile(r"(?<![0-9a-f])[0-9a-f]{40}(?![0-9a-f])")
_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def is_hub_name(text: str) -> bool:
    """Tell whether a text has the form of a dataset's name on the Hub."""
    return _NAME.fullmatch(text) is not None and not text.startswith(".")


class HubTable:
    """One configuration and split of a dataset on the Hub, downloaded by `datasets` into its own cache."""

    def __init__(self, hub: str, config: str, split: str, revision: str | None) -> None:
        import datasets

        try:
            table = datasets.load_dataset(hub, config or None, split=split, revision=revision)
        except Exception as error:  # datasets raises whatever its parts raise; the reason is what counts
            if met(error) is not None:
                raise
            raise unreachable(hub, error) from None
        held = {name: _undecoded(feature) for name, feature in table.features.items()}
        self._table = table.cast(datasets.Features(held)) if held != dict(table.features) else table
        files = [str(item["filename"]) for item in table.cache_files]
        commits = {found[0] for name in files if (found := _COMMIT.search(name))}
        content = commits or {content_mark(name) for name in sorted(files)} or {table._fingerprint}
        self.mark = f"{hub}@{'+'.join(sorted(content))}"

    def records(self, *, bare: bool) -> Iterator[dict[str, Any]]:
        """Yield the rows in order as plain values, a picture as `{bytes, path}`, or without pictures if `bare`."""
        kept = [name for name, kind in self._table.features.items() if not (bare and "Image(" in repr(kind))]
        yield from self._table.select_columns(kept)


def _undecoded(feature: Any) -> Any:
    """Return a feature with its pictures and videos left as bytes, however they are nested in lists."""
    import datasets

    if isinstance(feature, datasets.Image | datasets.Video):
        return type(feature)(decode=False)
    if isinstance(feature, datasets.List):
        return datasets.List(_undecoded(feature.feature), length=feature.length)
    return feature


def download_files(hub: str, revision: str | None, patterns: Sequence[str]) -> Path:
    """Download those files of a dataset that match a pattern, into the Hub's own cache, and return their folder.

    Raises:
        UserError: the Hub cannot be reached and nothing is cached, or there is no such dataset.
    """
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(hub, repo_type="dataset", revision=revision, allow_patterns=list(patterns))
    except Exception as error:
        if met(error) is not None:
            raise
        raise unreachable(hub, error) from None
    return Path(folder)


def media_patterns(source: Source) -> list[str]:
    """Return patterns for what lies beside the rows: each name as a file, a folder, or an archive."""
    forms = ("{0}", "{0}/**", "{0}.*", "{0}_*")
    return [form.format(name.rstrip("/")) for name in source.files for form in forms]


def unreachable(hub: str, error: Exception) -> UserError:
    """Return why a dataset cannot be had from the Hub, with what can be done about it."""
    kind = type(error).__name__
    reason = " ".join(str(error).split())[:300]
    if isinstance(error, ValueError) and ("nknown split" in reason or "BuilderConfig" in reason):
        return UserError(f"{hub}: {reason}", "a configuration and a split of that dataset", "name one of those")
    if "Gated" in kind or "gated" in reason:
        do = f"accept its terms at huggingface.co/datasets/{hub} and log in there, or give a local folder with source="
        return UserError(f"{hub} is only given out to those who accepted its terms ({kind})", "access to it", do)
    return UserError(
        f"{hub} cannot be read from the Hub ({kind}: {reason})",
        "a name of a dataset there and a network, or a local copy; there is no such local folder or file",
        "give a local folder with source=, or check the name and the network",
    )
