"""The prior of FRANK, measured: how much of its attention a VLM's text pays to the picture, layer by layer.

FRANK (arXiv 2505.16151), Eq. 39-44. For one decoder block l

    a_l = mean over inputs, heads and queries of  image mass / (image mass + text mass)

a query being a token after the last image token, the masses its attention to all image tokens and to all others that
it sees (control tokens count as text). Then ln a_l = ln C - alpha l, l = 1..L, by least squares.

The paper measures on 1,000 pictures of MSCOCO and does not say with what text; the prompt is an option here. What a
picture gave is kept by marks of model, picture and settings: a killed measurement goes on with the next picture, and
one that was made is not made again.
"""

import hashlib
import math
import statistics
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from mmreflect import console
from mmreflect.config import config, to_tree
from mmreflect.console import escape
from mmreflect.errors import UserError
from mmreflect.files import read_json, to_json, user_cache, write_json
from mmreflect.merge.shares import Shares, checked_shares, tell_not_kept

if TYPE_CHECKING:  # a merge without pictures shall not wait for what reads datasets
    from mmreflect.records import Media

SMALLEST_ATTENTION = 1e-4
PRIOR = "prior.json"
VERSION = 2
"""Of the measurement; another one is not read from what an earlier one kept."""
Dtype = Literal["float32", "bfloat16", "float16"]
_OF_MODEL = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")
_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"}


@config
class Pictures:
    """What to measure on, and how.

    Attributes:
        pictures: a folder of image files (searched in depth), or a dataset folder.
        limit: at most so many pictures, drawn with `seed` (the paper: 1,000).
        max_tokens: most visual tokens per picture; larger pictures are shrunk.
        prompt: what stands behind the picture; the paper states none.
        dtype: of the weights; `auto` is bfloat16 on a GPU, float32 on a CPU.
    """

    pictures: str
    limit: int = Field(default=1000, gt=0)
    max_tokens: int = Field(default=256, ge=4)
    prompt: str = Field(default="Describe this image.", min_length=1)
    dtype: Literal["auto"] | Dtype = "auto"
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Attention:
    """A measured prior.

    Attributes:
        model: the VLM's folder; `pictures`: the folder, how many were measured, their mark, what was left out and why.
        a: a_l of Eq. 39 for l = 1..L; `spread`: its standard deviation over the pictures (0 for a single one).
        alpha, c, r2: the fitted decay, and R^2 of the straight line in ln a_l.
        clipped: layers whose a_l was raised to 1e-4 for the fit, counted from 0.
    """

    model: str
    pictures: dict[str, Any]
    settings: dict[str, Any]
    a: list[float]
    spread: list[float]
    alpha: float
    c: float
    r2: float
    clipped: list[int]

    def tree(self) -> dict[str, Any]:
        """Return what `prior.json` holds."""
        return {
            "model": self.model, "pictures": self.pictures, "settings": self.settings, "a": self.a,
            "spread": self.spread, "alpha": self.alpha, "C": self.c, "r2": self.r2, "clipped": self.clipped,
        }  # fmt: skip

    def warnings(self) -> list[str]:
        """Say what makes this prior doubtful."""
        return doubts(self.alpha, self.r2, self.clipped)


def doubts(alpha: float, r2: float, clipped: Sequence[int] = ()) -> list[str]:
    """Say what speaks against a fitted decay."""
    found = []
    if alpha <= 0:
        found.append(f"the fitted alpha is {alpha:.4g}: attention to the image does not fall with depth")
    if r2 < 0.5:
        found.append(f"the exponential fits the measured attention badly (R2 {r2:.2f}); see prior: {{name: attention}}")
    if clipped:
        where = console.count(len(clipped), "layer")
        found.append(f"a_l is below {SMALLEST_ATTENTION:g} in {where}; the fit takes it as that")
    return found


def too_small(attention_L: Sequence[float]) -> list[int]:
    """Return the layers whose share is raised to 1e-4 for the fit, counted from 0."""
    return [layer for layer, share in enumerate(attention_L) if share < SMALLEST_ATTENTION]


def fit_decay(attention_L: Sequence[float]) -> tuple[float, float, float]:
    """Fit a_l = C exp(-alpha l), l = 1..L, by least squares on ln a_l (Eq. 40-44).

    Shares below 1e-4 are raised to it before the logarithm.

    Returns:
        alpha, C, and R^2 of the straight line in ln a_l (1 when all a_l are equal).

    Raises:
        UserError: fewer than two layers.
    """
    depth = len(attention_L)
    if depth < 2:
        raise UserError(
            f"cannot fit a decay to {console.count(depth, 'layer')}",
            "at least 2 layers",
            "use prior: {name: fixed, alpha: ...} or none",
        )
    logs = [math.log(max(share, SMALLEST_ATTENTION)) for share in attention_L]
    mean_l, mean_log = (depth + 1) / 2, math.fsum(logs) / depth
    spread = math.fsum((layer - mean_l) ** 2 for layer in range(1, depth + 1))
    slope = math.fsum((layer - mean_l) * (value - mean_log) for layer, value in enumerate(logs, start=1)) / spread
    intercept = mean_log - slope * mean_l
    total = math.fsum((value - mean_log) ** 2 for value in logs)
    rest = math.fsum((value - intercept - slope * layer) ** 2 for layer, value in enumerate(logs, start=1))
    return -slope, math.exp(intercept), 1 - rest / total if total > 1e-24 else 1.0


def cache_folder() -> Path | None:
    """Return where merges keep what each picture gave, whatever they are called; None, and said: there is no home."""
    try:
        return user_cache("attention")
    except UserError as error:
        tell_not_kept(error.given)
        return None


def count_pictures(options: Pictures) -> int:
    """Return how many pictures would be measured; no picture and no model is opened.

    Raises:
        UserError: the folder is missing, or holds no picture.
    """
    return len(_chosen(options))


def measure(options: Pictures, vlm: str, cache: str | Path | None, output: str | Path | None = None) -> Attention:
    """Measure the prior of a VLM, or read what was measured before; write `prior.json`.

    Args:
        vlm: the model's folder.
        cache: made where it is missing; holds what each picture gave (`attention-MARK.jsonl`), so that a killed
            measurement goes on with the next picture, and other pictures cost only themselves. What is damaged there
            is measured again; where it cannot be made, or is None, nothing is kept.
        output: folder of `prior.json`; None: the cache, and without one no file is written.

    Raises:
        UserError: the model has no attention maps in some layer or is no VLM, there are no pictures, or none is sound.
    """
    from mmreflect.merge.attention_maps import Probe

    chosen = _chosen(options)
    settings = {**to_tree(options), "dtype": _dtype(options)}
    settings.pop("pictures")
    how = {key: settings[key] for key in ("max_tokens", "prompt", "dtype")}
    mark = _mark(VERSION, weights_mark(vlm), how)[:16]
    kept = Shares(None if cache is None else Path(cache) / f"attention-{mark}.jsonl")
    known = kept.known
    marks, left_out = _marked(chosen)
    todo = [(key, item) for key, item in marks if key not in known]
    if todo:
        probe = Probe(vlm, options.prompt, options.max_tokens, _dtype(options))
        with console.progress_bar("attention", len(marks), len(marks) - len(todo)) as bar:
            for key, item in todo:
                if key not in known:
                    try:
                        kept.add(key, checked_shares(probe(item), item.path))
                    except UserError as error:
                        left_out[item.path] = error.given
                bar.advance()
    rows = [known[key] for key, _ in marks if key in known]
    if not rows:
        raise UserError(
            f"no picture of {options.pictures} could be measured: {next(iter(left_out.values()))}",
            "at least one picture that can be read",
            "check the folder",
        )
    pictures = {"folder": options.pictures, "measured": len(rows), "left_out": left_out, "mark": _mark(*dict(marks))}
    found = _summed(vlm, pictures, settings, rows)
    if (folder := output or cache) is not None:
        write_json(Path(folder) / PRIOR, found.tree())
    show(found)
    return found


def _summed(vlm: str, pictures: dict[str, Any], settings: dict[str, Any], rows: Sequence[Sequence[float]]) -> Attention:
    layers = list(zip(*rows, strict=True))
    a = [math.fsum(values) / len(values) for values in layers]
    spread = [statistics.stdev(values) if len(values) > 1 else 0.0 for values in layers]
    return Attention(vlm, pictures, settings, a, spread, *fit_decay(a), too_small(a))


def prior_file(given: str | Path) -> Path:
    """Return the file of a measured prior, which may be named by its folder."""
    return Path(given) / PRIOR if Path(given).is_dir() else Path(given)


def read_prior(file: str | Path) -> Attention:
    """Read a measured prior.

    Raises:
        UserError: the file is missing, no such file, or its numbers are no shares.
    """
    path = prior_file(file)
    again = "a merge that wrote it for itself measures it anew where it is deleted"
    try:
        tree = read_json(path)
        found = Attention(
            tree["model"], tree["pictures"], tree["settings"], [float(share) for share in tree["a"]], tree["spread"],
            tree["alpha"], tree["C"], tree["r2"], tree["clipped"],
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is no measured prior: {type(error).__name__}: {error}",
            "a prior.json that a measurement wrote",
            f"measure it: prior: {{name: attention, pictures: FOLDER}}; {again}",
        ) from None
    if not found.a or not all(0 <= share <= 1 for share in found.a):
        raise UserError(
            f"{path}: a holds {found.a}", "one share from 0 to 1 per decoder block", f"measure it again; {again}"
        )
    return found


def show(found: Attention) -> None:
    """Print the table of layers, the fit, and what makes it doubtful."""
    rows = [
        [str(layer), f"{share:.4f}", f"{spread:.4f}", f"{found.c * math.exp(-found.alpha * (layer + 1)):.4f}"]
        for layer, (share, spread) in enumerate(zip(found.a, found.spread, strict=True))
    ]
    console.show_table("attention to the image", ("layer", "a_l", "sd over pictures", "fitted"), rows)
    over = console.count(found.pictures["measured"], "picture")
    console.say(f"alpha {found.alpha:.4g}, C {found.c:.4g}, R2 {found.r2:.3f} over {over}")
    left_out = found.pictures["left_out"]
    if left_out:
        number, why = console.count(len(left_out), "picture"), next(iter(left_out.values()))
        console.say(f"[yellow]{number} left out[/], for example {escape(why)}")
    for warning in found.warnings():
        console.say(f"[yellow]warning:[/] {escape(warning)}")


def weights_mark(folder: str) -> str:
    """Return a mark of a model folder's content, not its place: every byte of its weights and of the files beside them.

    Raises:
        UserError: there are no safetensors in it.
    """
    files = sorted(path for pattern in _OF_MODEL for path in Path(folder).glob(pattern))
    if not any(file.suffix == ".safetensors" for file in files):
        raise UserError(f"{folder} holds no safetensors", "a local model folder", "download the model first")
    marks = []
    with ThreadPoolExecutor(4) as pool, console.progress_bar("reading the VLM", len(files)) as bar:
        for file, mark in zip(files, pool.map(_whole_mark, files), strict=True):
            marks.append((file.name, mark))
            bar.advance()
    return _mark(*marks)


def _whole_mark(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _mark(*parts: Any) -> str:
    return hashlib.sha256(to_json(parts).encode()).hexdigest()


def _dtype(options: Pictures) -> Dtype:
    import torch

    if options.dtype != "auto":
        return options.dtype
    return "bfloat16" if torch.cuda.is_available() else "float32"


def _chosen(options: Pictures) -> "list[Media]":
    """Return the pictures to measure, in a fixed order; above the limit a seeded draw of them."""
    from mmreflect.data.store import MANIFEST
    from mmreflect.seeds import numpy_rng

    folder = Path(options.pictures)
    if not folder.is_dir():
        raise UserError(
            f"no such folder of pictures: {options.pictures}",
            "a folder of image files, or a dataset that mmreflect build wrote",
            "check the path",
        )
    found = list(dict.fromkeys(_of_dataset(folder) if (folder / MANIFEST).is_file() else _of_folder(folder)))
    if not found:
        raise UserError(
            f"{options.pictures} holds no picture", f"files ending in {', '.join(sorted(_SUFFIXES))}", "check the path"
        )
    if len(found) > options.limit:
        drawn = numpy_rng(options.seed, "prior").permutation(len(found))[: options.limit]
        found = [found[place] for place in sorted(drawn)]
    return found


def _of_folder(folder: Path) -> "Iterator[Media]":
    from mmreflect.records import Media

    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in _SUFFIXES and path.is_file():
            yield Media("image", str(path))


def _of_dataset(folder: Path) -> "Iterator[Media]":
    from mmreflect.data.store import open_dataset

    dataset = open_dataset(str(folder))
    for split in dataset.splits():
        for sample in dataset.samples(split):
            yield from (item for item in sample.media if item.kind == "image")


def _marked(chosen: "Sequence[Media]") -> "tuple[list[tuple[str, Media]], dict[str, str]]":
    """Return each picture with a mark of its content, equal ones once, and those that cannot be read.

    Every byte of a still counts; of a video, whose frames are pictures too, those that mark it everywhere.
    """
    from mmreflect.media.cache import file_mark

    marks: dict[str, Media] = {}
    left_out: dict[str, str] = {}
    for item in chosen:
        try:
            whole = _whole_mark(Path(item.path)) if item.at is None else file_mark(item.path)
            marks.setdefault(_mark(whole, item.crop, item.at, item.scale), item)
        except OSError as error:
            left_out[item.path] = f"{item.path}: {error.strerror or error}"
    return list(marks.items()), left_out
