from pathlib import Path

import pytest
from pydantic import Field

from mmreflect.config import apply_overrides, config, differences, load_yaml, parse, to_tree, to_yaml
from mmreflect.errors import UserError


@config
class Inner:
    rate: float = 0.5
    names: list[str] = Field(default_factory=list)


@config
class Outer:
    output: str
    steps: int = 3
    inner: Inner = Field(default_factory=Inner)
    maybe: Inner | None = None


def message(tree: dict) -> str:
    with pytest.raises(UserError) as caught:
        parse(Outer, tree, "file.yaml")
    return str(caught.value)


def test_all_errors_at_once_with_the_nearest_key() -> None:
    text = message({"ouptut": "x", "steps": "three", "inner": {"rat": 1.0}})
    assert text.startswith("file.yaml: 4 problems")
    assert "missing key 'output'" in text
    assert "unknown key 'ouptut'; did you mean 'output'?" in text
    assert "steps: should be a valid integer (given: 'three')" in text
    assert "unknown key 'inner.rat'; did you mean 'rate'?" in text


@pytest.mark.parametrize("value", ["3", 3.0, True, None])
def test_types_are_strict(value: object) -> None:
    assert "steps" in message({"output": "x", "steps": value})


def test_resolved_tree_reads_back_to_the_same_config(tmp_path: Path) -> None:
    first = parse(Outer, {"output": "x", "maybe": {"rate": 1e-6}}, "a")
    file = tmp_path / "resolved.yaml"
    file.write_text(to_yaml(to_tree(first)))
    assert parse(Outer, load_yaml(file), "b") == first


def test_yaml_reads_floats_that_people_write(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("a: 1e-6\nb: 1.0e-6\nc: 12\nd: 1e3\ne: v1e\n")
    assert load_yaml(file) == {"a": 1e-6, "b": 1e-6, "c": 12, "d": 1000.0, "e": "v1e"}


def test_yaml_refuses_a_key_that_stands_twice(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("steps: 1\nrate: 2\nsteps: 3\n")
    with pytest.raises(UserError, match=r"key 'steps' stands twice in one mapping \(lines 1 and 3\)"):
        load_yaml(file)


def test_yaml_that_is_nested_too_deeply_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("a: " + "[" * 20_000)
    with pytest.raises(UserError, match=r"a.yaml is nested too deeply"):
        load_yaml(file)


def test_missing_file_names_the_nearest_one(tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text("a: 1")
    with pytest.raises(UserError, match=r"no such config file.*trian.yaml[\s\S]*did you mean .*train.yaml"):
        load_yaml(tmp_path / "trian.yaml")


def test_overrides_reach_into_mappings_and_lists() -> None:
    tree = {"a": {"b": 1}, "list": [{"x": 1}]}
    assert apply_overrides(tree, ["a.b=2.5", "list.0.x=hello", "new.key=[1, 2]", "empty="]) == {
        "a": {"b": 2.5},
        "list": [{"x": "hello"}],
        "new": {"key": [1, 2]},
        "empty": None,
    }
    assert tree == {"a": {"b": 1}, "list": [{"x": 1}]}


@pytest.mark.parametrize(
    ("override", "text"),
    [("steps", "cannot read the override 'steps'"), ("list.4.x=1", "goes through '4'"), ("plain.x=1", "plain value 3")],
)
def test_bad_overrides(override: str, text: str) -> None:
    with pytest.raises(UserError, match=text):
        apply_overrides({"list": [1], "plain": 3}, [override])


def test_differences_name_the_keys() -> None:
    assert differences({"a": {"b": 1}, "c": 2}, {"a": {"b": 3}, "d": 4}) == [
        "a.b: 1 -> 3",
        "c: 2 -> None",
        "d: None -> 4",
    ]


def test_a_block_in_its_short_form_can_be_opened() -> None:
    tree = {"model": "tiny", "selection": "ssr"}
    assert apply_overrides(tree, ["model.attention=sdpa", "selection.alpha=0.5"]) == {
        "model": {"path": "tiny", "attention": "sdpa"},
        "selection": {"name": "ssr", "alpha": 0.5},
    }


def test_capitalised_unknown_keys_and_keys_below_lists() -> None:
    assert "unknown key 'Steps'; did you mean 'steps'?" in message({"output": "x", "Steps": 3})


def test_other_encodings_and_odd_keys_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes(b"output: \xff\xfe")
    with pytest.raises(UserError, match="is not UTF-8 text"):
        load_yaml(file)
    file.write_text("{[a]: 3}")
    with pytest.raises(UserError, match="plain text as keys"):
        load_yaml(file)


def test_a_bare_off_is_a_word_and_no_truth_value() -> None:
    """YAML reads `off` as false, and it is what the README says."""
    from mmreflect.media.reader import ReaderConfig
    from mmreflect.remote.settings import ServerConfig

    assert parse(ReaderConfig, apply_overrides({}, ["cache=off"]), "x").cache == "off"
    server = apply_overrides({}, ["cache=off", "base_url=http://localhost:1/v1", "model=m"])
    assert parse(ServerConfig, server, "x").cache == "off"
