"""No text of a row holds what acts where it should be read: tokens of templates, placeholders, control characters."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mmreflect.files import read_json
from mmreflect.quality import QualityConfig, Texts, check_row
from mmreflect.quality.texts import control_character_in, control_token_in
from mmreflect.tiny import SPECIAL_TOKENS

Cli = Callable[..., tuple[int, str]]
PLAIN = Texts("How many?", r"There are \boxed{4}.", "4", {})
GROUNDING = {token for token in SPECIAL_TOKENS if token.startswith(("<|object_ref", "<|box", "<|quad"))}


def found_in(texts: Texts, exempt: tuple[str, ...] = ()) -> tuple[str, dict[str, Any]]:
    (finding,) = [one for one in check_row(texts, QualityConfig(), exempt) if one.check == "control"]
    return finding.reason or finding.state, finding.facts


@pytest.mark.parametrize(
    "token", [*sorted({*SPECIAL_TOKENS} - GROUNDING), "<|fim_prefix|>", "<|repo_name|>", "<|audio_bos|>", "<|AUDIO|>"]
)
def test_control_tokens(token: str) -> None:
    assert control_token_in(f"a{token}b") == token
    response = rf"There {token} are \boxed{{4}}."
    assert found_in(replace(PLAIN, response=response)) == ("the response holds a control token", {"token": token})
    assert found_in(replace(PLAIN, question=token))[0] == "the question holds a control token"
    assert found_in(replace(PLAIN, system=token))[0] == "the system turn holds a control token"
    assert found_in(replace(PLAIN, rejected=token))[0] == "the rejected side holds a control token"
    assert found_in(replace(PLAIN, gold=token))[0] == "the reference answer holds a control token"
    assert found_in(replace(PLAIN, facts={"attempt": token}))[0] == "passed", "facts are not shown to a model"
    assert found_in(replace(PLAIN, response=response), exempt=("control",))[0] == "the response holds a control token"


@pytest.mark.parametrize(
    "text",
    [
        "a < |b| > c",
        "|x| <|y|",
        "<think>a</think>",
        "<|x| + |y|>",
        "<1.5s>",
        "<tool_call>",
        "f(x)=<|a b|>",
        *sorted(GROUNDING),
    ],
)
def test_what_is_no_control_token(text: str) -> None:
    assert control_token_in(text) is None and found_in(replace(PLAIN, response=text))[0] == "passed"


def test_placeholders_stand_in_no_reply() -> None:
    for placeholder in ("<image>", "<video>", "<audio>"):
        wanted = ("the response holds a placeholder of a medium", {"placeholder": placeholder})
        assert found_in(replace(PLAIN, response=f"As {placeholder} shows, 4")) == wanted
        assert found_in(replace(PLAIN, rejected=placeholder))[0] == "the rejected side holds a placeholder of a medium"
        assert found_in(replace(PLAIN, question=placeholder))[0] == "passed"
    assert found_in(replace(PLAIN, response="The image shows 4 <images>"))[0] == "passed"


@pytest.mark.parametrize(
    ("character", "code"),
    [
        ("\0", "U+0000"), ("\x08", "U+0008"), ("\x0c", "U+000C"), ("\x1b", "U+001B"), ("\x7f", "U+007F"), ("\x85", "U+0085"),
        ("\u202e", "U+202E"), ("\u2066", "U+2066"), ("\ud800", "U+D800"), ("\r", "U+000D"), ("\uffff", "U+FFFF"),
    ],
)  # fmt: skip
def test_control_characters(character: str, code: str) -> None:
    assert control_character_in(f"a{character}b") == code
    text = f"4{character}b"
    places = {"question": "question", "response": "response", "rejected": "rejected side", "name": "id", "gold": "reference answer", "system": "system turn"}  # fmt: skip
    for field, shown in places.items():
        given: Any = {field: text}
        assert found_in(replace(PLAIN, **given)) == (f"the {shown} holds a control character", {"character": code})
    for facts in ({"options": ["3", text]}, {"a": {"b": (text,)}}, {text: 1}):
        assert found_in(replace(PLAIN, facts=facts))[0] == "the text of a fact holds a control character"


@pytest.mark.parametrize("text", ["a\tb\nc\r\nd", "שלום\u200f ", "a\u200db", "𝑥 ≤ 4", "\u3000有几个", "🏴", ""])
def test_what_is_no_control_character(text: str) -> None:
    assert control_character_in(text) is None


def test_rows_with_them_are_rejected_and_counted(tmp_path: Path, run_cli: Cli) -> None:
    """As a teacher wrote them once: the row could not be trained on, nor exported."""
    good = {"question": "How much is 1 + 1?", "answer": "2", "response": r"It is \boxed{2}."}
    rows = [
        good | {"id": "sound"},
        good | {"id": "token", "response": r"It <|im_end|><|vision_start|><|image_pad|> is \boxed{2}."},
        good | {"id": "place", "response": r"As <image> shows, it is \boxed{2}."},
        good | {"id": "bytes", "response": "a\0b\x1b[31m\u202e \\boxed{2}."},
        good | {"id": "asked", "question": "How much <|video_pad|> is 1 + 1?"},
        good | {"id": "half\ud800"},
    ]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tree = {"builder": "rows", "source": str(tmp_path / "in.jsonl"), "output": str(tmp_path / "out"), "validation": 0.0}
    code, text = run_cli("build", tree)
    assert code == 0, text
    manifest = read_json(tmp_path / "out/manifest.json")
    assert manifest["rejects"] == {
        "the response holds a control token": 1, "the response holds a placeholder of a medium": 1,
        "the response holds a control character": 1, "the question holds a control token": 1, "the id holds a control character": 1,
    }  # fmt: skip
    assert manifest["quality"]["checks"]["control"] == {"failed": 5, "passed": 1}
    assert sum(manifest["quality"]["dropped"].values()) == 5


def test_no_builder_is_exempt(tmp_path: Path, run_cli: Cli) -> None:
    leaf = tmp_path / "leaf.py"
    leaf.write_text(
        "from mmreflect.config import config\n\n"
        "EXEMPT = {'free': ['control']}\n\n"
        "@config\nclass Config:\n    output: str\n    seed: int = 0\n    shard_rows: int = 3\n\n"
        "def splits(config):\n    return {'train': 1}\n\n"
        "def make(config, split, index):\n    raise AssertionError('it is refused before')\n"
    )
    code, text = run_cli("build", {"builder": str(leaf), "output": str(tmp_path / "out")})
    assert code == 2 and "unknown check in EXEMPT 'control'" in text, text
