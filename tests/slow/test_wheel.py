"""The wheel carries the recipes: built, installed into an empty environment, and used."""

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent
LIGHT = ["pydantic", "pyyaml", "rich", "numpy", "pillow", "jinja2"]
"""What the command line needs before a verb loads torch; installing torch again would take minutes and gigabytes."""


def test_wheel_runs_and_lists_its_recipes(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path / "dist"), str(ROOT)],
        check=True,
        capture_output=True,
    )
    wheel = next((tmp_path / "dist").glob("*.whl"))
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv/bin/python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", *LIGHT], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", str(wheel)], check=True)

    def mmreflect(*words: str) -> str:
        done = subprocess.run(
            [tmp_path / "venv/bin/mmreflect", *words], check=True, capture_output=True, text=True, cwd=tmp_path
        )
        return done.stdout

    assert "VERB" in mmreflect("--help")
    recipes = mmreflect("recipes")
    for name in ("grid", "sft", "grpo", "dataset", "frank", "ssr"):
        assert name in recipes
    prompts = "mmreflect/_recipes/data_builders/prompts/srpo_reflection/reflect.jinja"
    assert prompts in zipfile.ZipFile(wheel).namelist()
    mmreflect("build", "configs/demo/data.yaml", "output=data", "splits={train: 12, test: 4}")
    assert (tmp_path / "data/manifest.json").is_file()
    assert "page:" in mmreflect("view", "data")
