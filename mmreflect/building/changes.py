"""What of a build's configuration may change when it is started again, as nothing that is there depends on it."""

from pathlib import Path
from typing import Any

from mmreflect.building.inspecting import ASKED
from mmreflect.building.sifting import BEGUN
from mmreflect.config import Keys, Tree, load_yaml, parse, parts_of
from mmreflect.errors import UserError
from mmreflect.files import read_json
from mmreflect.quality.config import COMPARISON, QualityConfig

UNANSWERED = "unanswered"


def open_keys(folder: Path, config: Any, quality: QualityConfig) -> list[Keys]:
    """Return where a build's tree holds what it may go on with otherwise than it was started."""
    return open_settings(folder, quality) + given_up(folder, config)


def open_settings(folder: Path, config: QualityConfig) -> list[Keys]:
    """Return where it holds how rows are compared: until the comparison has begun, while the same is marked of them."""
    asked = folder / ASKED
    if not asked.is_file() or (folder / BEGUN).is_file() or (folder / "result.json").is_file():
        return []
    try:
        known = parse(QualityConfig, read_json(asked)["quality"], str(asked))
    except UserError:  # another version wrote it
        return []
    return comparison_keys() if marks_alike(known, config) else []


def marks_alike(one: QualityConfig, other: QualityConfig) -> bool:
    """Tell whether the same is marked of rows, so that those of one can be compared as the other says."""
    return (one.compares, one.sketches) == (other.compares, other.sketches)


def comparison_keys() -> list[Keys]:
    """Return where a build's tree holds how rows are compared."""
    return [("quality", name) for name in COMPARISON]


def unanswered_keys(config: Any) -> list[Keys]:
    """Return where a leaf's tree says what becomes of what a server did not answer."""
    return [(*where, UNANSWERED) for where, part in parts_of(config) if getattr(part, UNANSWERED, None) is not None]


def given_up(folder: Path, config: Any) -> list[Keys]:
    """Return where it holds `unanswered: reject` after a start with `stop`, which has left nothing out so far."""
    file = folder / "config.yaml"
    known: Tree = load_yaml(file) if file.is_file() else {}
    return [keys for keys in unanswered_keys(config) if (_at(known, keys), _own(config, keys)) == ("stop", "reject")]


def _own(config: Any, keys: Keys) -> Any:
    return next(getattr(part, UNANSWERED) for where, part in parts_of(config) if (*where, UNANSWERED) == keys)


def _at(tree: Any, keys: Keys) -> Any:
    for key in keys:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree
