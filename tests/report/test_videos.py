"""Videos on the page, entered by `mmreflect view`: film strips of every look, timelines, and the table of parts."""

import base64
import functools
import html
import io
import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmreflect.cli import main
from mmreflect.records import FrameSampling, Media
from mmreflect.reflection.ledger import entry, ledger
from mmreflect.report.data import Choice, whole_of
from mmreflect.report.looks import opening, titles
from mmreflect.report.text import Segment
from mmreflect.report.timeline import ticks, timeline, verdict

COARSE = FrameSampling(fps=1.0, timestamps=True)
DENSE = FrameSampling(fps=2.0)
LENGTH, RATE, STEP = 20, 4, 12
"""Seconds, frames per second, and by how much a second is brighter than the one before it."""


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video in which the brightness tells the time."""
    import av

    path = tmp_path_factory.mktemp("film") / "film.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for place in range(LENGTH * RATE):
            picture = np.full((64, 96, 3), round(place / RATE * STEP), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def look(path: Path | str, span: tuple[float, float] | None = None) -> dict[str, Any]:
    return asdict(Media("video", str(path), span=span, frames=DENSE if span else COARSE))


def still(path: Path, at: float, scale: float = 1.0) -> dict[str, Any]:
    return asdict(Media("image", str(path), at=at, scale=scale))


def said(author: str, stage: str, text: str) -> dict[str, str]:
    return {"author": author, "stage": stage, "text": text}


def two_looks(
    path: Path | str,
    part: tuple[float, float] | None,
    problem: str | None = None,
    answer: str = "B",
    afresh: bool = False,
    event: list[float] | None = None,
) -> dict[str, Any]:
    """An answer that chose a part of a video and was shown it, or was told what is wrong with it."""
    shown = f"The segment from {part[0]:.1f} to {part[1]:.1f} seconds." if part else f"Not shown: {problem}."
    parts = [
        said("model", "propose", f"<think>where</think><time_interval>{list(part or (9, 8))}</time_interval>"),
        *([] if afresh else [said("environment", "revise", shown)]),
        said("model", "revise", f"<rethink>there</rethink><answer>{answer}</answer>"),
    ]
    return {
        "segments": parts,
        "stop": "eos",
        "media": [look(path), *([look(path, part)] if part else [])],
        "facts": {"task": "qa", "duration": float(LENGTH), "segment": part, "problem": problem},
        "probes": {"sufficiency": "C"} if part else {},
        "sample_facts": {"gt_interval": event} if event else {},
    }


def record(name: str, answer: dict[str, Any]) -> dict[str, Any]:
    text = "".join(item["text"] for item in answer["segments"] if item["author"] == "model")
    return {
        "id": name,
        "question": f"Which of {name}?",
        "gold": "B",
        "text": text,
        **asdict(entry(text, "B", 9)),
        **answer,
    }


def write_run(folder: Path, verb: str, files: dict[str, str], result: Any = None) -> Path:
    marks = {"run.json": {"verb": verb, "name": "x", "mmreflect": "0"}} | ({"result.json": result} if result else {})
    for name, text in ({name: json.dumps(mark) for name, mark in marks.items()} | files).items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


def write_evaluation(folder: Path, answers: list[dict[str, Any]]) -> Path:
    rows = [record(f"q{number}", answer) for number, answer in enumerate(answers)]
    known = ledger([entry(row["text"], row["gold"], row["tokens"]) for row in rows], resamples=50)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    return write_run(folder, "eval", {"samples.jsonl": lines}, {"ledger": known.to_json()})


def view(folder: Path) -> str:
    assert main(["view", str(folder)]) == 0
    return (folder / "index.html").read_text()


def words(page: str) -> str:
    body = re.sub(
        r"<style>.*?</style>|<title>.*?</title>|<desc>.*?</desc>|<script[^>]*>.*?</script>", "", page, flags=re.S
    )
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", body)).replace("\u00a0", " "))


def strips(page: str) -> list[tuple[str, list[float], list[float]]]:
    """Caption, times, and the times that the frames' brightness tells, of every strip in order."""
    found = []
    for figure in re.findall(r'<figure class="film">.*?</figure>', page, flags=re.S):
        caption = words(re.findall(r"<figcaption>(.*?)</figcaption>", figure, flags=re.S)[0]).strip()
        times = [float(time) for time in re.findall(r'class="time"[^>]*>([\d.]+)\u00a0s', figure)]
        pictures = [
            Image.open(io.BytesIO(base64.b64decode(item))) for item in re.findall(r"jpeg;base64,([^\"]+)", figure)
        ]
        found.append((caption, times, [float(np.asarray(item.convert("L")).mean()) / STEP for item in pictures]))
    return found


def test_both_looks_are_strips_of_the_frames_that_were_shown(film: Path, tmp_path: Path) -> None:
    page = view(write_evaluation(tmp_path / "eval", [two_looks(film, (5.0, 11.0))]))
    first, second = strips(page)
    assert first[0] == "Look 1 whole video, 0.0 to 20.0 s, 20 frames, 8 of them here"
    assert second[0] == "Look 2 5.0 to 11.0 s, 12 frames, 8 of them here"
    assert (first[1][0], first[1][-1]) == pytest.approx((0.0, 19.8), abs=0.06)
    assert (second[1][0], second[1][-1]) == pytest.approx((5.0, 10.8), abs=0.06)
    for _, times, told in (first, second):
        assert len(times) == len(told) == 8 and times == sorted(times)
        assert told == pytest.approx(times, abs=0.3)
    places = [page.index(text) for text in ("Look 1", "Which of q0?", "The segment from 5.0", "Look 2", "there<span")]
    assert places == sorted(places), "look 1 stands in the question, look 2 after the words that it came with"


def test_a_clip_of_few_frames_is_shown_whole(film: Path, tmp_path: Path) -> None:
    page = view(write_evaluation(tmp_path / "eval", [two_looks(film, (5.0, 7.0), afresh=True)]))
    caption, times, _ = strips(page)[1]
    assert caption == "Look 2 5.0 to 7.0 s, 4 frames" and len(times) == 4
    assert page.index("</time_interval>".replace("<", "&lt;").replace(">", "&gt;")) < page.index("Look 2")
    assert page.index("Look 2") < page.index("there"), (
        "a dialogue begun afresh leaves no words; the look still stands there"
    )


def test_timeline_has_the_part_the_event_and_their_agreement(film: Path, tmp_path: Path) -> None:
    page = view(write_evaluation(tmp_path / "eval", [two_looks(film, (5.0, 11.0), event=[8.0, 10.0])]))
    figure = re.findall(r'<figure class="timeline">.*?</figure>', page, flags=re.S)[0]
    assert 'role="img"' in figure and "<title>The chosen part of the video</title>" in figure
    # 348 units wide from 6: 5 s is 6 + 348 / 4, and 6 s are 104.4
    assert '<rect class="segment" x="93" y="5" width="104.4" height="13"/>' in figure
    assert '<rect class="event" x="145.2" y="23" width="34.8" height="13"/>' in figure
    agreement = "IoU 0.33, a loose fit: 2.0 s in common of 6.0 s, 100 % of the event"
    assert f"chosen 5.0 to 11.0 s true event 8.0 to 10.0 s {agreement}" in words(figure).strip().replace("  ", " ")
    told = re.findall(r"<desc>(.*?)</desc>", figure)[0].replace("\u00a0", " ")
    assert told.startswith("A video from 0.0 to 20.0 s; chosen from 5.0 to 11.0 s") and agreement in told
    assert "asked on the side, sufficiency: C" in words(page)


def test_answers_without_a_valid_part_say_why(film: Path, tmp_path: Path) -> None:
    text = words(view(write_evaluation(tmp_path / "eval", [two_looks(film, None, "[9, 8] is backwards")])))
    assert "no valid segment: [9, 8] is backwards" in text
    assert "1 answer without a valid part: [..] is backwards (1)." in text
    assert "Look 1" in text and "Look 2" not in text


def test_part_of_a_video_of_unknown_length_is_told_in_words(tmp_path: Path) -> None:
    answer = two_looks("gone.mp4", (5.0, 11.0), event=[11.0, 12.0])
    del answer["facts"]["duration"]
    page = view(write_evaluation(tmp_path / "eval", [answer]))
    assert '<figure class="timeline">' not in page
    assert (
        "chosen 5.0 to 11.0 s of a video whose length is not recorded; IoU 0.00, they do not meet: 0.0 s lie"
        in words(page)
    )


def test_table_of_parts_by_hand(film: Path, tmp_path: Path) -> None:
    """IoUs 0.5, 1, 0 and, for the answer without a part, 0; the last answer's event is not known."""
    answers = [
        two_looks("gone.mp4", (5.0, 9.0), event=[5.0, 13.0]),
        two_looks("gone.mp4", (5.0, 9.0), event=[5.0, 9.0]),
        two_looks("gone.mp4", (5.0, 9.0), event=[10.0, 12.0]),
        two_looks("gone.mp4", None, "none", event=[10.0, 12.0]),
        two_looks("gone.mp4", (5.0, 13.0)),
    ]
    page = view(write_evaluation(tmp_path / "eval", answers))
    section = page[page.index('<section id="segments">') :]
    cells = [words(cell).strip() for cell in re.findall(r"<td[^>]*>(.*?)</td>", section, flags=re.S)[:8]]
    assert cells[0] == "5" and cells[3] == "4"
    assert cells[1].startswith("80.0 % (") and cells[2].startswith("5.0 (")
    assert cells[4].startswith("0.38 (") and cells[5].startswith("50.0 % (")
    assert cells[6].startswith("50.0 % (") and cells[7].startswith("25.0 % (")


def test_no_table_where_no_part_was_asked_for(film: Path, tmp_path: Path) -> None:
    answer = two_looks(film, None)
    answer |= {"facts": {"task": "qa"}, "segments": [said("model", "answer", "<answer>B</answer>")]}
    page = view(write_evaluation(tmp_path / "eval", [answer]))
    assert "Chosen parts" not in page and "timeline" not in re.sub(r"<style>.*?</style>", "", page, flags=re.S)
    assert strips(page)[0][0].startswith("film.mp4 whole video")


def test_every_rollout_has_its_own_second_look(film: Path, tmp_path: Path) -> None:
    parts = [(5.0, 11.0), (1.0, 4.0), None]
    rollouts = [two_looks(film, part, None if part else "too short") | {"score": None} for part in parts]
    facts = {"gt_interval": [5.0, 6.0], "answer_type": "multiple_choice"}
    group = {"sample_id": "r", "question": "Which?", "media": [{"kind": "video", "path": str(film)}], "gold": "B"}
    kept = json.dumps([group | {"rollouts": rollouts, "sample_facts": facts}])
    page = view(write_run(tmp_path / "grpo", "train", {"rollouts/step-000002.json": kept}))
    assert [caption.split(",")[0] for caption, _, _ in strips(page)] == [
        "Look 1 whole video",
        "Look 2 5.0 to 11.0 s",
        "Look 2 1.0 to 4.0 s",
    ]
    assert page.count('<figure class="timeline">') == 3 and "no valid segment: too short" in words(page)


def test_what_the_environment_says_is_no_answer(film: Path, tmp_path: Path) -> None:
    rollout = two_looks(film, (5.0, 11.0), answer="C") | {"score": None}
    rollout["segments"][1]["text"] += " Reply with <answer>B</answer>."
    group = {"sample_id": "r", "question": "Which?", "media": [], "gold": "B", "rollouts": [rollout]}
    page = view(write_run(tmp_path / "grpo", "train", {"rollouts/step-000002.json": json.dumps([group])}))
    assert "final C ✗ wrong" in words(page) and "first C" not in words(page)


def test_without_a_first_try_no_card_speaks_of_one(film: Path, tmp_path: Path) -> None:
    """The head says that it was not measured; what the ledger counts as first is the one answer that there is."""
    answers = [two_looks(film, (5.0, 11.0), answer="C"), two_looks(film, None, "too short")]
    text = words(view(write_evaluation(tmp_path / "eval", answers)))
    assert "Not measured" in text and "final C ✗ wrong" in text and "final B ✓ right" in text
    assert "first C" not in text and "first B" not in text and "tokens to the first answer," not in text
    assert text.count("9 tokens; no first try was asked for") == 2
    assert "right, no first try 1 50.0 % wrong, no first try 1 50.0 %" in text
    answers[0]["probes"]["first_try"] = "A"
    asked = words(view(write_evaluation(tmp_path / "asked", answers[:1])))
    assert "first C ✗ wrong" in asked and "to the first answer," in asked


def test_videos_that_cannot_be_read_are_named_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_text("no video")
    answers = [two_looks(tmp_path / "broken.mp4", (5.0, 11.0)), two_looks("elsewhere/gone.mp4", None)]
    page = view(write_evaluation(tmp_path / "eval", answers))
    text = words(page)
    assert not strips(page) and str(tmp_path) not in text
    assert re.search(r"Look 1: [^.]*broken\.mp4 .*Look 2: [^.]*broken\.mp4 .*broken\.mp4, 5 to 11 s", text)
    assert "Look 1: video not found gone.mp4" in text


def test_a_span_outside_of_the_video_is_named(film: Path, tmp_path: Path) -> None:
    text = words(view(write_evaluation(tmp_path / "eval", [two_looks(film, (30.0, 40.0))])))
    assert "Look 2: the span starts at 30 s, after the video's end at 20 s: film.mp4 film.mp4, 30 to 40 s" in text


def test_strips_are_capped_and_the_page_says_so(film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mmreflect.report.album as album_module

    monkeypatch.setattr(album_module, "Album", functools.partial(album_module.Album, most_strips=3))
    answers = [two_looks(film, (5.0, 11.0)), two_looks(film, (5.0, 11.0), answer="A"), two_looks(film, (1.0, 4.0))]
    page = view(write_evaluation(tmp_path / "eval", answers))
    assert len(strips(page)) == 3
    assert "3 videos are named only: the page holds at most 3 film strips." in words(page)
    assert words(page).count("video left out, the page holds enough film strips film.mp4") == 3


def test_a_clip_used_twice_is_decoded_once(film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mmreflect.report.album as album_module

    made, real = [], album_module.film_strip
    monkeypatch.setattr(album_module, "film_strip", lambda media: made.append(media) or real(media))
    answers = [two_looks(film, (5.0, 11.0)), two_looks(film, (5.0, 11.0), answer="A")]
    page = view(write_evaluation(tmp_path / "eval", answers))
    assert len(strips(page)) == 4 and len(made) == 2
    assert view(tmp_path / "eval") == page
    assert not re.search(r"""(?:src|href)\s*=\s*["']?(?:https?:|//|file:)""", page)


def test_single_frames_stand_with_the_turn_that_showed_them(film: Path, tmp_path: Path) -> None:
    first, second = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0], [12.0]
    turns = ["".join(f"Frame {place} at [00:00]: " for place, _ in enumerate(times)) for times in (first, second)]
    answer = {
        "segments": [
            said("model", "plan", "I look."),
            said("environment", "look", f"<tool_response>{turns[0]}"),
            said("model", "look", "Again."),
            said("environment", "look", f"<tool_response>{turns[1]}"),
            said("model", "look", "<answer>B</answer>"),
        ],
        "stop": "eos",
        "media": [*(still(film, at, 0.5) for at in first), *(still(film, at, 0.25) for at in second)],
        "facts": {"replies": 2},
        "sample_facts": {},
    }
    page = view(write_evaluation(tmp_path / "eval", [answer]))
    ((caption, times, told),) = strips(page)
    assert caption == "film.mp4 0.0 to 9.0 s, 10 single frames, at 0.5 of their size, 8 of them here"
    assert times == [0.0, 1.0, 3.0, 4.0, 5.0, 6.0, 8.0, 9.0] and told == pytest.approx(times, abs=0.3)
    assert "<figcaption>12.0\u00a0s, at 0.25 of its size</figcaption>" in page and "picture film.mp4 at 12.0" in page
    assert page.index("Again.") < page.index("at 0.25 of its size")


def test_dataset_rows_show_their_video_and_its_event(film: Path, tmp_path: Path) -> None:
    row = {
        "id": "t",
        "messages": [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "When?"}]}],
        "videos": [str(film)],
        "answer": "[5, 6]",
        "facts": {"duration": 20.0, "gt_interval": [5, 6]},
    }
    page = view(write_run(tmp_path / "data", "build", {"train/00000.jsonl": json.dumps(row) + "\n"}))
    ((caption, times, _),) = strips(page)
    assert caption == "film.mp4 whole video, 0.0 to 20.0 s" and len(times) == 8
    assert "true event 5.0 to 6.0 s" in words(page) and '<rect class="event" x="93" y="5"' in page


MODEL, SHOWN = Segment("model", "propose", "x"), Segment("environment", "revise", "y")
VIDEO, PART, OTHER = Media("video", "a"), Media("video", "a", span=(1, 2)), Media("video", "b")


@pytest.mark.parametrize(
    ("media", "segments", "asked", "count"),
    [
        ([VIDEO, PART], [MODEL, SHOWN], False, 1),
        ([VIDEO, PART], [MODEL], False, 2),
        ([VIDEO, PART], [MODEL, Segment("model", "revise", "z")], True, 1),
        ([VIDEO, PART], [MODEL, Segment("forced", "rethink", "z")], False, 2),
        ([VIDEO, OTHER, PART], [MODEL, SHOWN], False, 2),
        ([Media("image", "a", at=1.0)], [MODEL, SHOWN], False, 0),
        ([Media("image", "a", at=1.0)], [MODEL], False, 1),
        ([], [MODEL, SHOWN], False, 0),
    ],
)
def test_media_of_the_question(media: list[Media], segments: list[Segment], asked: bool, count: int) -> None:
    assert opening(media, segments, asked) == count


def test_titles_number_the_looks_at_one_file() -> None:
    assert titles([VIDEO, OTHER, PART, Media("image", "a")]) == ["Look 1", "", "Look 2", ""]
    assert titles([VIDEO]) == [""] and titles([VIDEO], asked_for_a_part=True) == ["Look 1"]


@pytest.mark.parametrize(
    ("start", "end", "places"),
    [
        (0.0, 41.6, [0.0, 10.0, 20.0, 30.0, 41.6]),
        (0.0, 3600.0, [0.0, 500.0, 1000.0, 1500.0, 2000.0, 2500.0, 3000.0, 3600.0]),
        (0.0, 0.5, [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]),
        (100.0, 140.0, [100.0, 110.0, 120.0, 130.0, 140.0]),
        (7.0, 27.0, [7.0, 10.0, 15.0, 20.0, 27.0]),
    ],
)
def test_ticks_are_round_and_not_too_near_to_each_other(start: float, end: float, places: list[float]) -> None:
    assert ticks(start, end) == pytest.approx(places)


@pytest.mark.parametrize(
    ("segment", "event", "text"),
    [
        ((10.0, 20.0), (15.0, 30.0), "IoU 0.25, a poor fit: 5.0 s in common of 20.0 s, 33 % of the event"),
        ((220.0, 260.0), (222.0, 240.0), "IoU 0.45, a loose fit: 18.0 s in common of 40.0 s, 100 % of the event"),
        ((0.0, 5.0), (6.0, 9.0), "IoU 0.00, they do not meet: 1.0 s lie between them"),
        ((1.0, 4.0), (1.0, 4.0), "IoU 1.00, a close fit: 3.0 s in common of 3.0 s, 100 % of the event"),
        (None, (1.0, 4.0), ""),
    ],
)
def test_agreement_in_words(segment: Any, event: Any, text: str) -> None:
    assert verdict(Choice(segment, event, None)).replace("\u00a0", " ") == text


def test_a_short_part_of_a_long_video_can_be_seen() -> None:
    drawn = timeline(Choice((3599.0, 3600.0), None, (0.0, 3600.0)))
    assert drawn is not None and '<rect class="segment" x="351.5" y="5" width="2.5" height="13"/>' in drawn.svg
    assert timeline(Choice(None, None, (0.0, 3600.0))) is None


def test_whole_is_the_part_that_a_question_is_about() -> None:
    part = [Media("video", "a", span=(100.0, 140.0))]
    assert whole_of({"duration": 40.0}, part) == (100.0, 140.0)
    assert whole_of({"duration": 180.0}, part) == (0.0, 180.0), "a masked video keeps its length"
    assert whole_of({"duration": float("nan")}, part) is None and whole_of({}, part) is None
