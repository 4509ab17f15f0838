"""What the documents name is there, and nothing in them is unfinished."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
SOURCES = [*sorted((ROOT / "mmreflect").rglob("*.py")), *(path for leaf in ("data_builders", "train", "eval", "examples", "benchmarks") for path in sorted((ROOT / leaf).glob("*.py")))]  # fmt: skip
NAMED = re.compile(
    r"(?<![\w/.-])((?:configs|docs|examples|benchmarks|tests|mmreflect|data_builders|train|eval)/[\w./-]*\w\.(?:yaml|py|md|png|svg|json))(?!\w)"
)


@pytest.mark.parametrize("path", [*DOCUMENTS, *SOURCES], ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_that_is_named_exists(path: Path) -> None:
    missing = [name for name in NAMED.findall(path.read_text()) if not (ROOT / name).is_file()]
    assert not missing


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", path.read_text()) if "://" not in link]
    assert all((path.parent / link).exists() for link in links), links
    assert not re.search(r"\b(TODO|FIXME|XXX|DEMO_[A-Z]+)\b", path.read_text())


def test_ignored_files_hide_no_source() -> None:
    assert (ROOT / "configs/build/grid.yaml").is_file()
    ignored = (ROOT / ".gitignore").read_text().split()
    assert "build/" not in ignored and "data/" not in ignored
