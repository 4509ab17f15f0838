"""What miniature releases are made with: pictures, films, tables and archives."""

import csv
import io
import json
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

Row = dict[str, Any]
TEXT, LIST = pa.string(), pa.list_(pa.string())
PICTURE = pa.struct([("bytes", pa.binary()), ("path", TEXT)])
LETTERS = "ABCDEFGHIJ"
COLOURS = ("red", "green", "blue", "yellow", "purple", "orange", "black", "white", "brown", "pink")
FPS, SECONDS = 4, (2, 5, 9)


class Shop:
    """Makes pictures and films; films are encoded once and linked."""

    def __init__(self) -> None:
        self._films: dict[int, bytes] = {}

    def picture(self, number: int, mode: str = "RGB", form: str = "PNG", size: tuple[int, int] = (56, 42)) -> bytes:
        """A bar chart whose bars depend on the number."""
        drawn = Image.new("RGB", size, "white")
        pen = ImageDraw.Draw(drawn)
        for bar in range(4):
            height = 6 + (number * 7 + bar * 11) % (size[1] - 10)
            pen.rectangle(
                (4 + bar * 13, size[1] - height, 12 + bar * 13, size[1] - 2), fill=COLOURS[(number + bar) % 6]
            )
        if mode == "RGBA":
            drawn = drawn.convert("RGBA")
            drawn.putalpha(200)
        elif mode != "RGB":
            drawn = drawn.convert(mode)
        held = io.BytesIO()
        drawn.save(held, format=form)
        return held.getvalue()

    def struct(self, number: int, name: str | None = None, **options: Any) -> Row:
        """A picture as the Hub's parquet files hold it."""
        return {"bytes": self.picture(number, **options), "path": name}

    def film(self, seconds: int) -> bytes:
        """A film of a bright bar that moves over a dark ground."""
        if seconds not in self._films:
            import av

            held = io.BytesIO()
            with av.open(held, "w", format="mp4") as container:
                stream = container.add_stream("libx264", rate=FPS)
                stream.width, stream.height, stream.pix_fmt = 56, 56, "yuv420p"
                for place in range(seconds * FPS):
                    frame = np.full((56, 56, 3), 40, np.uint8)
                    frame[:, place % 56 : place % 56 + 8] = 220
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
                container.mux(stream.encode())
            self._films[seconds] = held.getvalue()
        return self._films[seconds]

    def films(self, names: Sequence[str]) -> dict[str, bytes]:
        """Films by name, of different lengths."""
        return {name: self.film(SECONDS[place % len(SECONDS)]) for place, name in enumerate(names)}


def parquet(path: Path, rows: list[Row], types: dict[str, Any] | None = None, shards: int = 1) -> None:
    """Write rows as one file, or as several whose names follow the Hub's."""
    given = types or {}
    guessed = pa.Table.from_pylist([{name: value for name, value in row.items() if name not in given} for row in rows])
    schema = pa.schema([(name, given.get(name) or guessed.schema.field(name).type) for name in rows[0]])
    path.parent.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        part = rows[shard * len(rows) // shards : (shard + 1) * len(rows) // shards]
        name = path.name.format(f"{shard:05d}-of-{shards:05d}")
        pq.write_table(pa.Table.from_pylist(part, schema=schema), path.with_name(name))


def write(path: Path, content: str | bytes | list[Any] | Row) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl" and isinstance(content, list):
        content = "".join(json.dumps(row) + "\n" for row in content)
    elif not isinstance(content, str | bytes):
        content = json.dumps(content, indent=1)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def write_all(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        write(folder / name, content)


def write_zip(path: Path, files: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as packed:
        for name, content in files.items():
            packed.writestr(name, content)


def tar_bytes(files: dict[str, bytes]) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as packed:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            packed.addfile(entry, io.BytesIO(content))
    return held.getvalue()


def write_csv(path: Path, rows: list[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def options(count: int, shift: int = 0) -> list[str]:
    return [COLOURS[(place + shift) % len(COLOURS)] for place in range(count)]


def srt() -> str:
    return (
        '1\n00:00:00,000 --> 00:00:01,000\n<font color="white">Good morning.</font>\n\n'
        "2\n00:00:01,200 --> 00:00:01,700\nTwo lines\nof one caption.\n\n3\n00:10:00,000 --> 00:10:01,000\nMuch later.\n"
    )
