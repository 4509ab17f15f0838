"""Differences that are no reason to refuse: told in the plan and kept in the report."""

import json

import pytest
from test_bad_checkpoints import TEXT, merge, models  # noqa: F401  (fixtures)


@pytest.mark.parametrize(
    ("ours", "theirs", "told"),
    [
        ({"rms_norm_eps": 1e-6}, {"rms_norm_eps": 1e-5}, "rms_norm_eps: the VLM has 1e-06, the reasoning model 1e-05: its norms divide"),
        (
            {"rope_scaling": {"type": "mrope", "mrope_section": [2, 1, 1]}},
            {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}},
            "rope scaling: the VLM has none, the reasoning model yarn by 4: its positions were stretched; the VLM's is kept",
        ),
        (
            {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e6}},
            {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}},
            "rope scaling: the VLM has linear by 2, the reasoning model none",
        ),
        (
            {"use_sliding_window": False, "sliding_window": 4096},
            {"use_sliding_window": True, "sliding_window": 4096},
            "sliding window: the VLM has none, the reasoning model 4,096: its attention saw",
        ),
    ],
)  # fmt: skip
def test_lesser_differences_are_noted(models, merge, ours, theirs, told):  # noqa: F811
    (models / "vlm" / "config.json").write_text(json.dumps({"text_config": TEXT | ours, "vision_config": {}}))
    (models / "base" / "config.json").write_text(json.dumps(TEXT | ours))
    (models / "reason" / "config.json").write_text(json.dumps(TEXT | theirs))
    assert told in " ".join(merge("--plan", code=0).split())
    merge(code=0)
    notes = json.loads((models / "out" / "merge_report.json").read_text())["notes"]
    assert len([note for note in notes if told in note]) == 1
    assert not [note for note in notes if "the base" in note and note.startswith(told.split(":")[0])]


def test_values_that_mean_the_same_are_not_noted(models, merge):  # noqa: F811
    text = TEXT | {"rms_norm_eps": 1e-6, "rope_scaling": {"type": "mrope"}, "sliding_window": 4096}
    (models / "vlm" / "config.json").write_text(json.dumps({"text_config": text, "vision_config": {}}))
    (models / "reason" / "config.json").write_text(
        json.dumps(TEXT | {"rope_scaling": None, "use_sliding_window": False})
    )
    shown = merge("--plan", code=0)
    assert not any(name in shown for name in ("rms_norm_eps", "rope scaling", "sliding window", "vision_config"))


def test_a_language_model_given_as_vlm_is_noted(models, merge):  # noqa: F811
    (models / "vlm" / "config.json").write_text(json.dumps(TEXT))
    shown = " ".join(merge("--plan", code=0).split())
    assert (
        f"the model given as vlm in '{models / 'vlm'}' has no vision_config: it seems to be a language model" in shown
    )
