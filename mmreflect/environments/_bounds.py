"""What environments that write times into frames say of a sample about a part of a file."""

from mmreflect.answers.intervals import Interval
from mmreflect.records import Media


def bounds(whole: Interval, video: Media) -> str:
    """Say from when to when a part of a file is shown, in the seconds of its frames; nothing where it is all shown."""
    return "" if video.span is None else f", shown from {whole[0]:.1f} to {whole[1]:.1f}"
