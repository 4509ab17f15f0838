"""Time to read frames of a video, against PyAV used plainly: python benchmarks/video_decode.py [--quick] [--json FILE].

Three clips of 60 seconds at 640x360 in H.264: a keyframe every 250 frames, every 15, and every 48 with open groups of
pictures, whose keyframes lean on what was before. For 8, 16, 32 and 64 evenly spaced frames: our reader on a file that
it has never seen (worker process, look at the index, frames handed over through a file, array in our own memory), a
sequential pass and a seek per frame with PyAV, which do the same resizing; then our reader again, from the cache. The
contenders take turns in every round, all on a new clip whose content differs from the others' by a few unused bytes; a
ratio is the median of the rounds' ratios. Then memory: no clip comes from the cache, and the resident memory of this
process and of its worker is taken after a warm-up, while reading, and at the end.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

from mmreflect import console
from mmreflect.media.decoders import PACKAGES
from mmreflect.media.reader import ReaderConfig, VideoReader
from mmreflect.media.sampling import frame_indices
from mmreflect.media.video import load_video
from mmreflect.media.workers import cores
from mmreflect.records import FrameSampling, Media

COUNTS = (8, 16, 32, 64)
FPS, SECONDS, SIZE = 30, 60, (360, 640)
SHOWN = (364, 644)
WARM_UP = 100
"""Clips of the memory test that are read before it begins."""
GOALS = {"cold": 1.1, "second": 0.05, "growth_mib": 50.0}
CLOSED = {"keyint_min": "250", "sc_threshold": "0", "preset": "veryfast", "bf": "3"}
GROUPS = {
    "GOP 250": {**CLOSED, "g": "250"},
    "GOP 15": {**CLOSED, "g": "15", "keyint_min": "15"},
    "GOP 48, open": {"g": "48", "sc_threshold": "0", "preset": "veryfast", "bf": "3", "x264-params": "open-gop=1"},
}
"""What the clips are encoded with."""
LEAD = {"GOP 48, open": 4}
"""Frames by which a plain seek must begin earlier: those shown before their keyframe cannot be decoded from it."""

Frames = npt.NDArray[np.uint8]


def make_clip(path: Path, options: dict[str, str], seconds: int, size: tuple[int, int]) -> None:
    """Write a clip of moving blocks."""
    height, width = size
    draw = np.random.Generator(np.random.Philox(0))
    ground = draw.integers(0, 255, (height // 8, width // 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=FPS)
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        stream.options = dict(options)
        for number in range(seconds * FPS):
            picture = np.roll(ground, (number * 2, number * 3), (0, 1))
            left = number * 5 % (width - 60)
            picture[height // 4 : height // 2, left : left + 60] = number * 3 % 255
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def copy_clip(clip: Path, path: Path, number: int) -> None:
    """Copy a clip and make it one that nobody has seen: players skip the box that is put behind it."""
    shutil.copy(clip, path)
    with open(path, "ab") as file:
        file.write((16).to_bytes(4, "big") + b"free" + number.to_bytes(8, "big"))


def shown(frame: Any) -> Frames:
    """Turn a decoded frame into what the reader returns."""
    picture = Image.fromarray(frame.to_ndarray(format="rgb24"))
    return np.asarray(picture.resize((SHOWN[1], SHOWN[0]), Image.Resampling.BICUBIC))


def sequential(path: Path, numbers: Sequence[int]) -> Frames:
    """Decode up to the last wanted frame and keep the wanted ones."""
    wanted, kept = set(numbers), []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for number, frame in enumerate(container.decode(stream)):
            if number in wanted:
                kept.append(shown(frame))
            if len(kept) == len(numbers):
                break
    return np.stack(kept)


def seeking(path: Path, numbers: Sequence[int], lead: int = 0) -> Frames:
    """Seek before each wanted frame and decode up to it."""
    kept = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        assert stream.time_base is not None
        for number in numbers:
            target = round(number / FPS / stream.time_base)
            container.seek(max(0, target - round(lead / FPS / stream.time_base)), stream=stream)
            kept.append(shown(next(frame for frame in container.decode(stream) if (frame.pts or 0) >= target)))
    return np.stack(kept)


def read(path: Path, count: int, reader: VideoReader) -> Frames:
    """Read a clip as the project does."""
    sampling = FrameSampling(nframes=count, min_pixels=SHOWN[0] * SHOWN[1], max_pixels=2 * SHOWN[0] * SHOWN[1])
    return load_video(Media("video", str(path)), sampling, reader=reader).frames_FHWC


def timed(work: Callable[[], Frames]) -> tuple[float, Frames]:
    """Return the seconds a piece of work takes, and its frames."""
    began = time.perf_counter()
    frames = work()
    return time.perf_counter() - began, frames


def measure_speed(folder: Path, rounds: int, counts: Sequence[int], decoders: Sequence[str]) -> list[dict[str, Any]]:
    """Time every contender on every clip and count, in turns."""
    rows: list[dict[str, Any]] = []
    readers = {
        name: VideoReader(ReaderConfig(decoder=name, cache=str(folder / name), workers=1))  # type: ignore[arg-type]
        for name in decoders
    }
    for label, options in GROUPS.items():
        clip = folder / "clip.mp4"
        make_clip(clip, options, SECONDS, SIZE)
        for count in counts:
            numbers = frame_indices(count, 0, SECONDS * FPS - 1)
            seconds: dict[str, list[float]] = {}
            wrong: set[str] = set()
            for turn in range((rounds if count > 16 else 2 * rounds) + 1):
                took: dict[str, float] = {}
                path = folder / f"{len(rows)}-{turn}.mp4"
                copy_clip(clip, path, len(rows) * 1000 + turn)
                took["sequential"], truth = timed(partial(sequential, path, numbers))
                took["seeking"], same = timed(partial(seeking, path, numbers, LEAD.get(label, 0)))
                assert (truth == same).all()
                for name, reader in readers.items():
                    took[name], found = timed(partial(read, path, count, reader))
                    if np.abs(found.astype(np.int16) - truth).mean() >= 2:
                        assert name != "pyav", "the frames are the same"
                        wrong.add(name)
                    took[f"{name} again"], _ = timed(partial(read, path, count, reader))
                if turn:  # the first round starts workers and fills the system's own caches
                    for name, value in took.items():
                        seconds.setdefault(name, []).append(value)
            rows.append({"clip": label, "frames": count, "wrong": sorted(wrong), **summary(seconds)})
    for reader in readers.values():
        reader.close()
    return rows


def summary(seconds: dict[str, list[float]]) -> dict[str, float]:
    """Return each contender's median seconds, and the medians of the ratios within a round."""
    rounds = [dict(zip(seconds, took, strict=True)) for took in zip(*seconds.values(), strict=True)]
    cold = [took["pyav"] / min(took["sequential"], took["seeking"]) for took in rounds]
    second = [took["pyav again"] / took["pyav"] for took in rounds]
    medians = {name: statistics.median(took) for name, took in seconds.items()}
    return medians | {"cold": statistics.median(cold), "second": statistics.median(second)}


def resident(pids: Sequence[int]) -> float:
    """Return the resident memory of processes in MiB."""
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def measure_memory(folder: Path, clips: int) -> dict[str, float]:
    """Read many clips, all different requests of 20 files, and see by how much this process and its worker grow."""
    paths = [folder / f"small-{number}.mp4" for number in range(20)]
    make_clip(paths[0], GROUPS["GOP 15"], 4, (180, 320))
    for number, path in enumerate(paths[1:]):
        copy_clip(paths[0], path, number)
    reader = VideoReader(ReaderConfig(decoder="pyav", cache=str(folder / "memory"), cache_gib=0.05, workers=1))
    sampling = FrameSampling(nframes=8, min_tokens=1, max_tokens=64)
    start = worker_start = peak = 0.0
    for number in range(WARM_UP + clips):
        crop = (0, 0, 320 - number // 20 % 200, 180 - number // 4000)  # no request comes twice
        load_video(Media("video", str(paths[number % 20]), crop=crop), sampling, reader=reader)
        if number == WARM_UP:
            start, worker_start = resident([os.getpid()]), resident(workers_of(reader))
        if number > WARM_UP and number % 50 == 0:
            peak = max(peak, resident([os.getpid()]) + resident(workers_of(reader)))
    assert reader.counts["decoded"] == WARM_UP + clips
    result = {
        "clips": clips,
        "process_mib": resident([os.getpid()]) - start,
        "workers_mib": resident(workers_of(reader)) - worker_start,
        "peak_mib": peak - start - worker_start,
        "workers_started": reader._pool.started if reader._pool else 0,
    }
    reader.close()
    return result


def workers_of(reader: VideoReader) -> list[int]:
    """Return the process ids of a reader's idle workers."""
    return [worker.process.pid for worker in reader._pool._free] if reader._pool else []


def summed_up(rows: Sequence[dict[str, Any]], memory: dict[str, float]) -> dict[str, float]:
    """Return the worst of each measure that has a goal."""
    return {
        "cold": max(row["cold"] for row in rows),
        "second": max(row["second"] for row in rows),
        "growth_mib": max(memory["process_mib"] + memory["workers_mib"], memory["peak_mib"]),
    }


def show(
    rows: Sequence[dict[str, Any]], memory: dict[str, float], worst: dict[str, float], decoders: Sequence[str]
) -> None:
    """Print the tables."""
    others = [name for name in decoders if name != "pyav"]
    header = ["clip", "frames", "sequential, ms", "seeking, ms", "ours, ms", "ratio", "again, ms", "ratio"]
    header += [f"with {name}, ms" for name in others]
    table = [
        [
            row["clip"],
            str(row["frames"]),
            *(f"{1000 * row[name]:.0f}" for name in ("sequential", "seeking", "pyav")),
            f"{row['cold']:.2f}",
            f"{1000 * row['pyav again']:.1f}",
            f"{row['second']:.3f}",
            *("wrong frames" if name in row["wrong"] else f"{1000 * row[name]:.0f}" for name in others),
        ]
        for row in rows
    ]
    console.show_table(f"reading a clip of {SECONDS} s at {SIZE[1]}x{SIZE[0]}", header, table)
    console.say(
        f"memory over {memory['clips']:,} clips: this process {memory['process_mib']:+.1f} MiB, its worker "
        f"{memory['workers_mib']:+.1f} MiB, both at most {memory['peak_mib']:+.1f} MiB "
        f"({memory['workers_started']} workers started)"
    )
    for name, goal in GOALS.items():
        console.say(f"worst {name} {worst[name]:.3f}; goal: at most {goal:g}")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument("--quick", action="store_true", help="one round of 8 and 64 frames and 200 clips, for a look")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clips", type=int, default=2000, help="clips of the memory test")
    parser.add_argument("--decoders", nargs="*", choices=list(PACKAGES), default=["pyav"], help="PyAV and which others")
    arguments = parser.parse_args()
    rounds, clips, counts = (1, 200, (8, 64)) if arguments.quick else (arguments.rounds, arguments.clips, COUNTS)
    decoders = ["pyav", *(name for name in arguments.decoders if name != "pyav")]
    with tempfile.TemporaryDirectory(prefix="mmreflect-video-") as name:
        rows = measure_speed(Path(name), rounds, counts, decoders)
        memory = measure_memory(Path(name), clips)
    worst = summed_up(rows, memory)
    show(rows, memory, worst, decoders)
    if arguments.json:
        result = {"rows": rows, "memory": memory, "worst": worst, "goals": GOALS, "rounds": rounds, "cores": cores()}
        result |= {
            "python": platform.python_version(),
            "av": av.__version__,
            "machine": f"{platform.machine()} {sys.platform}",
        }
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
