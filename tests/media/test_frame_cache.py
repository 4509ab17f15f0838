"""Frames on disk: found again, keyed by content, kept below a limit by several processes, done without where it must be."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmreflect.errors import UserError
from mmreflect.media import cache as cache_module
from mmreflect.media.cache import FrameCache, entry_key, file_mark
from mmreflect.media.reader import ReaderConfig, VideoReader, default_folder, default_reader
from mmreflect.media.video import load_video
from mmreflect.records import FrameSampling, Media

Film = Callable[..., Path]
Numbers = Callable[[Any], list[int]]
TINY = FrameSampling(nframes=4, min_tokens=1, max_tokens=4)


def entries(folder: Path, suffix: str = "npy") -> list[Path]:
    return sorted(folder.glob(f"*.{suffix}"))


def put(cache: FrameCache, key: str, size: int) -> int:
    partial = cache.partial()
    assert partial is not None
    np.save(partial.with_suffix(".npy"), np.zeros((1, 1, size, 1), np.uint8))
    os.replace(partial.with_suffix(".npy"), partial)
    return cache.keep(partial, key)


def test_the_second_time_nothing_is_decoded(film: Film, reader: VideoReader, tmp_path: Path) -> None:
    media = Media("video", str(film(frames=40)))
    first = load_video(media, TINY, reader=reader)
    again = load_video(media, TINY, reader=reader)
    assert reader.counts == {"decoded": 1, "cached": 1}
    assert (first.frames_FHWC == again.frames_FHWC).all() and first.times_F == again.times_F
    again.frames_FHWC[:] = 7
    other = VideoReader(ReaderConfig(cache=str(tmp_path / "frames"), workers=1))
    third = load_video(media, TINY, reader=other)
    assert other.counts == {"cached": 1} and (third.frames_FHWC == first.frames_FHWC).all()
    other.close()


def test_what_makes_other_frames_has_another_name(film: Film, reader: VideoReader, tmp_path: Path) -> None:
    path = str(film(frames=40))
    for media, sampling in (
        (Media("video", path), TINY),
        (Media("video", path, span=(0.0, 1.0)), TINY),
        (Media("video", path, crop=(0, 0, 96, 32)), TINY),
        (Media("video", path), FrameSampling(nframes=4, min_tokens=1, max_tokens=4, timestamps=True)),
        (Media("video", path), FrameSampling(nframes=4, min_tokens=8, max_tokens=16)),
    ):
        load_video(media, sampling, reader=reader)
    assert reader.counts == {"decoded": 5} and len(entries(tmp_path / "frames")) == 5
    load_video(
        Media("video", path, frames=FrameSampling(nframes=4, min_pixels=784, max_pixels=4 * 784)), TINY, reader=reader
    )
    assert reader.counts["cached"] == 1, "the same request in other words"


def test_a_changed_file_is_read_anew(film: Film, numbers: Numbers, reader: VideoReader, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(film(frames=20).read_bytes())
    media = Media("video", str(path))
    assert numbers(load_video(media, TINY, reader=reader).frames_FHWC) == [0, 6, 13, 19]
    path.write_bytes(film(frames=31).read_bytes())
    assert numbers(load_video(media, TINY, reader=reader).frames_FHWC) == [0, 10, 20, 30]
    moved = tmp_path / "moved.mp4"
    os.rename(path, moved)
    load_video(Media("video", str(moved)), TINY, reader=reader)
    assert reader.counts == {"decoded": 2, "cached": 1}, "a file is known by its content, not by its name"
    copied = tmp_path / "copied.mp4"
    copied.write_bytes(moved.read_bytes())
    os.utime(copied, (1, 1))
    load_video(Media("video", str(copied)), TINY, reader=reader)
    assert reader.counts == {"decoded": 2, "cached": 2}, "nor by its time"


def test_what_another_decoder_made_is_not_shown(film: Film, tmp_path: Path) -> None:
    """One of them shows patched-up frames that the other refuses."""
    pytest.importorskip("decord", reason="decord is not installed", exc_type=ImportError)
    media = Media("video", str(film(frames=40)))
    for name in ("decord", "pyav", "decord"):
        reader = VideoReader(ReaderConfig(decoder=name, cache=str(tmp_path / "frames"), workers=1))  # type: ignore[arg-type]
        load_video(media, TINY, reader=reader)
        assert reader.counts == (
            {"cached": 1} if len(entries(tmp_path / "frames")) == 2 and name == "decord" else {"decoded": 1}
        )
        reader.close()


def test_the_mark_sees_size_ends_and_pieces_between_and_no_time(tmp_path: Path) -> None:
    path = tmp_path / "a"
    marks = set()
    for content, stamp in (
        (b"a" * 2_000_000, 1),
        (b"b" + b"a" * 1_999_999, 1),
        (b"a" * 1_999_999 + b"b", 1),
        (b"a" * 1_000_000 + b"b" + b"a" * 999_999, 1),
        (b"a" * 2_000_001, 1),
        (b"a" * 500_000, 1),
        (b"a" * 300_000 + b"b" + b"a" * 199_999, 1),
        (b"a" * 2_000_000, 2),
    ):
        path.write_bytes(content)
        os.utime(path, (stamp, stamp))
        marks.add(file_mark(str(path)))
    assert len(marks) == 7, "the last is the first at another time"
    assert entry_key("m", [1]) != entry_key("m", [2])


def test_used_longest_ago_goes_first(tmp_path: Path) -> None:
    cache = FrameCache(tmp_path / "frames", 100_000)
    for number in range(9):
        put(cache, f"{number}", 10_000)
        os.utime(tmp_path / f"frames/{number}.npy", (number + 1, number + 1))
    assert cache.frames("0") is not None, "used just now"
    assert put(cache, "new", 10_000) == 2
    assert [path.stem for path in entries(tmp_path / "frames")] == ["0", "3", "4", "5", "6", "7", "8", "new"]
    assert cache.frames("1") is None


def test_what_is_larger_than_the_limit_is_not_kept(film: Film, tmp_path: Path) -> None:
    reader = VideoReader(ReaderConfig(cache=str(tmp_path / "frames"), cache_gib=4000 / 2**30, workers=1))
    media = Media("video", str(film(frames=40)))
    assert (
        len(load_video(media, TINY, reader=reader).times_F) == len(load_video(media, TINY, reader=reader).times_F) == 4
    )
    assert reader.counts == {"decoded": 2} and not entries(tmp_path / "frames")
    reader.close()


FILLING = """\
import sys
from pathlib import Path
import numpy as np
from mmreflect.media.cache import FrameCache
cache = FrameCache(Path(sys.argv[1]), 1_000_000)
evicted = 0
for number in range(60):
    partial = cache.partial()
    with open(partial, "wb") as file:
        np.save(file, np.full((1, 1, 20_000, 1), number, np.uint8))
    evicted += cache.keep(partial, f"{sys.argv[2]}-{number}")
    for other in (number, number - 20):
        found = cache.frames(f"{sys.argv[2]}-{other}")
        assert found is None or (found == other).all()
print(cache.works, evicted)
"""


def test_several_processes_share_one_limit(tmp_path: Path) -> None:
    """Three of them write 3.6 MB into a folder of one, and read what the others remove."""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", FILLING, str(tmp_path / "frames"), name], stdout=subprocess.PIPE, text=True
        )
        for name in "abc"
    ]
    said = [process.communicate()[0].split() for process in running]
    assert [process.returncode for process in running] == [0, 0, 0] and all(works == "True" for works, _ in said)
    assert sum(int(evicted) for _, evicted in said) >= 120
    assert 0.5e6 < sum(path.stat().st_size for path in entries(tmp_path / "frames")) <= 1e6 + 3 * 20_128
    assert not entries(tmp_path / "frames", "partial")


def test_what_dead_processes_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    host = cache_module._HOST
    left, mine = folder / f"{host}-{ended.pid}-0.partial", folder / f"{host}-{os.getpid()}-0.partial"
    young, old = folder / "other-1-0.partial", folder / "other-1-1.partial"
    for path in (left, mine, young, old):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    cache = FrameCache(folder, 10**6)
    assert cache.partial() is not None
    assert entries(folder, "partial") == sorted([mine, young])


def test_a_short_entry_is_made_again(film: Film, reader: VideoReader, tmp_path: Path) -> None:
    media = Media("video", str(film(frames=40)))
    load_video(media, TINY, reader=reader)
    (entry,) = entries(tmp_path / "frames")
    entry.write_bytes(entry.read_bytes()[:-100])
    assert len(load_video(media, TINY, reader=reader).times_F) == 4 and reader.counts == {"decoded": 2}
    entry.unlink()
    assert len(load_video(media, TINY, reader=reader).times_F) == 4 and reader.counts == {"decoded": 3}


def test_a_folder_that_cannot_be_written_is_told_once(
    film: Film, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    reader = VideoReader(ReaderConfig(cache=str(tmp_path / "file" / "frames"), workers=1))
    media = Media("video", str(film(frames=40)))
    for _ in range(3):
        assert len(load_video(media, TINY, reader=reader).times_F) == 4
    said = capsys.readouterr().out
    assert said.count("frames are not kept in") == 1 and "Not a directory" in said
    assert reader.counts == {"decoded": 3}
    reader.close()


def test_a_full_disk_is_told_once(
    film: Film, reader: VideoReader, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The cache folder hands out names on a device that is always full."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    media = Media("video", str(film(frames=40)))
    cache = reader._cache
    assert cache is not None
    reader.info(media.path)
    names = iter(range(9))

    def full() -> Path:
        path = tmp_path / f"frames/{next(names)}.partial"
        path.symlink_to("/dev/full")
        return path

    cache.partial = full  # type: ignore[method-assign]
    for _ in range(2):
        assert len(load_video(media, TINY, reader=reader).times_F) == 4
    said = capsys.readouterr().out
    assert said.count("frames are not kept in") == 1 and "No space left on device" in said
    assert not entries(tmp_path / "frames", "partial") and not entries(tmp_path / "frames")


def test_no_room_anywhere_is_an_error(film: Film, reader: VideoReader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_folders", lambda size: iter([]))
    with pytest.raises(UserError, match=r"no room to hand over the frames of .*[\s\S]*set TMPDIR"):
        load_video(Media("video", str(film(frames=40))), TINY, reader=reader)


def test_off_keeps_nothing(film: Film, tmp_path: Path) -> None:
    reader = VideoReader(ReaderConfig(cache="off", workers=1))
    media = Media("video", str(film(frames=40)))
    passages = [folder.folder for folder in reader._passages]
    before = {path for folder in passages for path in folder.glob("*")}
    for _ in range(2):
        load_video(media, TINY, reader=reader)
    after = {path for folder in passages for path in folder.glob("*")}
    assert reader.counts == {"decoded": 2} and {path.name for path in after - before} <= {".lock"}
    assert not (tmp_path / "xdg").exists()
    reader.close()


def test_the_default_is_the_users_cache_folder(film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_video(Media("video", str(film(frames=40))), TINY)
    assert default_folder() == tmp_path / "xdg/mmreflect/frames" and len(entries(default_folder())) == 1
    assert default_reader().counts == {"decoded": 1}
    (note,) = entries(default_folder(), "json")
    assert json.loads(note.read_text())["frames"] == 40
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_folder() == Path.home() / ".cache/mmreflect/frames"


def test_arrays_are_as_torch_wants_them(film: Film, reader: VideoReader, recwarn: pytest.WarningsRecorder) -> None:
    import torch

    media = Media("video", str(film(frames=40)))
    for _ in range(2):
        torch.from_numpy(load_video(media, TINY, reader=reader).frames_FHWC)
    assert not [warning for warning in recwarn if "writ" in str(warning.message)]
