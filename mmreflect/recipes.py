"""The one loader of leaf files: builders, trainers and benchmarks, by name or by path.

A leaf is looked for at the user's path, then in the checkout's folder, then in the copy that the wheel carries.
Each gets one stable module name, so that worker processes can import it by name.
"""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Literal

from mmreflect.errors import UserError, unknown_name

Kind = Literal["builder", "trainer", "benchmark"]
FOLDERS: dict[Kind, str] = {"builder": "data_builders", "trainer": "train", "benchmark": "eval"}


def root() -> Path:
    """Return the folder that holds the leaf folders and `configs/`: the checkout, or the wheel's copy."""
    package = Path(__file__).resolve().parent
    checkout = package.parent
    bundled = package / "_recipes"
    return bundled if bundled.is_dir() and not (checkout / "pyproject.toml").is_file() else checkout


def names(kind: Kind) -> list[str]:
    """Return the names of a kind's leaves, read from its folder."""
    return sorted(path.stem for path in (root() / FOLDERS[kind]).glob("*.py") if not path.stem.startswith("_"))


def load(kind: Kind, name: str) -> ModuleType:
    """Import a leaf by its name, or by the path of a user's own file.

    Raises:
        UserError: there is no such leaf or file.
    """
    if name.endswith(".py"):
        path = Path(name).resolve()
        if not path.is_file():
            raise UserError(f"no such {kind} file: {name}", "the path of a Python file", "check the path")
        stable = f"mmreflect_recipe_{path.stem}"
    else:
        if name not in names(kind):
            raise unknown_name(kind, name, names(kind))
        path = root() / FOLDERS[kind] / f"{name}.py"
        stable = f"mmreflect_recipe_{FOLDERS[kind]}_{name}"
    if stable in sys.modules and sys.modules[stable].__file__ == str(path):
        return sys.modules[stable]
    return _import(stable, path)


def _import(stable: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(stable, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[stable] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[stable]
        raise
    return module


def config_path(name: str) -> Path:
    """Return a config file's path: as given, or under the checkout or the wheel's copy when it is not there."""
    path = Path(name)
    bundled = root() / name
    return bundled if not path.exists() and bundled.is_file() else path
