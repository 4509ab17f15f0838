"""What pictures gave, kept between merges: damaged, changed or nowhere to be kept, it costs measuring and no merge."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from merge.small import models, recipe
from PIL import Image

from mmreflect.errors import UserError
from mmreflect.files import read_json
from mmreflect.merge import attention_maps
from mmreflect.merge.attention import read_prior
from mmreflect.merge.notes import marked
from mmreflect.merge.shares import Shares, checked_shares

Cli = Callable[..., tuple[int, str]]
GIVEN = {"0.png": [0.5, 0.25], "1.png": [0.3, 0.15], "2.png": [0.1, 0.05]}
MEAN = [0.3, 0.15]


@pytest.fixture
def merge(tmp_path: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Merge with a prior of three pictures, by a probe that is none, and return what was said."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    (tmp_path / "pictures").mkdir()
    for number in range(3):
        Image.new("RGB", (60, 60), (number * 60, 10, 20)).save(tmp_path / "pictures" / f"{number}.png")
    prior = {"name": "attention", "pictures": str(tmp_path / "pictures"), "normalise": "attention", "floor": 0.0}
    tree = recipe(models(tmp_path), prior=prior, arithmetic="numpy")  # else each test would build the kernels

    def run(given: dict[str, list[float]] = GIVEN, code: int = 0, output: str = "out") -> str:
        asked.clear()
        monkeypatch.setattr(attention_maps, "Probe", lambda *how: lambda item: note(given, Path(item.path).name))
        found, text = run_cli("merge", tree | {"output": str(tmp_path / output)})
        assert found == code, text
        return " ".join(text.split())

    def note(given: dict[str, list[float]], name: str) -> list[float]:
        asked.append(name)
        return given[name]

    return run


asked: list[str] = []


def file_of(root: Path) -> Path:
    (file,) = (root / "xdg/mmreflect/attention").glob("attention-*.jsonl")
    return file


def measured(folder: Path) -> list[float]:
    found: list[float] = read_json(folder / "prior.json")["a"]
    return found


def line(row: dict[str, Any]) -> bytes:
    """Write a line as it is kept, whatever it says."""
    return json.dumps(marked(row)).encode()


DAMAGE: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "zeros": lambda rows: [bytes(40), *rows[1:]],
    "no keys": lambda rows: [b"{}", *rows[1:]],
    "a list": lambda rows: [b"[]", *rows[1:]],
    "no list": lambda rows: [line({"key": "x", "a": 3}), *rows[1:]],
    "no shares": lambda rows: [line({"key": "x", "a": []}), *rows[1:]],
    "no text": lambda rows: [b"\xff\xfe", *rows[1:]],
    "one more": lambda rows: [rows[0].replace(b"]", b", 0.5]"), *rows[1:]],
    "below 0": lambda rows: [line({"key": "x", "a": [-7.0, 0.5]}), *rows[1:]],
    "changed": lambda rows: [rows[0].replace(b"[0.5", b"[0.6"), *rows[1:]],
    "another picture": lambda rows: [rows[0].replace(rows[0][9:19], b"0123456789"), *rows[1:]],
}


@pytest.mark.parametrize("name", list(DAMAGE))
def test_a_damaged_line_costs_its_picture_and_no_merge(name: str, tmp_path: Path, merge: Callable[..., str]) -> None:
    assert "damaged: " not in merge() and sorted(asked) == ["0.png", "1.png", "2.png"]
    file = file_of(tmp_path)
    whole = file.read_bytes()
    rows = whole.splitlines()
    assert json.loads(rows[0])["a"] == GIVEN["0.png"], "measured by name"
    file.write_bytes(b"\n".join(DAMAGE[name](rows)) + b"\n")
    said = merge(output="again")
    assert f"damaged: 1 line of '{file}'; their pictures are measured again" in said and asked == ["0.png"]
    assert measured(tmp_path / "again") == measured(tmp_path / "out") == pytest.approx(MEAN)
    assert sorted(file.read_bytes().splitlines()) == sorted(rows)
    if name == "zeros":
        assert "damaged: " not in merge(output="third") and asked == []


@pytest.mark.parametrize("place", ["/dev/null", "~nobody-of-that-name/x", "/tmp/" + 300 * "x"])
def test_a_cache_that_cannot_be_made_costs_the_cache_and_no_merge(
    place: str, tmp_path: Path, merge: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", place)
    assert merge().count("what pictures give is not kept for later merges: ") == 1
    assert measured(tmp_path / "out") == pytest.approx(MEAN)
    merge(output="again")
    assert len(asked) == 3


def test_what_is_no_share_is_neither_kept_nor_written(tmp_path: Path, merge: Callable[..., str]) -> None:
    said = merge({**GIVEN, "1.png": [0.3, -7.0]})
    assert "1 picture left out, for example" in said and "a share of -7 of the attention" in said
    assert measured(tmp_path / "out") == pytest.approx([0.3, 0.15]) and "-7" not in file_of(tmp_path).read_text()
    said = merge({name: [float("nan"), 0.1] for name in GIVEN}, output="again")
    assert asked == ["1.png"] and "a share of nan of the attention" in said


def test_no_share_at_all_ends_the_merge_without_a_prior(tmp_path: Path, merge: Callable[..., str]) -> None:
    said = merge({name: [1.5, 0.1] for name in GIVEN}, code=2)
    assert "could be measured" in said and "a share of 1.5 of the attention" in said
    assert not (tmp_path / "out/prior.json").exists()


def test_rounding_above_one_is_none() -> None:
    assert checked_shares([1 + 1e-12, 0.0], "a.png") == [1.0, 0.0]
    with pytest.raises(UserError, match=r"a.png: a share of 1.001 of the attention"):
        checked_shares([1.001], "a.png")


def test_a_folder_in_the_place_of_the_file_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = Shares(tmp_path)
    kept.add("a", [0.5])
    kept.add("b", [0.25])
    assert kept.known == {"a": [0.5], "b": [0.25]}
    assert capsys.readouterr().out.count("is not kept for later merges") == 1


def test_a_prior_of_the_run_itself_that_is_damaged_says_what_to_do(tmp_path: Path, merge: Callable[..., str]) -> None:
    merge()
    (tmp_path / "out/result.json").unlink()
    (tmp_path / "out/prior.json").write_bytes(bytes(30))
    said = merge(code=2)
    assert f"{tmp_path / 'out/prior.json'} is no measured prior" in said
    assert "a merge that wrote it for itself measures it anew where it is deleted" in said
    (tmp_path / "out/prior.json").unlink()
    merge()
    assert asked == [] and read_prior(tmp_path / "out").a == pytest.approx(MEAN)
