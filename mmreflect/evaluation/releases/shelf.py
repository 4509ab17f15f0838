"""The media that the rows of a release name: found whatever the folders, unpacked once, and known to be readable."""

import filecmp
import functools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from mmreflect.errors import UserError
from mmreflect.evaluation.benchmark import Subtitle
from mmreflect.evaluation.releases.archives import archives_in, unpacked
from mmreflect.evaluation.releases.films import joined_frames
from mmreflect.evaluation.releases.subtitles import SUBTITLES, read_subtitles
from mmreflect.media.images import load_image
from mmreflect.media.pictures import PICTURES, bytes_of, written_picture
from mmreflect.records import Media

VIDEOS = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".mpg", ".mpeg", ".flv", ".gif")
_SHOWN = 3


class ReleaseFiles:
    """Finds media by a path, the end of a path, a name or a stem, whatever the container; see `Files`.

    Each method raises a `UserError` whose first line is the reason why a question cannot be shown.

    Args:
        media: returns the folder that holds them; called when the first one is asked for.
        cache: where pictures, unpacked archives and joined frames go.
        frames_fps: frames per second of videos that are folders of frames; None where the release has none such.
        check: `decode` opens what is found, `exists` does not.
    """

    def __init__(
        self,
        media: Callable[[], Path],
        *,
        cache: Path,
        max_frames: int,
        frames_fps: float | None = None,
        check: Literal["decode", "exists"] = "decode",
    ) -> None:
        self.max_frames = max_frames
        self._media, self._cache, self._fps, self._check = media, cache.absolute(), frames_fps, check
        self._lock = threading.RLock()
        self._indexes: dict[tuple[tuple[str, ...], bool], dict[str, list[Path]]] = {}
        self._good: set[str] = set()
        self._bad: dict[str, UserError] = {}

    def picture(self, value: Any, name: str) -> Media:
        """Return a picture: bytes, `{bytes, path}`, a decoded one, base64 text, or a path in the release.

        Bytes are written into the cache, named by their content.
        """
        if value is None:
            raise UserError(f"picture {name!r} is null", "a picture")
        path = self._named_picture(value)
        if path is None:
            path = written_picture(bytes_of(value, name), self._cache / "pictures")
        self._open(path, load_image)
        return Media("image", str(path))

    def video(self, name: str) -> Media:
        """Return a video; a folder of frames is joined to one in the cache."""
        path = self._find(name, VIDEOS, "video")
        if path.is_dir():
            if self._fps is None:
                raise UserError(f"video {name!r} is a folder of frames, and the release states no rate: {path}")
            with self._lock:
                path = joined_frames(path, self._fps, self._cache / "films")
        self._open(path, _open_video)
        return Media("video", str(path))

    def length(self, video: Media) -> tuple[int, float]:
        """Return how many frames a video has, and how many a second."""
        from mmreflect.media.video import video_info

        info = video_info(video.path)
        return info.frames, info.fps

    def subtitles(self, name: str) -> Sequence[Subtitle]:
        """Return the lines of a subtitle file.

        A name without suffix is a video's, which may have none, as long as any other has some in SRT.
        """
        named = PurePosixPath(name).suffix.lower() in SUBTITLES
        kinds = SUBTITLES if named else (".srt",)
        try:
            path = self._find(name, kinds, "subtitle file")
        except UserError:
            if named or not any(self._index(kinds, packed) for packed in (False, True)):
                raise
            return ()
        return read_subtitles(path)

    def _named_picture(self, value: Any) -> Path | None:
        """Return the file that a value names; None where it holds the picture itself."""
        if isinstance(value, dict) and value.get("bytes") is None:
            value = value.get("path")
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        if not isinstance(value, str) or PurePosixPath(value).suffix.lower() not in PICTURES:
            return None
        return self._find(value, PICTURES, "picture")

    def _find(self, name: str, suffixes: tuple[str, ...], what: str) -> Path:
        """Return the one file that a name means: the same path, or the most of its end.

        Raises:
            UserError: there is none, or several fit as well.
        """
        asked = PurePosixPath(name.replace("\\", "/"))
        exact = self._root / asked
        if exact.is_file() or (exact.is_dir() and what == "video" and _frames_in(exact)):
            return exact
        stem = asked.name[: -len(asked.suffix)] if asked.suffix.lower() in suffixes else asked.name
        found = self._index(suffixes, packed=False).get(stem) or self._index(suffixes, packed=True).get(stem, [])
        ranks = [(_common_end(path.parts[:-1], asked.parts[:-1]), path.name == asked.name) for path in found]
        best = [path for path, rank in zip(found, ranks, strict=True) if rank == max(ranks)]
        if not best:
            raise UserError(f"no such {what}: {name} (in {self._root})", "an existing file")
        if any(not _same(best[0], path) for path in best[1:]):
            several = ", ".join(map(str, best[:_SHOWN]))
            raise UserError(f"{what} {name!r} stands for {len(best)} files: {several}", "one file")
        return best[0]

    @functools.cached_property
    def _root(self) -> Path:
        return self._media()

    def _index(self, suffixes: tuple[str, ...], packed: bool) -> dict[str, list[Path]]:
        """Return all files of these types by their stems; folders of frames count as videos.

        Args:
            packed: those in archives, which are unpacked for it, in place of those beside them.
        """
        with self._lock:
            if (suffixes, packed) not in self._indexes:
                made: dict[str, list[Path]] = {}
                for root in self._unpacked() if packed else [self._root]:
                    for path in _walk(root, suffixes):
                        made.setdefault(path.name if path.is_dir() else path.stem, []).append(path)
                self._indexes[suffixes, packed] = made
            return self._indexes[suffixes, packed]

    def _unpacked(self) -> list[Path]:
        """Return the folders of unpacked archives; one that is broken is tried once, not for every question."""
        if "unpacked" in self._bad:
            raise self._bad["unpacked"]
        try:
            return unpacked(archives_in(self._root), self._root, self._cache / "unpacked")
        except UserError as error:
            self._bad["unpacked"] = error
            raise

    def _open(self, path: Path, opened: Callable[[Path], Any]) -> None:
        """Look into a file once.

        Raises:
            UserError: it cannot be read.
        """
        name = str(path)
        if name in self._bad:
            raise self._bad[name]
        if self._check == "exists" or name in self._good:
            return
        try:
            opened(path)
        except UserError as error:
            self._bad[name] = error
            raise
        self._good.add(name)


def _same(left: Path, right: Path) -> bool:
    """Tell whether two files are copies of each other."""
    return left.is_file() and right.is_file() and filecmp.cmp(left, right, shallow=False)


def _open_video(path: Path) -> None:
    from mmreflect.media.video import check_video

    check_video(path)


def _walk(root: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    for folder, inner, names in os.walk(root, followlinks=True):
        inner.sort()
        place = Path(folder)
        for name in sorted(names):
            if Path(name).suffix.lower() in suffixes and not name.startswith("."):
                yield place / name
        if suffixes == VIDEOS and place != root and _frames_in(place):
            yield place


def _frames_in(folder: Path) -> bool:
    """Tell whether a folder holds the frames of a video, named by their numbers."""
    with os.scandir(folder) as entries:
        for entry in entries:
            stem, suffix = os.path.splitext(entry.name)
            if suffix.lower() in PICTURES and stem.rpartition("_")[2].rpartition("-")[2].isdigit():
                return True
    return False


def _common_end(left: tuple[str, ...], right: tuple[str, ...]) -> int:
    """Return how many last parts two paths share."""
    pairs = zip(reversed(left), reversed(right), strict=False)
    return next((place for place, (one, other) in enumerate(pairs) if one != other), min(len(left), len(right)))
