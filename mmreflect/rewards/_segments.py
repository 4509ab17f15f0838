"""What the rewards of named segments share."""

from mmreflect.answers.intervals import Interval, clamped
from mmreflect.records import Rollout, Sample


def inside(interval: Interval | None, sample: Sample, rollout: Rollout) -> Interval | None:
    """Return the part of a named interval that lies in the video, in seconds of the file; None where there is none.

    The video is what the environment noted as `duration`, from where the sample's span begins; without that note the
    interval stays as it is written.
    """
    duration = rollout.facts.get("duration")
    if interval is None or not isinstance(duration, int | float):
        return interval
    span = next((item.span for item in sample.media if item.kind == "video"), None)
    begin = span[0] if span else 0.0
    kept = clamped((interval[0] - begin, interval[1] - begin), float(duration))
    return None if kept is None else (kept[0] + begin, kept[1] + begin)
