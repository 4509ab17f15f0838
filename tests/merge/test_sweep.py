"""A sweep of merges on tiny models, through the command line and a YAML: table, page, resuming, deleting, failing."""

import html
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mmreflect
from mmreflect.cli import main
from mmreflect.config import load_yaml
from mmreflect.errors import UserError
from mmreflect.evaluation import speaking
from mmreflect.files import read_json, write_json
from mmreflect.launch import prepare, prepare_call
from mmreflect.statistics import mean
from mmreflect.sweeps import Sweep
from mmreflect.sweeps.results import leaders

Cli = Callable[..., tuple[int, str]]
LINEAR = {"label": "mostly vlm", "method": "linear", "vlm_weight": 0.9, "reason_weight": 0.1}


def tree(triple: Path, dataset: Path, output: Path, **sweep: Any) -> dict[str, Any]:
    data = {"benchmark": "dataset", "data": {"path": str(dataset), "split": "validation"}, "max_new_tokens": 6}
    return {
        **{role: str(triple / role) for role in ("base", "vlm", "reason")},
        "output": str(output),
        "sweep": {"settings": [{"method": "frank", "prior": "none"}, LINEAR], "eval": [data], **sweep},
    }


def words(page: Path) -> str:
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page.read_text())))


@pytest.fixture(scope="module")
def swept(triple: Path, grid: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of two settings, finished; only the better one's weights are kept."""
    root = tmp_path_factory.mktemp("sweep")
    (root / "sweep.yaml").write_text(json.dumps(tree(triple, grid, root / "out")))
    assert main(["merge", "--sweep", str(root / "sweep.yaml")]) == 0
    shutil.copytree(root / "out", root / "kept")  # the sweep grows in one of the tests
    return root


def test_every_setting_is_merged_evaluated_and_put_beside_the_models_alone(swept: Path) -> None:
    result = read_json(swept / "out/result.json")
    assert list(result["settings"]) == ["frank-prior=none", "mostly_vlm"]
    assert list(result["references"]) == ["vlm", "base"], "the reasoning model is no VLM"
    for role in ("vlm", "base"):
        assert (swept / f"out/references/{role}/eval-dataset/result.json").is_file()
    for label, item in result["settings"].items():
        found, folder = item["evaluations"]["dataset"], swept / "out/settings" / label
        recorded = read_json(folder / "eval-dataset/result.json")["ledger"]
        assert found["main"] == {"name": "final accuracy", **recorded["final_accuracy"]}
        assert [found[key] for key in ("first_accuracy", "gain", "reflected")] == [
            recorded[key] for key in ("first_accuracy", "gain", "reflected")
        ]
        tokens = [json.loads(line)["tokens"] for line in (folder / "eval-dataset/samples.jsonl").open()]
        assert found["length"]["value"] == mean(tokens).value and found["n"] == 6 == found["against"]["n"]
        assert load_yaml(folder / "eval-dataset/config.yaml")["model"]["path"] == str(folder / "merge/model")
    assert result["references"]["vlm"]["evaluations"]["dataset"]["against"] is None


def test_the_weights_of_the_others_are_deleted_and_can_be_made_again(swept: Path) -> None:
    result, settings = read_json(swept / "out/result.json"), swept / "out/settings"
    best = result["best"]
    (other,) = set(result["settings"]) - {best}
    assert result["settings"][best]["kept"] and not result["settings"][other]["kept"]
    assert (settings / best / "merge/model/model.safetensors").is_file()
    assert not (settings / other / "merge/model").exists() and (settings / other / "merge/merge_report.json").is_file()
    again = swept / "again"
    shutil.copytree(settings / other / "merge", again)
    text = (again / "config.yaml").read_text().replace(str(settings / other / "merge"), str(again))
    (again / "config.yaml").write_text(text)
    assert main(["merge", str(again / "config.yaml")]) == 0
    assert main(["merge", "--verify", str(again)]) == 0


def test_the_page_ranks_them_with_intervals_and_says_what_that_is_worth(swept: Path, tmp_path: Path) -> None:
    best = "mostly_vlm"
    shutil.copytree(swept / "out", tmp_path / "ranked")  # the two are equal; give one of them a better number
    found = read_json(tmp_path / "ranked/settings" / best / "setting.json")
    found["evaluations"]["dataset"]["main"]["value"] += 0.1
    write_json(tmp_path / "ranked/settings" / best / "setting.json", found)
    assert main(["view", str(tmp_path / "ranked")]) == 0
    text = words(tmp_path / "ranked/index.html")
    assert f"{best} has the highest main number in dataset." in text
    assert "Against the vision-language model alone, on the same questions: in dataset" in text
    assert "looks better than it is" in text
    for label in ("vlm alone", "base alone", "frank-prior=none", "mostly_vlm"):
        assert label in text
    assert "deleted; mmreflect merge with its config.yaml makes them again" in text and "kept" in text
    assert "vlm_weight: 0.9; reason_weight: 0.1" in text and "mmreflect merge --sweep config.yaml" in text
    page = (swept / "out/index.html").read_text()
    links = re.findall(r'href="([^"#]+)"', page)
    assert len(links) == 6 and all((swept / "out" / link.replace("%3D", "=")).is_file() for link in links)
    assert main(["view", str(swept / "out")]) == 0
    assert (swept / "out/index.html").read_text() == page


def test_a_finished_sweep_returns_at_once_and_takes_further_settings(
    swept: Path, triple: Path, grid: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read_json(swept / "out/result.json")
    given = tree(triple, grid, swept / "out")
    code, text = run_cli("merge", given, "--sweep")
    assert code == 0 and "is finished already; nothing to do" in text
    given["sweep"]["settings"].append({"method": "slerp", "t": 0.5})
    loaded: list[str] = []
    load = speaking._loaded
    monkeypatch.setattr(speaking, "_loaded", lambda model, *rest: loaded.append(model.path) or load(model, *rest))
    code, text = run_cli("merge", given, "--sweep")
    assert code == 0, text
    assert loaded == [str(swept / "out/settings/slerp-t=0.5/merge/model")], "the others were not asked again"
    after = read_json(swept / "out/result.json")
    assert list(after["settings"]) == [*before["settings"], "slerp-t=0.5"]
    given["sweep"]["settings"][1] = {**LINEAR, "vlm_weight": 0.5}
    code, text = run_cli("merge", given, "--sweep")
    assert code == 2 and "holds another setting of this name" in text and "vlm_weight: 0.9 -> 0.5" in text


def test_a_setting_that_fails_does_not_lose_the_others(
    triple: Path, grid: Path, tmp_path: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmreflect.merge import executor

    settings = [{"method": "centroid"}, {"method": "ties", "reason": str(tmp_path / "gone")}, LINEAR]
    given = tree(triple, grid, tmp_path / "out", settings=settings, keep="none")
    execute = executor.execute

    def breaks(plan: Any, layout: Any, rule: Any, folder: Path, *rest: Any) -> Any:
        if "centroid" in str(folder):
            raise RuntimeError("CUDA out of memory")
        return execute(plan, layout, rule, folder, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(executor, "execute", breaks)
        code, text = run_cli("merge", given, "--sweep")
    assert code == 2 and "2 of 5 models could not be merged or evaluated" in text
    assert "RuntimeError: CUDA out of memory" in text and "reason: no such folder" in text
    out = tmp_path / "out"
    assert (out / "settings/mostly_vlm/setting.json").is_file() and not (out / "result.json").exists()
    assert "Traceback" in read_json(out / "settings/centroid/error.json")["traceback"]
    page = words(out / "index.html")
    assert "Not finished" in page and "CUDA out of memory" in page and "1 setting of 3 finished." in page
    assert (
        "mostly_vlm has the highest main number in dataset. 2 settings of 3 could not be finished, or not yet." in page
    )
    assert "mostly_vlm *" in text and "best by its main number mostly_vlm" in page, "as the table on the console says"
    given["sweep"]["settings"] = [settings[0], settings[2]]
    code, text = run_cli("merge", given, "--sweep")
    assert code == 0, text
    assert "mostly_vlm is finished already" in text.replace("\n", "")
    result = read_json(out / "result.json")
    assert set(result["settings"]) == {"centroid", "mostly_vlm"}
    assert not any(item["kept"] for item in result["settings"].values()) and not list(
        out.rglob("settings/*/merge/model")
    )
    assert not (out / "settings/centroid/error.json").exists()


def test_settings_that_are_equal_are_not_ranked(triple: Path, grid: Path, tmp_path: Path, run_cli: Cli) -> None:
    given = tree(triple, grid, tmp_path / "out", settings=[{**LINEAR, "label": name} for name in ("one", "two")])
    code, text = run_cli("merge", given, "--sweep")
    assert code == 0, text
    result = read_json(tmp_path / "out/result.json")
    assert (result["best"], result["equal"]) == ("one", ["two"])
    assert "one, two have the same main number in dataset: it does not choose" in " ".join(text.split())
    assert [result["settings"][label]["kept"] for label in ("one", "two")] == [True, False]
    page = words(tmp_path / "out/index.html")
    assert "one, two have the same highest main number in dataset: it does not tell which to take." in page
    assert "best by its main number" not in page and "equal in their main number 2" in page


def test_a_merge_that_answers_with_nan_is_neither_best_nor_a_reason_to_delete_another(
    triple: Path, grid: Path, tmp_path: Path, run_cli: Cli
) -> None:
    settings = [
        {"label": "broken", "method": "task_arithmetic", "scale": 3.0e38},
        {"label": "good", "method": "linear"},
    ]
    given, out = tree(triple, grid, tmp_path / "out", settings=settings), tmp_path / "out"
    code, text = run_cli("merge", given, "--sweep")
    told = f"the merged model is written in '{out / 'settings/broken/merge/model'}', but one forward gives logits"
    flat = " ".join(text.split())
    assert code == 2 and "1 of 4 models could not be merged or evaluated" in flat and f"broken: {told}" in flat
    assert "good *" in text and "broken has no numbers: it could not be finished" in flat
    assert read_json(out / "settings/broken/error.json")["given"].startswith(told)
    assert not (out / "settings/broken/eval-dataset").exists() and not (out / "result.json").exists()
    assert (out / "settings/good/merge/model/model.safetensors").is_file(), "the good one's weights stay"
    page = words(out / "index.html")
    assert "good has the highest main number in dataset. 1 setting of 2 could not be finished, or not yet." in page
    assert f"broken {told}" in page and f"broken: {told}" in page and "the merge is not finished" in page
    links = re.findall(r'href="([^"#]+)"', (out / "index.html").read_text())
    assert len(links) == 4 and all((out / link).is_file() for link in links)
    assert "is finished already" in run_cli("merge", given, "--sweep")[1], "good is not merged again"
    given["sweep"]["settings"] = settings[1:]
    assert run_cli("merge", given, "--sweep")[0] == 0
    assert read_json(out / "result.json")["best"] == "good"


def test_a_killed_sweep_goes_on_where_it_was(
    swept: Path, triple: Path, grid: Path, tmp_path: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmreflect.sweeps import running

    given = tree(triple, grid, tmp_path / "out")

    def dies(merge: Path) -> None:  # both settings are evaluated, and the worse one is about to be deleted
        (merge / "result.json").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(running, "drop_weights", dies)
        code, _ = run_cli("merge", given, "--sweep")
    assert code == 130
    assert len(list((tmp_path / "out").glob("settings/*/setting.json"))) == 2
    assert len(list((tmp_path / "out").glob("settings/*/merge/model"))) == 2
    monkeypatch.setattr(speaking, "_loaded", lambda *rest: pytest.fail("a model was asked again"))
    code, text = run_cli("merge", given, "--sweep")
    assert code == 0, text
    assert len(list((tmp_path / "out").glob("settings/*/merge/model"))) == 1
    whole, cut = (read_json(folder / "result.json") for folder in (swept / "kept", tmp_path / "out"))
    assert whole["best"] == cut["best"]
    for label, item in whole["settings"].items():
        assert cut["settings"][label]["evaluations"] == item["evaluations"]


def test_the_plan_says_what_is_merged_refused_kept_and_asked_and_touches_nothing(
    triple: Path, grid: Path, tmp_path: Path, run_cli: Cli
) -> None:
    settings = [{"method": "frank"}, {"method": "ties", "base": str(tmp_path / "gone")}]
    given = tree(triple, grid, tmp_path / "out", settings=settings, grid={"scope": ["decoder_blocks", "mlp"]})
    code, text = run_cli("merge", given, "--sweep", "--plan", "sweep.overrides=[batch_size=3]")
    flat = re.sub(r"\s+", " ", text)
    assert code == 0, text
    assert "a sweep of 4 settings; alone for comparison: vlm, base" in flat
    assert "frank-scope=mlp: rule base + lam_V tau_V" in flat and "ties-scope=mlp: refused base: no such folder" in flat
    assert "frank-scope=mlp: writes" in flat and "eval dataset: data" in flat
    assert "best (by the main number of dataset): the weights of every other setting are deleted once" in flat
    assert not (tmp_path / "out").exists()
    for item in settings:
        item["base"] = str(tmp_path / "gone")
    code, text = run_cli("merge", given, "--sweep", "--plan")
    assert code == 2 and "base: no such folder" in text, "nothing could be merged at all"


def test_evaluations_come_from_files_mappings_and_overrides(triple: Path, grid: Path, tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(
        f"benchmark: dataset\noutput: elsewhere\nmodel: {{path: other, attention: eager}}\ndata: {{path: {grid}, split: rl}}\n"
    )
    evals = ["configs/eval/mathvista.yaml", {"config": str(file), "label": "own", "max_new_tokens": 9}]
    made = prepare_call("merge", tree(triple, grid, tmp_path / "out", eval=evals, overrides=["batch_size=5"]))
    assert isinstance(made, Sweep)
    jobs = made.settings["mostly_vlm"].evals
    assert list(jobs) == ["mathvista", "own"] and {job.config.batch_size for job in jobs.values()} == {5}
    assert jobs["own"].config.max_new_tokens == 9 and jobs["own"].config.data.split == "rl"
    assert jobs["own"].config.model.path == str(tmp_path / "out/settings/mostly_vlm/merge/model")
    assert jobs["own"].config.model.attention == "eager"
    assert made.references["vlm"]["own"].config.model.path == str(triple / "vlm")
    again = prepare_call("merge", made.tree)
    assert again.tree == made.tree and list(again.settings) == list(made.settings)


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ({"eval": []}, "eval names no evaluation"),
        ({"settings": []}, "settings and every key of grid hold at least one entry"),
        ({"grid": {"scope": []}}, "settings and every key of grid hold at least one entry"),
        ({"settings": [{"method": "frank"}, {"method": "frank"}]}, "'frank' stands twice among the settings"),
        ({"settings": [{"method": "frank", "priorr": "none"}]}, "unknown key 'priorr'; did you mean 'prior'?"),
        ({"keep": "some"}, "keep: "),
        ({"eval": ["configs/eval/mathvista.yaml"] * 2}, "two evaluations are called 'mathvista'"),
        ({"eval": ["configs/eval/mathvist.yaml"]}, "did you mean configs/eval/mathvista.yaml?"),
        ({"eval": ["configs/eval/server.yaml"]}, "which speaks with a model of its own"),
    ],
)
def test_what_cannot_be_swept_is_said_before_anything_starts(
    sweep: dict[str, Any], message: str, triple: Path, grid: Path, tmp_path: Path, run_cli: Cli
) -> None:
    code, text = run_cli("merge", tree(triple, grid, tmp_path / "out", **sweep), "--sweep")
    assert code == 2 and message in text, text
    assert not (tmp_path / "out").exists()


def test_a_sweep_is_asked_for_by_its_flag(triple: Path, grid: Path, tmp_path: Path, run_cli: Cli) -> None:
    given = tree(triple, grid, tmp_path / "out")
    code, text = run_cli("merge", given)
    assert (
        code == 2 and "holds a sweep of several settings" in text and "start it with: mmreflect merge --sweep" in text
    )
    with pytest.raises(UserError, match="2 settings of a sweep are named"):
        prepare("merge", given)
    del given["sweep"]
    code, text = run_cli("merge", {**given, "method": "centroid"}, "--sweep")
    assert code == 2 and "holds no sweep" in text


def test_the_best_has_the_highest_number_and_nothing_is_best_without_one() -> None:
    def one(value: float | None) -> dict[str, Any]:
        return {"evaluations": {"first": {"main": {"value": value}}, "second": {"main": {"value": 9.0}}}}

    assert leaders({"a": one(0.2), "b": one(None), "c": one(0.5)}) == ["c"]
    assert leaders({"a": one(0.2), "b": one(None), "c": one(0.5), "d": one(0.5)}) == ["c", "d"], "neither is better"
    assert leaders({"a": one(None)}) == [] and leaders({}) == []


def test_the_shipped_sweep_runs_from_python_on_other_models(
    triple: Path, grid: Path, tmp_path: Path, run_cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    data = {"benchmark": "dataset", "data": {"path": str(grid), "split": "validation"}}
    words = [f"{role}={triple / role}" for role in ("base", "vlm", "reason")]
    words += [f"sweep.eval=[{json.dumps(data)}]", "sweep.overrides=[max_new_tokens=4]", f"output={tmp_path / 'out'}"]
    assert main(["merge", "--sweep", "--plan", "configs/merge/sweep.yaml", *words]) == 0
    text = capsys.readouterr().out
    assert "frank" in text and "ties" in text
    run = mmreflect.merge("configs/merge/sweep.yaml", *words, "sweep.settings=[{method: centroid}]", "sweep.keep=all")
    assert run.result is not None and run.result["settings"]["centroid"]["kept"]
