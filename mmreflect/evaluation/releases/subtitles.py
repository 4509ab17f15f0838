"""Subtitle files: SRT, and the two JSON forms of LongVideoBench."""

import json
import math
import re
from pathlib import Path
from typing import Any

from mmreflect.errors import UserError
from mmreflect.evaluation.benchmark import Subtitle

SUBTITLES = (".srt", ".json")
_TIME = r"(?:(\d+):)?(\d{1,2}):(\d{1,2}(?:[.,]\d+)?)"
_CLOCK = re.compile(_TIME)
_SPAN = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}")
_MARKUP = re.compile(r"</?\w[^>]*>|\{\\[^}]*\}")


def read_subtitles(path: Path) -> list[Subtitle]:
    """Return the lines of a file in its order, without markup; several lines of one caption are joined by a blank.

    A line of a JSON file whose end is null lasts as long as the video: its end is infinite.

    Raises:
        UserError: the file is of neither form.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the subtitles cannot be read: {path} ({error})", "an SRT or JSON file in UTF-8") from None
    return _from_json(text, path) if path.suffix.lower() == ".json" else _from_srt(text, path)


def _from_srt(text: str, path: Path) -> list[Subtitle]:
    lines: list[Subtitle] = []
    for block in re.split(r"\n\s*\n", text.replace("\r\n", "\n").strip()):
        shown = block.split("\n")
        place = next((place for place, line in enumerate(shown) if "-->" in line), None)
        if place is None:
            continue
        found = _SPAN.match(shown[place])
        if found is None:
            raise UserError(f"the subtitles cannot be read: {path} ({shown[place]!r} is no span of time)", "SRT")
        said = _MARKUP.sub("", " ".join(line.strip() for line in shown[place + 1 :])).strip()
        if said:
            lines.append(Subtitle(_seconds(*found.groups()[:3]), _seconds(*found.groups()[3:]), said))
    if text.strip() and "-->" not in text:
        raise UserError(f"the subtitles cannot be read: {path} (no span of time in it)", "SRT")
    return lines


def _from_json(text: str, path: Path) -> list[Subtitle]:
    try:
        return [_line(entry) for entry in json.loads(text)]
    except (ValueError, TypeError, KeyError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise UserError(
            f"the subtitles cannot be read: {path} ({reason})",
            "a list of {timestamp: [start, end], text} or of {start, end, line}",
        ) from None


def _line(entry: dict[str, Any]) -> Subtitle:
    if "timestamp" in entry:
        start, end = entry["timestamp"]
        return Subtitle(float(start), math.inf if end is None else float(end), str(entry["text"]).strip())
    return Subtitle(_clock(entry["start"]), _clock(entry["end"]), str(entry["line"]).strip())


def _clock(time: Any) -> float:
    found = _CLOCK.fullmatch(str(time).strip())
    if found is None:
        return float(time)
    return _seconds(*found.groups())


def _seconds(hours: str | None, minutes: str, seconds: str) -> float:
    return 3600 * int(hours or 0) + 60 * int(minutes) + float(seconds.replace(",", "."))
