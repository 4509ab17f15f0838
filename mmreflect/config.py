"""YAML plus `key=value` to typed configuration: every error at once, the nearest key named.

A config class is a frozen dataclass owned by the module that uses it, made with `@config`. Values are checked
strictly (a quoted number is not a number); unknown keys are errors.
"""

import dataclasses
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, dataclass_transform

import pydantic
import yaml
from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass

from mmreflect.errors import UserError, nearest, unknown_name

T = TypeVar("T")
Tree = dict[str, Any]
FolderOrOff = Annotated[str, BeforeValidator(lambda value: "off" if value is False else value), Field(min_length=1)]
"""A folder, or `off`, which YAML reads as false."""
Keys = tuple[str | int, ...]
"""Where a value stands in a tree: keys of mappings and places in lists."""


class _Free:
    """The mark of a free field."""


FREE = _Free()
"""Marks a field that decides nothing of what a run makes, only how fast, where and at whose cost:
`workers: Annotated[int, FREE] = 1`. A run that was started with another value goes on with the new one.
"""


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(Field, dataclasses.field))
def config(cls: type[T]) -> type[T]:
    """Make a config class: frozen, keyword-only, strict about types, no unknown keys."""
    settings = ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True, defer_build=True)
    return pydantic_dataclass(cls, frozen=True, kw_only=True, config=settings)  # type: ignore[return-value]


class _Loader(yaml.SafeLoader):
    """Safe YAML with the floats people write (`1e-6`) and without silently lost duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float | bool | None):
                raise UserError(f"a key is {key!r}", "plain text as keys", "write the key as text")
            line = key_node.start_mark.line + 1
            if key in seen:
                raise UserError(
                    f"key {key!r} stands twice in one mapping (lines {seen[key]} and {line})",
                    "each key once",
                    "remove one of the two lines",
                )
            seen[key] = line
        return super().construct_mapping(node, deep)


_FLOAT = re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def _parse_yaml(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise UserError(f"{where} is not valid YAML: {error}", "a YAML mapping", "fix the syntax there") from None
    except RecursionError:
        raise UserError(f"{where} is nested too deeply", "a YAML mapping", "correct it") from None
    except UserError as error:
        raise UserError(f"{where}: {error.given}", error.expected, error.do) from None


def load_yaml(path: Path) -> Tree:
    """Read a YAML mapping.

    Raises:
        UserError: the file is missing, not YAML, not a mapping, or holds a key twice.
    """
    if not path.is_file():
        beside = sorted(item.name for item in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        close = nearest(path.name, beside)
        do = f"did you mean {path.parent / close}?" if close else "check the path"
        raise UserError(f"no such config file: {path}", "the path of a YAML file", do)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error.reason})", "a YAML file", "save it as UTF-8") from None
    tree = _parse_yaml(text, str(path))
    if not isinstance(tree, dict):
        raise UserError(
            f"{path} holds {type(tree).__name__}", "a mapping of keys to values", "see configs/ for examples"
        )
    return tree


def apply_overrides(tree: Tree, overrides: Sequence[str]) -> Tree:
    """Return the tree with `a.b=value` settings applied; values are read as YAML, list items by index.

    Raises:
        UserError: an override has no `=`, or goes through something that is not a mapping or list.
    """
    tree = json.loads(json.dumps(tree))
    for override in overrides:
        path, equals, text = override.partition("=")
        if not equals or not path:
            raise UserError(
                f"cannot read the override {override!r}", "key=value", "write for example trainer.max_steps=10"
            )
        value = _parse_yaml(text, f"the override {override!r}") if text else None
        _assign(tree, path.split("."), value, override)
    return tree


_MAIN_KEY = {"model": "path"}
"""A block given as plain text stands for this key of it; every other one for its `name`."""


def _assign(tree: Any, keys: list[str], value: Any, override: str) -> None:
    *parents, last = keys
    for key in parents:
        if isinstance(tree, dict):
            if isinstance(tree.get(key), str):  # the short form of a block: its one main key
                tree[key] = {_MAIN_KEY.get(key, "name"): tree[key]}
            tree = tree.setdefault(key, {})
        elif isinstance(tree, list) and key.isdigit() and int(key) < len(tree):
            tree = tree[int(key)]
        else:
            raise UserError(
                f"{override!r} goes through {key!r}, which does not exist", "a path of existing mappings or lists"
            )
        if tree is None or isinstance(tree, str | int | float | bool):
            raise UserError(
                f"{override!r} sets a key inside {key!r}, which holds the plain value {tree!r}",
                "a mapping there",
                f"give {key!r} as a mapping in the YAML file",
            )
    if isinstance(tree, list):
        if not (last.isdigit() and int(last) < len(tree)):
            raise UserError(f"{override!r} names item {last!r} of a list of {len(tree)}", f"an index below {len(tree)}")
        tree[int(last)] = value
    else:
        tree[last] = value


def parse(cls: type[T], tree: Mapping[str, Any], where: str) -> T:
    """Check a tree against a config class.

    Args:
        where: what the tree came from, for the message.

    Raises:
        UserError: lists every problem, one line each, with the nearest key for unknown ones.
    """
    try:
        text = json.dumps(tree)
    except TypeError as error:
        raise UserError(f"{where}: {error}", "plain YAML values", "quote dates and other special values") from None
    try:
        return TypeAdapter(cls).validate_json(text)
    except ValidationError as error:
        problems = [line for item in error.errors() for line in _problems(cls, item, tree)]
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise Problems(where, count, problems) from None


class Problems(UserError):
    """Everything that is wrong with a configuration, a line each."""

    def __init__(self, where: str, count: str, lines: list[str]) -> None:
        self.lines = lines
        super().__init__(f"{where}: {count}\n" + "\n".join(f"  - {line}" for line in lines))

    def __reduce__(self) -> Any:
        """Survive a trip between processes as the plain error."""
        return UserError, (self.given,)


def _problems(cls: type, item: Any, tree: Any) -> list[str]:
    location = _without_tags(item["loc"], tree)
    path = ".".join(str(part) for part in location)
    kind, given = item["type"], item.get("input")
    if kind in ("unexpected_keyword_argument", "extra_forbidden"):
        known = _keys_at(cls, location[:-1])
        close = nearest(str(location[-1]), known)
        hint = f"; did you mean {close!r}?" if close else f"; known keys: {', '.join(known)}" if known else ""
        return [f"unknown key {path!r}{hint}"]
    if kind in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return [f"missing key {path!r}"]
    if kind == "value_error":
        inner = item.get("ctx", {}).get("error", item["msg"])
        lines = inner.lines if isinstance(inner, ComponentProblems) else [str(inner)]
        return [f"{path}: {line}" for line in lines]
    message = item["msg"][0].lower() + item["msg"][1:]
    for name, word in (("valid array", "list"), ("an object", "a mapping"), ("a valid dictionary", "a mapping")):
        message = message.replace(name, word)
    return [f"{path}: {message.removeprefix('input ')} (given: {given!r})"]


def _without_tags(location: Sequence[Any], tree: Any) -> list[Any]:
    """Leave out the branches of unions that pydantic adds to an error's path; the user's own keys all stay."""
    kept = []
    for part in location:
        inside = part in tree if isinstance(tree, Mapping) else isinstance(part, int)
        looks_like_tag = isinstance(part, str) and (part in _TAGS or "[" in part or part[:1].isupper())
        if looks_like_tag and not inside:
            continue
        kept.append(part)
        if isinstance(tree, Mapping):
            tree = tree.get(part)
        elif isinstance(tree, list) and isinstance(part, int) and part < len(tree):
            tree = tree[part]
    return kept


_TAGS = {"str", "int", "float", "bool"}


def _keys_at(cls: Any, location: Sequence[Any]) -> list[str]:
    for key in location:
        if isinstance(key, int):
            continue
        if dataclasses.is_dataclass(cls):
            hints = {field.name: field.type for field in dataclasses.fields(cls)}
            cls = _dataclass_in(hints.get(str(key)))
    return [field.name for field in dataclasses.fields(cls)] if dataclasses.is_dataclass(cls) else []


def _dataclass_in(hint: Any) -> Any:
    """Return the dataclass inside a type hint such as `Options | None` or `list[Options]`."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return hint
    for argument in getattr(hint, "__args__", ()):
        found = _dataclass_in(argument)
        if found is not None:
            return found
    return None


class ComponentProblems(ValueError):
    """What is wrong with the options of a component, a line each."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("; ".join(lines))
        self.lines = lines


def to_tree(value: Any) -> Any:
    """Turn a config back into plain values that `parse` reads to an equal config."""
    if isinstance(value, Component):
        options = to_tree(value.options)
        return {"name": value.name, **options}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_tree(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: to_tree(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_tree(item) for item in value]
    return value


def to_yaml(tree: Tree) -> str:
    """Write a tree as YAML in its own key order, floats in a form that reads back as floats."""
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """List the keys in which two trees differ, as `key: old -> new`."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(key for key in new if key not in old)]
        return [line for key in keys for line in differences(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))]
    return [] if old == new else [f"{path}: {old!r} -> {new!r}"]


def parts_of(value: Any, where: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    """Yield a config and every config and component inside of it, each with its place in the tree of `to_tree`."""
    if isinstance(value, Component) or dataclasses.is_dataclass(value):
        yield where, value
    if isinstance(value, Component):
        yield from parts_of(value.options, where)
        return
    items: Iterable[tuple[Any, Any]] = ()
    if dataclasses.is_dataclass(value):
        items = [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    elif isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    for key, item in items:
        yield from parts_of(item, (*where, key))


def free_keys(value: Any) -> list[Keys]:
    """Return where a config holds fields that are marked `FREE`, in the tree that `to_tree` makes of it."""
    return [
        (*where, key)
        for where, part in parts_of(value)
        for key, field in getattr(type(part), "__pydantic_fields__", {}).items()
        if any(mark is FREE for mark in field.metadata)
    ]


def without(tree: Any, places: Sequence[Keys]) -> Any:
    """Return a tree without what stands at some places; one that it does not have is no error."""
    gone = {keys[0] for keys in places if len(keys) == 1}

    def below(key: str | int, item: Any) -> Any:
        return without(item, [keys[1:] for keys in places if keys[0] == key])

    if isinstance(tree, dict):
        return {key: below(key, item) for key, item in tree.items() if key not in gone}
    return [below(place, item) for place, item in enumerate(tree)] if isinstance(tree, list) else tree


@dataclasses.dataclass(frozen=True)
class Component:
    """A part of the library chosen by name in YAML (`{name: ssr, alpha: 1.0}`), its options checked.

    Attributes:
        target: the module-level object that does the work: a function or class named by the module.
    """

    kind: str
    name: str
    options: Any
    module: Any


def component_parser(kind: str, load: Callable[[str, str], Any]) -> Callable[[Any], Component]:
    """Return the pydantic validator that turns `{name: ..., options...}` or a bare name into a `Component`."""

    def parse_component(value: Any) -> Component:
        if isinstance(value, Component):
            return value
        tree = {"name": value} if isinstance(value, str) else value
        if not isinstance(tree, dict) or not isinstance(tree.get("name"), str):
            raise ValueError(f"expected a name or a mapping with a 'name' key (given: {value!r})")
        options = {key: item for key, item in tree.items() if key != "name"}
        try:
            module = load(kind, tree["name"])
            parsed = parse(module.Config, options, f"{kind} {tree['name']!r}")
        except Problems as problems:
            raise ComponentProblems(problems.lines) from None
        except UserError as error:
            raise ComponentProblems([f"{error.given}; {error.do}" if error.do else error.given]) from None
        return Component(kind, tree["name"], parsed, module)

    return parse_component


__all__ = [
    "Component",
    "Field",
    "Tree",
    "UserError",
    "apply_overrides",
    "config",
    "differences",
    "load_yaml",
    "parse",
    "pydantic",
    "to_tree",
    "to_yaml",
]


def settings_of(words: Sequence[str], known: Sequence[str], needed: Sequence[str] = ()) -> dict[str, str]:
    """Read `key=value` words of a verb that has no YAML.

    Raises:
        UserError: a key is unknown (the nearest one is named), stands without a value, or a needed one is missing.
    """
    given: dict[str, str] = {}
    for word in words:
        key, _, value = word.partition("=")
        if key not in known:
            raise unknown_name("setting", key, known)
        if not value:
            raise UserError(f"{word!r} sets nothing", f"{key}=VALUE", "give it a value")
        given[key] = value
    missing = [f"{key}=VALUE" for key in needed if key not in given]
    if missing:
        raise UserError(f"missing: {', '.join(missing)}", " ".join(f"{key}=VALUE" for key in needed), "add it")
    return given
