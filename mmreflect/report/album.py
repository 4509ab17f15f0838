"""The media of a run on its page: found, decoded, cached; what is missing or broken is named, never fatal."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from mmreflect.errors import UserError
from mmreflect.media.images import load_media_image
from mmreflect.records import Media
from mmreflect.report.pictures import PICTURE_SIDE, Picture, Shown, Strip, encode
from mmreflect.report.strips import film_strip, still_remark

MOST_STRIPS = 160
"""Film strips on one page; about 40 KB each."""


class Album:
    """Loads the pictures and videos of a run; what is used twice is decoded once.

    Args:
        folder: the run's folder. A relative path is tried from the current folder, then from the run's folder and
            those above it, then with its leading folders left out: a moved run finds its pictures.
        most_strips: film strips that the page may hold; later ones are named only, and counted in `left_out`.
        most_stills: the same of pictures; None for as many as there are. They are counted in `stills_left_out`.
        side: longest side of a picture.
        once: the page stores a medium once however often it is shown, so that only the first time takes room.
        like: another album of the same run; what it has decoded as film strips is not decoded again.
    """

    def __init__(
        self,
        folder: Path,
        most_strips: int = MOST_STRIPS,
        most_stills: int | None = None,
        side: int = PICTURE_SIDE,
        once: bool = False,
        like: "Album | None" = None,
    ) -> None:
        self._roots = [Path.cwd(), folder, *folder.parents]
        self._known: dict[tuple[Media, ...], Shown] = {}
        self._broken: dict[str, str] = {}
        self.most_strips = self._room = most_strips
        self._still_room = most_stills
        self._side, self._once = side, once
        self._strips: dict[tuple[Media, ...], Strip] = like._strips if like else {}
        self._refused: set[tuple[Media, ...]] = set()
        self.left_out = self.stills_left_out = 0

    def show(self, media: Sequence[Media], titles: Sequence[str] = ()) -> list[Shown]:
        """Return media as pictures and film strips in their order.

        Several single frames of one video in a row, shrunk alike, become one strip.

        Args:
            titles: what each medium is called, such as "Look 2"; empty or left out for none.
        """
        named = list(zip(media, [*titles, *[""] * len(media)], strict=False))
        shown = []
        for _, run in groupby(enumerate(named), key=lambda item: _run_key(item[0], item[1][0])):
            items = [item for _, item in run]
            found = self._shown(tuple(item for item, _ in items))
            shown.append(replace(found, title=items[0][1]))
        return shown

    def _shown(self, media: tuple[Media, ...]) -> Shown:
        if self._once and media in self._known:
            return self._known[media]
        film = media[0].kind == "video" or len(media) > 1
        again = self._once and media in self._refused
        if film and not self._room:
            self.left_out += not again
            self._refused.add(media)
            return Picture(_name(media[0]), problem="video left out, the page holds enough film strips")
        if not film and self._still_room == 0:
            self.stills_left_out += not again
            self._refused.add(media)
            return Picture(_name(media[0]), problem="picture left out, the page holds enough pictures")
        if media not in self._known:
            self._known[media] = self._load(media, film)
        found = self._known[media]
        self._room -= isinstance(found, Strip)
        if self._still_room is not None:
            self._still_room -= isinstance(found, Picture) and bool(found.source)
        return found

    def _load(self, media: tuple[Media, ...], film: bool) -> Shown:
        first = media[0]
        name = _name(first)
        file = next((path for path in self._places(first.path) if path.is_file()), None)
        if file is None:
            return Picture(name, problem=f"{'video' if _is_video(first) else 'picture'} not found")
        if first.path in self._broken:
            return Picture(name, problem=self._broken[first.path])
        found = tuple(replace(item, path=str(file)) for item in media)
        try:
            if not film:
                return _picture(found[0], self._side)
            if media not in self._strips:
                self._strips[media] = film_strip(found)
            return self._strips[media]
        except UserError as error:
            problem = error.given.replace(str(file), Path(first.path).name)
            if first.kind == "video" and first.span is None:
                self._broken[first.path] = problem  # a file that hangs costs its time limit once, not once per look
            return Picture(name, problem=problem)

    def _places(self, path: str) -> Iterator[Path]:
        given = Path(path)
        if given.is_absolute():
            yield given
        else:
            yield from (root / given for root in self._roots)
        parts = given.parts[1:] if given.is_absolute() else given.parts
        for root in self._roots[1:4]:
            yield from (root.joinpath(*parts[start:]) for start in range(1, len(parts)))


def _is_video(media: Media) -> bool:
    return media.kind == "video" or media.at is not None


def _run_key(place: int, media: Media) -> tuple[object, ...]:
    """Return the same key for single frames of one video at one size, and one of its own for all else."""
    single = media.kind == "image" and media.at is not None
    return (media.path, media.crop, media.scale) if single else (place,)


def _name(media: Media) -> str:
    name = Path(media.path).name or media.path
    return f"{name}, {media.span[0]:g} to {media.span[1]:g} s" if media.span else name


def _picture(media: Media, side: int) -> Picture:
    remark = still_remark(media) if media.at is not None else ""
    return encode(load_media_image(media), Path(media.path).name, remark, side)
