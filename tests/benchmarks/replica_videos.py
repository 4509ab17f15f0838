"""Miniature releases of the benchmarks on videos."""

import json
from pathlib import Path

from replica_making import (
    SECONDS,
    TEXT,
    Row,
    Shop,
    options,
    parquet,
    srt,
    tar_bytes,
    write,
    write_all,
    write_csv,
    write_zip,
)

MVBENCH = {
    "action_sequence": "star/Charades_v1_480", "action_prediction": "star/Charades_v1_480", "action_antonym": "ssv2_video",
    "fine_grained_action": "Moments_in_Time_Raw/videos", "unexpected_action": "FunQA_test/test",
    "object_existence": "clevrer/video_validation", "object_interaction": "star/Charades_v1_480",
    "object_shuffle": "perception/videos", "moving_direction": "clevrer/video_validation",
    "action_localization": "sta/sta_video", "scene_transition": "scene_qa/video", "action_count": "perception/videos",
    "moving_count": "clevrer/video_validation", "moving_attribute": "clevrer/video_validation",
    "state_change": "perception/videos", "fine_grained_pose": "nturgbd", "character_order": "perception/videos",
    "egocentric_navigation": "vlnqa", "episodic_reasoning": "tvqa/frames_fps3_hq",
    "counterfactual_inference": "clevrer/video_validation",
}  # fmt: skip


def videomme(root: Path, shop: Shop) -> None:
    rows, names = [], [f"-v{place}_Ab.c" for place in range(7)]
    for place, name in enumerate(names):
        rows += [
            {"video_id": f"{place + 1:03d}", "duration": ("short", "medium", "long")[place % 3], "domain": "Knowledge", "sub_category": "Law",
             "url": f"https://example.org/{name}", "videoID": name, "question_id": f"{place + 1:03d}-{number}", "task_type": "OCR Problems",
             "question": f"What happens in part {number}?", "options": [f"{letter}. {text}." for letter, text in zip("ABCD", options(4), strict=True)],
             "answer": "ABCD"[(place + number) % 4]}
            for number in (1, 2, 3)
        ]  # fmt: skip
    parquet(root / "videomme/test-{}.parquet", rows)
    suffixes = (".mp4", ".MP4", ".mkv")
    films = shop.films([f"data/{name}{suffixes[place % 3]}" for place, name in enumerate(names)])
    write_zip(root / "videos_chunked_01.zip", dict(list(films.items())[:4]))
    write_zip(root / "videos_chunked_02.zip", dict(list(films.items())[4:]))
    write_zip(root / "subtitle.zip", {f"subtitle/{name}.srt": srt().encode() for name in names[:5]})


def lvb_rows(split: str) -> list[Row]:
    return [
        {"video_id": f"vid{place % 5}", "question": f"At the start, what colour is box {place}?", "question_wo_referring_query": f"What colour is box {place}?",
         "correct_choice": place % 4 if split == "validation" else -1, "topic_category": "KH-Knowledge", "question_category": ("S2E", "T2A", "TOS")[place % 3],
         "level": "L1-Perception", "id": f"{split[:1]}vid{place % 5}_{place}", "video_path": f"vid{place % 5}.mp4", "subtitle_path": f"vid{place % 5}_en.json",
         "duration_group": (15, 60, 600, 3600)[place % 4], "starting_timestamp_for_subtitles": 10 if place % 5 == 1 else 0,
         "duration": (2.0, 5.0, 9.0)[place % 5 % 3], "view_count": 1200 + place, "candidates": options(5 if place % 2 else 4, place)}
        for place in range(20)
    ]  # fmt: skip


def lvb_media(shop: Shop) -> tuple[dict[str, bytes], dict[str, bytes]]:
    pair = [{"timestamp": [0.0, 1.5], "text": "Look at this."}, {"timestamp": [1.6, None], "text": "And so on."}]
    clock = [{"start": "00:00:10.100", "end": "00:00:10.300", "line": "A short word."}, {"start": "00:00:11", "end": "00:00:13.5", "line": "A longer one."}]  # fmt: skip
    said = {f"vid{place}_en.json": json.dumps(clock if place == 1 else pair).encode() for place in range(5)}
    return shop.films([f"vid{place}.mp4" for place in range(5)]), said


def longvideobench(root: Path, shop: Shop) -> None:
    write(root / "lvb_val.json", lvb_rows("validation"))
    write(root / "lvb_test_wo_gt.json", [{key: value for key, value in row.items() if key != "correct_choice"} for row in lvb_rows("test")[:6]])  # fmt: skip
    films, said = lvb_media(shop)
    packed = tar_bytes({f"videos/{name}": content for name, content in films.items()})
    write(root / "videos.tar.part.aa", packed[: len(packed) // 2])
    write(root / "videos.tar.part.ab", packed[len(packed) // 2 :])
    write(root / "subtitles.tar", tar_bytes({f"subtitles/{name}": content for name, content in said.items()}))


def longvideobench_parquet(root: Path, shop: Shop) -> None:
    for split, name in (("validation", "validation"), ("test", "test")):
        rows = []
        for row in lvb_rows(split):
            texts = [*row.pop("candidates"), "N/A"][:5]
            rows.append(row | {f"option{place}": text for place, text in enumerate(texts)})
        parquet(root / f"{name}-{{}}.parquet", rows)
    films, said = lvb_media(shop)
    write_all(root / "videos", films)
    write_all(root / "subtitles", said)


MLVU = {"1_plotQA": "plotQA", "2_needle": "findNeedle", "3_ego": "ego", "4_count": "count", "5_order": "order", "6_anomaly_reco": "anomaly_reco", "7_topic_reasoning": "topic_reasoning"}  # fmt: skip


def mlvu(root: Path, shop: Shop) -> None:
    films = {}
    for file, task in MLVU.items():
        rows = [
            {"video": f"{task}_{place}.mp4", "duration": (2.0, 5.0, 9.0)[place], "question": f"What is true of {task} {place}?",
             "candidates": options(4, place), "answer": options(4, place)[place], "question_type": task}
            for place in range(3)
        ]  # fmt: skip
        write(root / f"MLVU/json/{file}.json", rows)
        films |= {f"{file}/{row['video']}": None for row in rows}
    scene = {"video": "sub_0.mp4", "duration": 5, "question": "Describe it.", "answer": "It moves.", "question_type": "subPlot", "scoring_points": ["moves"]}  # fmt: skip
    write(root / "MLVU/json/8_sub_scene.json", [scene, scene])
    write(root / "MLVU/json/9_summary.json", [{**scene, "question_type": "summary"}])
    write_all(root / "MLVU/video", shop.films(list(films)))


def mlvu_test(root: Path, shop: Shop) -> None:
    tasks = (*MLVU.values(), "sportsQA", "tutorialQA")
    rows = [
        {"video": f"test_{place}.mp4", "duration": 5.0, "question": f"What is true of clip {place}?", "candidates": options(6, place),
         "answer": options(6, place)[place % 6], "question_type": task, "question_id": f"Q{place}"}
        for place, task in enumerate(tasks)
    ]  # fmt: skip
    write(root / "test-ground-truth/test_mcq_gt.json", rows)
    write_all(root / "test_video", shop.films([row["video"] for row in rows]))


LVBENCH_KINDS = (["key information retrieval"], ["event understanding", "reasoning"], ["temporal grounding"])


def lvbench_official(root: Path, shop: Shop) -> None:
    lines = [
        {"key": f"Cm73ma6{place}", "type": "cartoon", "video_info": {"fps": 4.0, "duration_minutes": 1}, "qa": [
            {"uid": str(5 * place + number), "question": f"What comes at point {number}?\n(A) red\n(B) green\n(C) blue\n(D) none", "answer": "ABCD"[number % 4],
             "question_type": LVBENCH_KINDS[number % 3], "time_reference": "00:01-00:03"} for number in range(5)]}
        for place in range(4)
    ]  # fmt: skip
    write(root / "video_info.meta.jsonl", lines)
    write_all(root / "videos", shop.films([f"{line['key']}.mp4" for line in lines]))


def lvbench(root: Path, shop: Shop) -> None:
    rows = [
        {"uid": str(place), "key": f"Cm73ma6{place % 4}", "type": "cartoon", "video_path": f"Cm73ma6{place % 4}.mp4", "answer": "ABCD"[place % 4],
         "question": f"What comes at point {place}?\n(A) red\n(B) green\n(C) blue\n(D) none", "question_type": LVBENCH_KINDS[place % 3],
         "time_reference": "00:01-00:03"}
        for place in range(20)
    ]  # fmt: skip
    parquet(root / "data/train-{}.parquet", rows, shards=2)
    write_zip(root / "videos.zip", shop.films([f"Cm73ma6{place}.mp4" for place in range(4)]))


def mvbench(root: Path, shop: Shop) -> None:
    packed: dict[str, dict[str, bytes]] = {}
    for place, (task, folder) in enumerate(MVBENCH.items()):
        name = (
            "castle_s01e01_seg02_clip_00"
            if task == "episodic_reasoning"
            else "SAME.mp4"
            if "sta/" in folder
            else f"{task}.mp4"
        )
        name = "SAME.mp4" if task == "action_sequence" else name
        row = {
            "video": name,
            "question": f"What is seen in {task}?",
            "candidates": options(3 + place % 3),
            "answer": options(3)[place % 3],
        }
        if task in ("action_sequence", "action_prediction", "object_interaction", "episodic_reasoning"):
            row |= {"start": 0.5, "end": 1.5}
        write(root / f"json/{task}.json", [row])
        files = {f"{name}/{frame:05d}.jpg": shop.picture(frame, form="JPEG") for frame in range(1, 10)}
        content = files if task == "episodic_reasoning" else {name: shop.film(SECONDS[place % 3])}
        archive, _, inner = folder.partition("/")
        inside = packed.setdefault(archive, {})
        inside |= {f"{archive}/{f'{inner}/' if inner else ''}{key}": value for key, value in content.items()}
    for archive, files in packed.items():
        write_zip(root / f"video/{archive}.zip", files)


def tempcompass(root: Path, shop: Shop) -> None:
    dims = ("action", "direction", "speed", "order", "attribute_change")
    asked: dict[str, tuple[str, str]] = {
        "multi-choice": ("What moves?\nA. a bar\nB. a ball", "A. a bar"),
        "yes_no": ("Does a bar move?", "yes"),
        "caption_matching": (
            "Which caption fits?\nCaption A: A bar moves.\nCaption B: It rests.",
            "Caption A: A bar moves.",
        ),
        "captioning": ("Describe the clip.", ""),
    }
    for task, (question, answer) in asked.items():
        rows = [
            {"video_id": str(1000 + place), "question": question, "answer": answer, "dim": dims[place]}
            for place in range(5)
        ]
        if task == "captioning":
            rows = [
                {**row, "answer": None, "mc_question": "What moves?\nA. a bar\nB. a ball", "mc_answer": "A. a bar"}
                for row in rows
            ]
        parquet(root / task / "test-{}.parquet", rows, {"answer": TEXT} if task == "captioning" else None)
    write_zip(root / "tempcompass_videos.zip", shop.films([f"videos/{1000 + place}.mp4" for place in range(5)]))


def captioned(prefix: str) -> Row:
    return {
        f"{prefix}{place}": {"duration": float(SECONDS[place % 3]), "timestamps": [[0.2, 1.0], [0.5, 1.9]],
                             "sentences": [f" A bar enters scene {place}. ", "It goes on."]}
        for place in range(10)
    }  # fmt: skip


def charades_sta(root: Path, shop: Shop) -> None:
    rows = [
        {"video": f"CH{place % 7}.mp4", "caption": f"a bar moves in scene {place}", "timestamp": ["0.3", "1.5"]}
        for place in range(20)
    ]
    parquet(root / "data/test-{}.parquet", rows)
    write_all(root / "Charades_v1_480", shop.films([f"CH{place}.mp4" for place in range(7)]))


def charades_sta_json(root: Path, shop: Shop) -> None:
    write(root / "charades_test.json", captioned("CH"))
    write_all(root / "Charades_v1_480", shop.films([f"CH{place}.mp4" for place in range(10)]))


def activitynet_grounding(root: Path, shop: Shop) -> None:
    write(root / "val_2.json", captioned("v_"))
    write(root / "val_1.json", dict(list(captioned("v_").items())[:3]))
    write_all(root / "videos", shop.films([f"v_{place}{('.mp4', '.mkv')[place % 2]}" for place in range(10)]))


def nextgqa(root: Path, shop: Shop) -> None:
    for split, count in (("test", 20), ("val", 4)):
        rows, spans = [], {}
        for place in range(count):
            video = str(2400000000 + place % 4)
            rows.append(
                {"video_id": video, "frame_count": 20, "width": 56, "height": 56, "question": f"why does the bar move, {place}", "answer": options(5)[place % 5],
                 "qid": place, "type": ("CW", "TN")[place % 2], **{f"a{number}": text for number, text in enumerate(options(5))}}
            )  # fmt: skip
            entry = spans.setdefault(video, {"duration": 2, "fps": 4.0, "location": {}})
            entry["location"][str(place)] = [[0.0, 1.0], [1.2, 1.8]][: 1 + place % 2]
        write_csv(root / f"{split}.csv", rows)
        write(root / f"gsub_{split}.json", spans)
    write_all(root / "videos", shop.films([f"{1000 + place}/{2400000000 + place}.mp4" for place in range(4)]))


RELEASES = (
    *(videomme, longvideobench, longvideobench_parquet, mlvu, mlvu_test, lvbench, lvbench_official, mvbench),
    *(tempcompass, charades_sta, charades_sta_json, activitynet_grounding, nextgqa),
)
