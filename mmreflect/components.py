"""Finding a part of the library by the stem of its file: an environment, a reward, a stage, a selection, ...

The folder is the list: adding a component is adding a file. Nothing is imported before its name is used.
"""

import importlib
import pkgutil
from types import ModuleType
from typing import Annotated, Any

from pydantic import PlainValidator

from mmreflect.config import Component, component_parser
from mmreflect.errors import unknown_name

KINDS = {
    "environment": "mmreflect.environments",
    "reward": "mmreflect.rewards",
    "stage": "mmreflect.stages",
    "advantage": "mmreflect.rl.advantages",
    "selection": "mmreflect.rl.selections",
    "engine": "mmreflect.rollouts.engines",
    "merge": "mmreflect.merge.methods",
}


def names(kind: str) -> list[str]:
    """Return the names of a kind, read from its folder."""
    package = importlib.import_module(KINDS[kind])
    return sorted(item.name for item in pkgutil.iter_modules(package.__path__) if not item.name.startswith("_"))


def load(kind: str, name: str) -> ModuleType:
    """Import one component's module.

    Raises:
        UserError: there is no such name; the nearest one is named.
    """
    if name not in names(kind):
        raise unknown_name(kind, name, names(kind))
    return importlib.import_module(f"{KINDS[kind]}.{name}")


def _option(kind: str) -> Any:
    return PlainValidator(component_parser(kind, load))


EnvironmentOption = Annotated[Component, _option("environment")]
RewardOption = Annotated[Component, _option("reward")]
StageOption = Annotated[Component, _option("stage")]
AdvantageOption = Annotated[Component, _option("advantage")]
SelectionOption = Annotated[Component, _option("selection")]
EngineOption = Annotated[Component, _option("engine")]


def default(kind: str, name: str) -> Component:
    """Return a component with its default options, for the default of a config field."""
    return component_parser(kind, load)(name)
