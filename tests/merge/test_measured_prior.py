"""A merge that measures its prior by itself: through the command line and a YAML, cached, resumed, in the report."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

import mmreflect
from mmreflect.files import read_json
from mmreflect.merge import attention_maps
from mmreflect.merge.attention import fit_decay, read_prior

Cli = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(5)
    for number in range(3):
        Image.fromarray(rng.integers(0, 255, (56, 84, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    return folder


def recipe(triple: Path, output: Path, prior: dict[str, Any], method: str = "frank") -> dict[str, Any]:
    return {
        "method": method,
        **{role: str(triple / role) for role in ("base", "vlm", "reason")},
        "output": str(output),
        "prior": prior,
    }


def test_a_merge_measures_its_prior_and_reports_it(
    run_cli: Cli, triple: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prior = {
        "name": "attention", "pictures": str(pictures), "limit": 2, "max_tokens": 16, "prompt": "What is it?",
        "normalise": "attention", "floor": 0.0,
    }  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr(attention_maps, "load_model", lambda options: pytest.fail("a plan loaded the model"))
        code, text = run_cli("merge", recipe(triple, tmp_path / "one", prior), "--plan")
    assert code == 0 and not (tmp_path / "one").exists()
    text = " ".join(text.split())
    assert f"attention, will be measured on 2 pictures of {pictures} with the VLM itself" in text
    assert "before that the VLM is loaded, 0.00 GB in " in text
    assert "w_v" not in text, "nothing is known yet"

    code, text = run_cli("merge", recipe(triple, tmp_path / "one", prior))
    assert code == 0, text
    assert "over 2 pictures" in text
    report = read_json(tmp_path / "one/merge_report.json")
    known = report["attention"]
    assert [row["attention"] for row in report["layers"]] == known["a"] == [row["w_v"] for row in report["layers"]]
    assert (known["alpha"], known["C"], known["r2"]) == fit_decay(known["a"])
    assert known["pictures"]["measured"] == 2 and known["settings"]["prompt"] == "What is it?"
    assert read_prior(tmp_path / "one").tree() == known, "the file of the run and the report agree"
    for row in report["layers"]:  # Eq. 15
        share_v, share_r = row["w_v"] * row["norm2_v"], (1 - row["w_v"]) * row["norm2_r"]
        assert row["lam_v"] == pytest.approx(share_v / (share_v + share_r), rel=1e-12)

    monkeypatch.setattr(attention_maps, "load_model", lambda options: pytest.fail("a model was loaded again"))
    _repeat_from_its_card(run_cli, triple, tmp_path / "one", known, pictures)
    code, text = run_cli("merge", recipe(triple, tmp_path / "two", prior | {"name": "exponential"}, "centroid"))
    assert code == 0, text
    again = read_json(tmp_path / "two/merge_report.json")
    assert again["attention"]["a"] == known["a"]
    _repeat_from_its_card(run_cli, triple, tmp_path / "two", again["attention"], pictures)
    assert again["layers"][0]["lam_v"] == pytest.approx(known["C"] * np.exp(-known["alpha"]))

    measured = {"name": "attention", "measured": str(tmp_path / "one"), "normalise": "attention", "floor": 0.0}
    run = mmreflect.merge(recipe(triple, tmp_path / "three", measured))
    assert read_json(run.path / "merge_report.json")["layers"] == report["layers"], "one format, both ways"


def _repeat_from_its_card(run_cli: Cli, triple: Path, output: Path, known: dict[str, Any], pictures: Path) -> None:
    """What travels with a model must be enough to make it again, pictures or not."""
    card = (output / "model/README.md").read_text()
    assert (
        f"; measured on 2 pictures of `{pictures.name}`, at most 16 visual tokens each, with the text `What is" in card
    )
    tree = yaml.safe_load(card.split("```yaml")[1].split("```")[0])
    assert tree["prior"]["attention"] == known["a"] and "pictures" not in tree["prior"]
    if tree["prior"]["name"] == "exponential":
        assert f"fitted alpha {known['alpha']:.4g}, C {known['C']:.4g}, R2 {known['r2']:.3f}" in card
    again = output.with_name(f"{output.name}-again")
    folders = {role: str(triple / role) for role in ("base", "vlm", "reason")}
    code, text = run_cli("merge", {**tree, **folders, "output": str(again)})
    assert code == 0, text
    one, two = ((folder / "model/model.safetensors").read_bytes() for folder in (output, again))
    assert one == two


def test_a_killed_merge_goes_on_with_the_numbers_that_it_had(
    run_cli: Cli, triple: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmreflect.merge import executor

    tree = recipe(triple, tmp_path / "out", {"name": "attention", "pictures": str(pictures), "max_tokens": 16})

    def dies(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(executor, "execute", dies)
        code, _ = run_cli("merge", tree)
    assert code == 130
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    monkeypatch.setattr(attention_maps, "load_model", lambda options: pytest.fail("a model was loaded again"))
    kept = read_json(tmp_path / "out/prior.json")
    code, text = run_cli("merge", tree)
    assert code == 0, text
    assert read_json(tmp_path / "out/merge_report.json")["attention"] == kept
    Image.new("RGB", (56, 56)).save(pictures / "new.png")
    code, text = run_cli("merge", tree)
    (pictures / "new.png").unlink()
    assert code == 2 and "holds a run on another folder of pictures: it has changed since" in text


def test_pictures_that_are_not_there_are_refused_before_anything_is_claimed(
    run_cli: Cli, triple: Path, tmp_path: Path
) -> None:
    tree = recipe(triple, tmp_path / "out", {"name": "attention", "pictures": str(tmp_path / "none")})
    code, text = run_cli("merge", tree)
    assert code == 2 and f"no such folder of pictures: {tmp_path / 'none'}" in text
    assert not (tmp_path / "out").exists()
