"""Video-MME (arXiv 2405.21075): 2,700 questions on 900 videos, short, medium and long, with and without subtitles.

mmreflect eval rescore videomme responses=FILE.jsonl output=OUT.jsonl [rule=strict]

The official script lacks two commas in its list of phrases, takes the first capital A to D anywhere ("Best answer: C"
is B), and leaves unanswered questions out of the denominator. All of that is kept under `official`; the summary holds
both denominators, and `strict` is the rule to trust.
"""

from collections.abc import Sequence
from typing import Any

from mmreflect.evaluation.benchmark import Benchmark, Column, Files, Item, Measure, Recorded, Row, Scored, Source
from mmreflect.evaluation.rules.letters import shared_letter, videomme_letter, videomme_letter_vlmevalkit
from mmreflect.evaluation.rules.tables import correct, groups
from mmreflect.evaluation.rules.verdicts import by_letter, choice_spec, listed, strict
from mmreflect.records import Turn

PREFIX = "This video's subtitles are listed below:\n{subtitles}\n"
ASK = (
    "Select the best answer to the following multiple-choice question based on the video. Respond with only the letter "
    "(A, B, C, or D) of the correct option."
)
FACETS = ("duration", "domain", "sub_category", "task_type")
CATEGORIES = {
    "Knowledge": (
        *(
            "Humanity & History",
            "Literature & Art",
            "Biology & Medicine",
            "Finance & Commerce",
            "Astronomy",
            "Geography",
        ),
        *("Law", "Life Tip", "Technology"),
    ),
    "Film & Television": ("Animation", "Movie & TV Show", "Documentary", "News Report"),
    "Sports Competition": ("Esports", "Basketball", "Football", "Athletics", "Other Sports"),
    "Artistic Performance": ("Stage Play", "Magic Show", "Variety Show", "Acrobatics"),
    "Life Record": ("Handicraft", "Food", "Fashion", "Daily Life", "Travel", "Pet & Animal", "Exercise"),
    "Multilingual": ("Multilingual",),
}
LABELS = {
    "duration": ("short", "medium", "long"),
    "domain": tuple(CATEGORIES),
    "sub_category": tuple(name for names in CATEGORIES.values() for name in names),
    "task_type": (
        *("Temporal Perception", "Spatial Perception", "Attribute Perception", "Action Recognition"),
        *("Object Recognition", "OCR Problems", "Counting Problem", "Temporal Reasoning", "Spatial Reasoning"),
        *("Action Reasoning", "Object Reasoning", "Information Synopsis"),
    ),
}


def item(row: Row, files: Files, style: str) -> Item:
    """Make a question; with subtitles, those lines that a sampled frame falls into stand before it."""
    video = files.video(str(row["videoID"]))
    text = f"{ASK}\n{row['question']}\n" + "\n".join(row["options"]) + "\nThe best answer is:"
    if style == "with_subtitles" and (lines := files.subtitles(str(row["videoID"]))):
        total, fps = files.length(video)
        times = [frame / fps for frame in sampled(total, files.max_frames)]
        shown = [line.text for line in lines if any(line.start <= time < line.end for time in times)]
        text = PREFIX.format(subtitles="\n".join(shown)) + text
    name = str(row["question_id"])
    facts = {key: row.get(key) for key in ("question_id", "videoID", "options", *FACETS)}
    return Item(name, (Turn("user", [video, text]),), row["answer"], facts)


def sampled(total: int, count: int) -> list[int]:
    """Return `count` frames evenly from the first to the last one."""
    if count <= 1 or total <= 1:
        return [0]
    return [place * (total - 1) // (count - 1) for place in range(count)]


def _gold(row: Row) -> str | None:
    return None if row.get("answer") in (None, "") else str(row["answer"])


def _options(row: Row) -> dict[str, str] | None:
    """Return the options by letter; the release's texts begin with theirs."""
    return {str(text)[:1]: str(text)[2:].strip() for text in listed(row.get("options"))} or None


def _answered(item: Scored) -> bool:
    """Tell whether a question was answered; a verdict that was taken over without its response is one on an answer."""
    if "response" not in item.row and item.reading.prediction is None:
        return True
    return bool(item.reading.prediction)


def count(rows: Sequence[Scored]) -> dict[str, Any]:
    """Return the counts and both accuracies, in percent with one decimal; the official one drops the unanswered."""
    answered, right = sum(map(_answered, rows)), correct(rows)
    return {
        "total": len(rows),
        "answered": answered,
        "correct": right,
        "acc_official": round(100 * right / answered, 1) if answered else 0.0,
        "acc_over_total": round(100 * right / len(rows), 1) if rows else 0.0,
    }


def breakdown(rows: Sequence[Scored]) -> dict[str, Any]:
    """Return overall, and every label of each key, also those without a question here."""
    made: dict[str, Any] = {"overall": count(rows)}
    for facet in FACETS:
        found = groups(rows, facet)
        if found:
            made[facet] = {label: count(found.get(label, [])) for label in dict.fromkeys((*LABELS[facet], *found))}
    found = groups(rows, "duration")
    inside = {name: {key: groups(items, key) for key in FACETS[1:]} for name, items in found.items()}
    made["by_duration"] = {
        name: {key: {label: count(part) for label, part in parts.items()} for key, parts in keys.items() if parts}
        for name, keys in inside.items()
    }
    return made


BENCHMARK = Benchmark(
    name="videomme",
    source=Source(
        "lmms-lab/Video-MME", splits=("test",), configs=("videomme",), files=("data", "videos_chunked", "subtitle")
    ),
    columns=(
        Column("videoID", "text"),
        Column("question_id", "text"),
        Column("question", "text"),
        Column("options", "list"),
        Column("answer", "text"),
        *(Column(name, "text") for name in FACETS),
    ),
    item=item,
    rules={
        "official": by_letter(videomme_letter, _gold, nothing=""),
        "lmms_eval": by_letter(shared_letter, _gold, nothing=""),
        "vlmevalkit": by_letter(videomme_letter_vlmevalkit, _gold, nothing=""),
        "strict": strict(lambda row: choice_spec(_options(row)), _gold),
    },
    breakdown=breakdown,
    recorded=Recorded(id=("id", "question_id")),
    facets=FACETS,
    styles=("without_subtitles", "with_subtitles"),
    cluster=("videoID", "video_id"),
    measures={
        "acc_official": Measure(lambda item: item.value if _answered(item) else None, scale=100),
        "acc_over_total": Measure(scale=100),
    },
)
