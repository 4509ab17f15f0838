"""The common file of captioned videos: a mapping from video to its duration, spans and sentences."""

from mmreflect.evaluation.benchmark import BadField, Row


def rows_of_video(record: Row) -> list[Row]:
    """Return a row for each sentence of a video, whose name is the record's `id`; a row's id is video and place.

    Raises:
        BadField: the spans and the sentences differ in number.
    """
    stamps, sentences = record["timestamps"], record["sentences"]
    if len(stamps) != len(sentences):
        raise BadField(f"{record['id']} has {len(stamps)} timestamps and {len(sentences)} sentences")
    video = {"video": record["id"], "duration": record["duration"]}
    return [
        Row(id=f"{record['id']}-{place}", **video, timestamp=stamp, caption=sentence)
        for place, (stamp, sentence) in enumerate(zip(stamps, sentences, strict=True))
    ]
