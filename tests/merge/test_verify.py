"""Checking an old output again, and embeddings merged by the text of their tokens."""

import itertools
import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from mmreflect.cli import main
from mmreflect.merge import checksums, memory
from mmreflect.merge.vocabulary import Vocabulary, clashing_ids, matching_rows, moved_tokens, read_vocabulary

WIDTH = 4
TEXT = {"num_hidden_layers": 1, "hidden_size": WIDTH, "num_attention_heads": 1, "intermediate_size": 4}
BLOCK = "layers.0.mlp.up_proj.weight"


def write(folder, words, value, head=True, prefix="model.", rows=6):
    """A model of one block; the row of a token holds `value` plus its place in the alphabet."""
    folder.mkdir()
    table = torch.full((rows, WIDTH), -1.0)
    for number, word in enumerate(words):
        table[number] = value + "abcdef".index(word)
    tensors = {f"{prefix}{BLOCK}": torch.full((4, WIDTH), value), f"{prefix}embed_tokens.weight": table}
    tensors |= {"lm_head.weight": table * 10} if head else {}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    nested = {"text_config": TEXT, "vision_config": {}} if prefix != "model." else TEXT
    (folder / "config.json").write_text(json.dumps({**nested, "tie_word_embeddings": not head}))
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {w: n for n, w in enumerate(words)}}}))


@pytest.fixture
def run(tmp_path, capsys):
    def merge(*words, code=0, heads=(True, True, True), texts=("abcde", "abcde", "abcde"), **tree):
        for role, value, head, text in zip(("base", "vlm", "reason"), (0.0, 1.0, 2.0), heads, texts, strict=True):
            shutil.rmtree(tmp_path / role, ignore_errors=True)
            write(tmp_path / role, text, value, head, "model.language_model." if role == "vlm" else "model.")
        folders = {role: str(tmp_path / role) for role in ("base", "vlm", "reason")}
        tree = {"method": "centroid", "output": str(tmp_path / "out"), **folders, **tree}
        (tmp_path / "merge.json").write_text(json.dumps(tree))
        capsys.readouterr()
        assert main(["merge", str(tmp_path / "merge.json"), *words]) == code
        captured = capsys.readouterr()
        return captured.err if code else load_file(tmp_path / "out" / "model" / "model.safetensors")

    return merge


def again(folder, capsys, *words, code=0):
    capsys.readouterr()
    assert main(["merge", "--verify", str(folder), "reload=no", *words]) == code
    captured = capsys.readouterr()
    return captured.err if code else captured.out


def test_an_output_is_verified_against_the_vlm_and_its_checksums(run, tmp_path, capsys):
    run()
    shown = again(tmp_path / "out", capsys)
    assert "3 tensors in 1 file, whole" in shown and "all 3 as written" in shown and "verified" in shown
    assert f"equal to what was written and to the VLM's in '{tmp_path / 'vlm'}'" in " ".join(shown.split())
    assert "left out (reload=no)" in shown and "verified, without a reload" in shown


def test_a_changed_byte_is_named_with_its_tensor(run, tmp_path, capsys):
    run()
    file = tmp_path / "out" / "model" / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    error = again(tmp_path / "out", capsys, code=2)
    assert "is not as it was written: 1 problem" in error and "has the CRC-32" in error and ", written was " in error


def test_what_is_missing_or_new_is_named(run, tmp_path, capsys):
    run()
    file = tmp_path / "out" / "model" / "model.safetensors"
    tensors = load_file(file)
    del tensors["lm_head.weight"]
    save_file({**tensors, "new.weight": torch.ones(2)}, file)
    config = tmp_path / "out" / "model" / "config.json"
    config.write_text(config.read_text().replace('"tie_word_embeddings": false', '"tie_word_embeddings": true'))
    error = again(tmp_path / "out", capsys, code=2)
    assert "'lm_head.weight' is missing" in error and "'new.weight' is new" in error
    assert "tie_word_embeddings is True, in the VLM False" in error
    shutil.rmtree(tmp_path / "vlm")
    error = again(tmp_path / "out", capsys, code=2)
    assert "'lm_head.weight' is missing" in error and "'new.weight' is new" in error


def test_without_the_vlm_the_report_tells_the_names(run, tmp_path, capsys):
    run()
    shutil.rmtree(tmp_path / "vlm")
    assert "equal to what was written; the VLM can no longer be read in" in again(tmp_path / "out", capsys)


def test_another_model_in_the_place_of_the_vlm_is_no_fault_of_the_output(run, tmp_path, capsys):
    run()
    shutil.rmtree(tmp_path / "vlm")
    shutil.copytree(tmp_path / "base", tmp_path / "vlm")
    told = f"equal to what was written; the VLM in '{tmp_path / 'vlm'}' is no longer what was merged, not compared"
    shown = again(tmp_path / "out", capsys)
    assert told in " ".join(shown.split()) and "verified" in shown
    (tmp_path / "out" / "inputs.json").unlink()  # nothing tells the one from the other
    assert "is new" in again(tmp_path / "out", capsys, code=2)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("merge_report.json", "{", "JSONDecodeError"),
        ("merge_report.json", "{}", "KeyError: 'crc32'"),
        ("merge_report.json", '{"crc32": []}', "AttributeError"),
        ("merge_report.json", '{"crc32": {}, "written": {"tensors": {"a": []}}}', "IndexError"),
        ("merge_report.json", '{"crc32": {}, "written": {"tensors": {}}}', "KeyError: 'files'"),
        ("run.json", "{", "JSONDecodeError"),
        ("run.json", "[]", "TypeError"),
        ("run.json", "[" * 100_000, "ValueError"),
        ("inputs.json", "{", "JSONDecodeError"),
        ("inputs.json", "[" * 100_000, "ValueError"),
        ("merge_report.json", "[" * 100_000, "ValueError"),
        ("config.yaml", "method: centroid", "KeyError: 'vlm'"),
        ("config.yaml", "vlm:", "TypeError"),
    ],
)
def test_a_damaged_file_of_the_run_is_named(run, tmp_path, capsys, name, text, told):
    run(reload=False)
    (tmp_path / "out" / name).write_text(text)
    error = again(tmp_path / "out", capsys, code=2)
    assert f"{tmp_path / 'out' / name} cannot be read as a file of a run ({told}" in error
    assert "expected: the file as mmreflect wrote it" in error
    assert "to do: restore it, or make the run again in another folder" in error


def test_a_damaged_result_is_named_and_can_be_made_again(run, tmp_path, capsys):
    run(reload=False)
    result = tmp_path / "out" / "result.json"
    result.write_text("{")
    error = again(tmp_path / "out", capsys, code=2)
    assert f"{result} cannot be read as a file of a run (JSONDecodeError" in error
    assert "to do: restore it, or delete it and start the same run again: what is whole is kept" in error
    assert str(result) in _merge_again(tmp_path, capsys, 2)
    result.unlink()
    _merge_again(tmp_path, capsys, 0)
    assert "verified" in again(tmp_path / "out", capsys)


@pytest.mark.parametrize("text", ["{", "[]", '{"verb": "merge"}', "\x80"])
def test_a_run_that_cannot_be_told_is_named_when_it_is_started_again(run, tmp_path, capsys, text):
    run(reload=False)
    (tmp_path / "out" / "run.json").write_text(text, encoding="latin-1")
    error = _merge_again(tmp_path, capsys, 2)
    assert f"{tmp_path / 'out' / 'run.json'} cannot be read as a file of a run" in error


def _merge_again(folder, capsys, code):
    assert main(["merge", str(folder / "merge.json")]) == code
    return capsys.readouterr().err


def test_a_file_cut_short_later_is_named(run, tmp_path, capsys):
    run()
    os.truncate(tmp_path / "out" / "model" / "model.safetensors", 300)
    assert "merged: " in again(tmp_path / "out", capsys, code=2)


def test_a_folder_without_a_finished_merge_is_refused(run, tmp_path, capsys):
    run()
    (tmp_path / "out" / "result.json").unlink()
    assert "holds no finished merge" in again(tmp_path / "out", capsys, code=2)
    assert "is not a run of mmreflect" in again(tmp_path / "vlm", capsys, code=2)
    assert "did you mean 'reload'" in again(tmp_path / "out", capsys, "relod=no", code=2)
    assert "reload=maybe" in again(tmp_path / "out", capsys, "reload=maybe", code=2)


def test_a_model_larger_than_the_memory_is_not_reloaded_and_it_is_said(run, tmp_path, capsys, monkeypatch):
    run(reload=False)
    machine = tmp_path / "meminfo"
    machine.write_text("MemTotal: 9 kB\nMemAvailable: 0 kB\n")
    monkeypatch.setattr(memory, "MACHINE", machine)
    assert main(["merge", "--verify", str(tmp_path / "out")]) == 0
    assert "left out: the model takes 0.0 GB, 0.0 GB of memory are free" in capsys.readouterr().out


def test_embeddings_stay_the_vlms_unless_asked_for(run, tmp_path):
    written, before = run(), load_file(tmp_path / "vlm" / "model.safetensors")
    for name in ("model.language_model.embed_tokens.weight", "lm_head.weight"):
        assert torch.equal(written[name], before[name])
    assert torch.equal(written[f"model.language_model.{BLOCK}"], torch.full((4, WIDTH), 1.5))


def test_embeddings_are_merged_by_the_text_of_tokens_and_never_by_row(run, tmp_path):
    # VLM: a b c d e; base: the same; reasoning model: a b e c f, so that c and e lie elsewhere and d is unknown to it
    written = run(embeddings="matching_tokens", texts=("abcde", "abcde", "abecf"), force=["vocabulary"])
    rows = written["model.language_model.embed_tokens.weight"][:, 0].tolist()
    assert rows == [1.5, 2.5, 3.5, 4.0, 5.5, -1.0]  # mean of 1 + place and 2 + place; d and the padding are the VLM's
    assert written["lm_head.weight"][:, 0].tolist() == [15.0, 25.0, 35.0, 40.0, 55.0, -10.0]
    report = json.loads((tmp_path / "out" / "merge_report.json").read_text())
    assert [row["layer"] for row in report["embeddings"]] == [-1, 1] and len(report["layers"]) == 1


def test_a_tied_models_head_is_its_embeddings(run):
    written = run(embeddings="matching_tokens", heads=(False, True, False))
    assert written["lm_head.weight"][:5, 0].tolist() == [0.5 * (10 * (1 + n) + 2 + n) for n in range(5)]


def test_a_tied_vlm_gets_no_head_from_the_others(run, tmp_path):
    written = run(embeddings="matching_tokens", heads=(True, False, True))
    assert "lm_head.weight" not in written and len(written) == 2
    report = json.loads((tmp_path / "out" / "merge_report.json").read_text())
    assert report["skipped_names"]["reason"] == ["lm_head.weight"]


def test_embeddings_without_a_tokenizer_are_refused(run, tmp_path, monkeypatch):
    monkeypatch.setattr("mmreflect.merge.checkpoint.read_vocabulary", lambda folder: None)
    error = run(embeddings="matching_tokens", code=2)
    assert "embeddings: matching_tokens, but the VLM has no readable tokenizer" in error and "embeddings: vlm" in error


def test_rows_are_paired_in_runs():
    ours = Vocabulary({"a": 0, "b": 1, "c": 2, "d": 4}, {})
    theirs = Vocabulary({"a": 3, "b": 4, "c": 0, "d": 5, "e": 6}, {})
    assert matching_rows(ours, [theirs, ours], [5, 6, 5]) == [(0, 2, (3, 0)), (2, 1, (0, 2)), (4, 1, (5, 4))]
    assert matching_rows(ours, [theirs], [2, 5]) == [(0, 2, (3,))]  # rows beyond a matrix are no rows


def test_tokens_that_moved_and_ids_that_clash():
    ours = Vocabulary({"a": 0, "b": 1, "<x>": 2}, {2: "<x>"})
    theirs = Vocabulary({"b": 0, "a": 1, "<y>": 2, "<x>": 3}, {2: "<y>", 3: "<x>"})
    assert moved_tokens(ours, theirs) == ["a", "b"]
    assert clashing_ids(ours, theirs) == [(2, "<x>", "<y>")]
    assert moved_tokens(ours, ours) == [] and clashing_ids(ours, ours) == []


def test_vocabularies_are_read_from_either_kind_of_files(tmp_path):
    assert read_vocabulary(tmp_path) is None
    (tmp_path / "vocab.json").write_text('{"a": 0}')
    (tmp_path / "tokenizer_config.json").write_text('{"added_tokens_decoder": {"1": {"content": "<x>"}}}')
    (tmp_path / "added_tokens.json").write_text('{"<y>": 2}')
    assert read_vocabulary(tmp_path) == Vocabulary({"a": 0, "<x>": 1, "<y>": 2}, {1: "<x>", 2: "<y>"})
    added = [{"id": 1, "content": "<z>"}]
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"b": 0}}, "added_tokens": added}))
    assert read_vocabulary(tmp_path) == Vocabulary({"b": 0, "<z>": 1}, {1: "<z>"})


def test_the_checksum_of_pieces_in_any_order_is_that_of_the_whole():
    assert checksums.checksum(b"123456789") == 0xCBF43926  # the check value of CRC-32/ISO-HDLC
    data = bytes(range(256)) * 40
    cuts = [0, 1, 700, 701, 5000, len(data)]
    pieces = {start: (checksums.checksum(data[start:stop]), stop - start) for start, stop in itertools.pairwise(cuts)}
    assert checksums.joined(dict(reversed(pieces.items()))) == checksums.checksum(data)
    assert checksums.joined({}) == 0
