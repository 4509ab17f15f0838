"""The direction of dependencies, walked: docs/design.md, section 2."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LEAVES = ("data_builders", "train", "eval")

LAYERS = [
    {"__init__", "errors", "files", "limits", "records", "config", "seeds", "console", "components", "packages"},
    {"answers", "reflection", "media", "remote", "statistics", "charts"},
    {"tiny", "models", "data", "runs", "decoding", "quality"},
    {"rollouts", "merge"},
    {"environments", "rewards", "stages", "layouts", "exporting"},
    {"rl", "evaluation", "building", "training", "teaching", "mixing"},
    {"report", "publishing"},
    {"recipes", "launch", "suites", "sweeps", "cli", "chat", "doctor", "demo", "inspection", "__main__"},
]
"""Each may use its own layer and those before it."""

LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def imported(path: Path) -> list[str]:
    """Every module that a file imports, at the top or inside a function."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [item.name for item in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found += [f"{node.module}.{item.name}" for item in node.names]
    return found


def part(module: str) -> str:
    pieces = module.split(".")
    return pieces[1] if len(pieces) > 1 and pieces[1] in LEVEL else "__init__"


def test_every_part_has_a_layer() -> None:
    parts = {
        path.stem for path in (ROOT / "mmreflect").iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    assert parts == set(LEVEL)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "mmreflect").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_library_imports_only_downwards(path: Path) -> None:
    own = part(".".join(path.relative_to(ROOT).with_suffix("").parts))
    for module in imported(path):
        assert module.split(".")[0] not in LEAVES, f"{module}: the library reaches leaves only through recipes.load"
        if module.startswith("mmreflect."):
            if own == "__init__":
                continue
            assert LEVEL[part(module)] <= LEVEL[own], f"{own} may not use {module}"


@pytest.mark.parametrize(
    "path",
    sorted(path for leaf in LEAVES for path in (ROOT / leaf).glob("*.py")),
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_leaves_import_the_library_and_never_each_other(path: Path) -> None:
    for module in imported(path):
        assert module.split(".")[0] not in LEAVES


@pytest.mark.parametrize(
    "module",
    ["mmreflect.records", "mmreflect.answers.grade", "mmreflect.reflection.ledger", "mmreflect.data.store", "mmreflect.building",
     "mmreflect.cli", "mmreflect.launch", "mmreflect.report", "mmreflect.publishing", "mmreflect.stages.forced_rethinking", "mmreflect.rl.selections.ssr",
     "mmreflect.training.arguments", "mmreflect.training.validation",
     "mmreflect.remote.client", "mmreflect.rollouts.engines.openai", "mmreflect.evaluation.procedure", "mmreflect.stages.leap",
     "mmreflect.decoding.early_stop", "mmreflect.merge.attention", "mmreflect.exporting"],
)  # fmt: skip
def test_imports_without_torch(module: str) -> None:
    code = f"import sys; sys.modules['torch'] = None; import {module}; assert 'transformers' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_house_rules_on_size() -> None:
    for path in [
        *(ROOT / "mmreflect").rglob("*.py"),
        *(path for leaf in LEAVES for path in (ROOT / leaf).glob("*.py")),
    ]:
        text = path.read_text()
        assert text.count("\n") <= 400, f"{path} is longer than 400 lines"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno - node.lineno < 60, f"{path}:{node.lineno} {node.name} is longer than 60 lines"  # type: ignore[operator]
