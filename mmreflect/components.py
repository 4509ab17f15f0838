"""Finding a part of the library by the stem of its file: an environment, a reward, a stage, a layout, ...

The folder is the list: adding a component is adding a file. Nothing is imported before its name is used.
"""

import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

from pydantic import PlainValidator

from mmreflect.config import Component, component_parser
from mmreflect.errors import UserError, unknown_name

KINDS = {
    "environment": "mmreflect.environments",
    "reward": "mmreflect.rewards",
    "stage": "mmreflect.stages",
    "advantage": "mmreflect.rl.advantages",
    "selection": "mmreflect.rl.selections",
    "engine": "mmreflect.rollouts.engines",
    "merge": "mmreflect.merge.methods",
    "layout": "mmreflect.layouts",
    "decoding": "mmreflect.decoding",
    "runner": "mmreflect.building.runners",
}


def names(kind: str) -> list[str]:
    """Return the names of a kind, read from its folder."""
    package = importlib.import_module(KINDS[kind])
    found = {item.name for item in pkgutil.iter_modules(package.__path__) if not item.name.startswith("_")}
    return sorted(found - {"user"})


def load(kind: str, name: str) -> ModuleType:
    """Import one component's module; for a reward, `path.py:function` names a function of the user's.

    Raises:
        UserError: there is no such name; the nearest one is named.
    """
    if kind == "reward" and ".py:" in name:
        return _user_reward(name)
    if name not in names(kind):
        raise unknown_name(kind, name, names(kind))
    return importlib.import_module(f"{KINDS[kind]}.{name}")


def _user_reward(name: str) -> ModuleType:
    """Return a module with the interface of a reward around a user's function."""
    path, _, function_name = name.rpartition(":")
    user = importlib.import_module("mmreflect.rewards.user")
    function = user_function(name)
    module = ModuleType(f"mmreflect_user_reward_{Path(path).stem}_{function_name}")
    module.Config = user.Config  # type: ignore[attr-defined]
    module.create = lambda options: user.wrap(function, name, options.arguments)  # type: ignore[attr-defined]
    return module


def user_function(given: str) -> Callable[..., Any]:
    """Return a function of the user's, given as `path.py:function`.

    Raises:
        UserError: there is no such file, or no such function in it; the nearest one is named.
    """
    file, _, name = given.rpartition(":")
    path = Path(file)
    if path.suffix != ".py" or not path.is_file():
        raise UserError(f"no such file: {file or given}", "path.py:function", "check the path")
    stable = f"mmreflect_user_{path.stem}"
    spec = importlib.util.spec_from_file_location(stable, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[stable] = module
    spec.loader.exec_module(module)
    function = getattr(module, name, None)
    if not callable(function):
        public = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise unknown_name(f"function in {path}", name, public)
    return function  # type: ignore[no-any-return]


def _option(kind: str) -> Any:
    return PlainValidator(component_parser(kind, load))


EnvironmentOption = Annotated[Component, _option("environment")]
RewardOption = Annotated[Component, _option("reward")]
StageOption = Annotated[Component, _option("stage")]
AdvantageOption = Annotated[Component, _option("advantage")]
SelectionOption = Annotated[Component, _option("selection")]
EngineOption = Annotated[Component, _option("engine")]
LayoutOption = Annotated[Component, _option("layout")]
DecodingOption = Annotated[Component, _option("decoding")]
RunnerOption = Annotated[Component, _option("runner")]


def default(kind: str, name: str) -> Component:
    """Return a component with its default options, for the default of a config field."""
    return component_parser(kind, load)(name)
