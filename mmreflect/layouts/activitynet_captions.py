"""ActivityNet Captions: `train.json`, `val_1.json` or `val_2.json`.

A mapping from video ("v_...") to {duration, timestamps: [[start, end], ...], sentences: [...]}. By loaders of others,
such as that of xiaomi-research/time-r1; the files themselves could not be seen.
"""

from collections.abc import Iterator
from functools import partial

from mmreflect.config import config
from mmreflect.layouts import Dropped, Entry, Question, Release, UnusableError, converted, interval
from mmreflect.layouts._files import (
    check_keys,
    optional_number,
    pair,
    read_json_mapping,
    videos_by_stem,
)
from mmreflect.records import Media

NAME = "ActivityNet Captions"


@config
class Config:
    """Where the release lies.

    Attributes:
        annotations: train.json, val_1.json or val_2.json.
        videos: the folder of the videos, named as the keys of that file.
    """

    annotations: str
    videos: str


def create(options: Config) -> Release:
    """Create the release."""

    def read() -> Iterator[Entry]:
        find = videos_by_stem(options.videos)
        entries = read_json_mapping(options.annotations, NAME)
        videos = {name: entry if isinstance(entry, dict) else {} for name, entry in entries.items()}
        check_keys(list(videos.values()), ("duration", "timestamps", "sentences"), options.annotations, NAME)
        for name, entry in videos.items():
            spans, sentences = entry.get("timestamps"), entry.get("sentences")
            if not isinstance(spans, list) or not isinstance(sentences, list) or len(spans) != len(sentences):
                yield Dropped(name, "not as many timestamps as sentences")
                continue
            video, duration = find(name), optional_number(entry, "duration")
            yield from converted(
                (f"{name}-{place}", partial(_question, f"{name}-{place}", video, duration, span, sentence))
                for place, (span, sentence) in enumerate(zip(spans, sentences, strict=True))
            )

    return Release([options.annotations], read)


def _question(name: str, video: Media, duration: float | None, span: object, sentence: object) -> Question:
    if not isinstance(sentence, str) or not sentence.strip():
        raise UnusableError("no sentence")
    return Question(
        id=f"activitynet-captions-{name}",
        media=(video,),
        text=sentence.strip(),
        source=NAME,
        task="grounding",
        gt_interval=interval(*pair(span, "timestamps"), duration),
        duration=duration,
    )
