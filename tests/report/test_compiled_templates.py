"""Templates are compiled once: that changes no byte of a page, and where they cannot be kept nothing breaks."""

from pathlib import Path

import pytest
from jinja2 import Environment

from mmreflect.report.layout import Page
from mmreflect.report.render import render

PAGE = Page("mmreflect", "A title", "A subject", ["A lead"], [], [], [], "Written from the files.")


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the templates that are compiled."""
    found: list[str] = []
    real = Environment.compile

    def compile(self: Environment, source: str, name: str, filename: str) -> object:
        found.append(name)
        return real(self, source, name, filename)

    monkeypatch.setattr(Environment, "compile", compile)
    return found


def cut(content: bytes) -> bytes:
    return content[:-100]


def flipped(content: bytes) -> bytes:
    return content[:-100] + bytes([content[-100] ^ 4]) + content[-99:]


def emptied(content: bytes) -> bytes:
    return b""


def test_a_page_is_the_same_from_kept_templates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiled: list[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first, made = render(PAGE), len(compiled)
    assert made and "page.html.jinja" in compiled
    assert render(PAGE) == first and len(compiled) == made
    kept = list((tmp_path / "mmreflect" / "templates").iterdir())
    assert len(kept) == made
    assert kept and len(compiled) == made
    content = {file: file.read_bytes() for file in kept}
    for number, change in enumerate((cut, flipped, emptied), 2):  # a damaged template would be another page, or the end
        for file in kept:
            file.write_bytes(change(content[file]))
        assert render(PAGE) == first and len(compiled) == number * made
        assert all(file.read_bytes() == content[file] for file in kept)


def test_where_templates_cannot_be_kept_a_page_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiled: list[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "good"))
    good = render(PAGE)
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert render(PAGE) == good
    monkeypatch.setenv("XDG_CACHE_HOME", "~nobody-of-that-name")
    assert render(PAGE) == good
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    folder = tmp_path / "other" / "mmreflect" / "templates"
    folder.parent.mkdir(parents=True)
    folder.write_text("a file in its place")
    assert render(PAGE) == good
