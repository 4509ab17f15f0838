"""The whole line at tiny scale, through the command line."""

import json
import shutil
from pathlib import Path

import pytest

from mmreflect.cli import main

STAGES = ("sft", "grpo", "merge")
FIGURES = {"n", "first_accuracy", "final_accuracy", "fix_rate", "harm_rate", "seconds"}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "run"
    assert main(["demo", "scale=tiny", f"output={folder}"]) == 0
    return folder


def test_summary_holds_every_figure(demo: Path) -> None:
    summary = json.loads((demo / "summary.json").read_text())
    for stage in STAGES:
        assert set(summary[stage]) >= FIGURES and summary[stage]["n"] == 32
    assert {"effective_ratio_raw", "effective_ratio_trained"} <= set(summary["grpo"])
    assert Path(summary["report"]).is_file()


def test_page_stands_alone(demo: Path) -> None:
    page = (demo / "index.html").read_text()
    assert "after cold start" in page and 'src="http' not in page and 'href="http' not in page


def test_merge_leaves_everything_but_the_decoder_blocks_as_it_is(demo: Path) -> None:
    from safetensors.torch import load_file

    merged, vlm = load_file(demo / "merge/model/model.safetensors"), load_file(demo / "grpo/model/model.safetensors")
    assert merged.keys() == vlm.keys()
    changed = {name for name in vlm if not merged[name].equal(vlm[name])}
    assert changed <= {name for name in vlm if name.startswith("model.layers.")}


def test_started_again_it_goes_on_where_it_stopped(
    demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (demo / "merge/model/model.safetensors").read_bytes()
    summary = json.loads((demo / "summary.json").read_text())
    shutil.rmtree(demo / "merge")
    shutil.rmtree(demo / "eval-merge")
    capsys.readouterr()
    assert main(["demo", "scale=tiny", f"output={demo}"]) == 0
    assert capsys.readouterr().out.count("finished already") == 7
    assert (demo / "merge/model/model.safetensors").read_bytes() == before
    again = json.loads((demo / "summary.json").read_text())
    for stage in STAGES:
        summary[stage].pop("seconds"), again[stage].pop("seconds")
    assert again == summary


def test_wrong_scale_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "scale=huge"]) == 2
    assert "scale" in capsys.readouterr().err
