"""Small pictures of coloured shapes on a grid, that a tiny model learns to read within minutes.

    mmreflect build configs/demo/data.yaml
    python -m data_builders.grid configs/demo/data.yaml

The question is how many shapes have one colour. The answer is a first try, a reflection and a final answer. A careful
reflection transcribes the grid row by row and counts again; a lazy one agrees with the first try. The lazy mode is
put in on purpose: a policy can then learn, by reinforcement alone, that checking carefully pays. Transcription is also
what makes vision emerge in a tiny model: with the count as the only target it stays at chance.

With `modality: text` the grid is described in words: the same task for a text-only model.
"""

import hashlib
import random
from typing import Annotated, Literal

from PIL import Image, ImageDraw
from pydantic import Field

from mmreflect.building import Example
from mmreflect.config import config as config_class

COLOURS = {"red": (220, 40, 40), "green": (40, 180, 60), "blue": (50, 80, 220)}
SHAPES = ("square", "circle")

Cell = tuple[str, str] | None
Share = Annotated[float, Field(ge=0, le=1)]


@config_class
class Config:
    """What to build.

    Attributes:
        splits: rows per split. A grid with its question belongs to exactly one split, by its hash.
        size: cells per side.
        cell_pixels: 28 for Qwen2-VL and Qwen2.5-VL, 32 for Qwen3-VL and Qwen3.5: one visual token per cell.
        careful: share of careful reflections.
        overlook: probability with which the first try, a quick look, misses each of the shapes that it counts.
        second_think: `short` adds the second think block that the RL format of SRPO asks for.
    """

    output: str
    splits: Annotated[dict[str, Annotated[int, Field(gt=0)]], Field(min_length=1)]
    seed: int = 0
    size: Annotated[int, Field(ge=2, le=8)] = 3
    cell_pixels: Literal[28, 32] = 28
    careful: Share = 0.4
    overlook: Share = 0.2
    second_think: Literal["none", "short"] = "none"
    modality: Literal["image", "text"] = "image"
    shard_rows: Annotated[int, Field(gt=0)] = 1000


OPENERS = {"questioning": "Wait, is it right?", "verification": "Wait, check again:", "correction": "Wait, a mistake:"}
LAZY = "looks right"
EXEMPT = {"*": ("answer", "repetition")}  # lazy rows end wrong on purpose, and cells repeat in a transcript


def splits(config: Config) -> dict[str, int]:
    """Return how many rows each split has."""
    return dict(config.splits)


def make(config: Config, split: str, index: int) -> Example:
    """Make one row from its place alone."""
    rng = random.Random(f"{config.seed}/{split}/{index}")
    colour, cells = _draw_grid(config, split, rng)
    total = sum(cell is not None and cell[0] == colour for cell in cells)
    first = sum(rng.random() >= config.overlook for _ in range(total))
    careful = rng.random() < config.careful
    reflection = _transcript(config, cells, first == total, rng) if careful else LAZY
    final = total if careful else first
    second = "<think>count</think>" if config.second_think == "short" else ""
    response = (
        f"<think>quick look</think><answer>{first}</answer><reflection>{reflection}</reflection>"
        f"{second}<answer>{final}</answer>"
    )
    picture = render(config, cells, rng)
    question = f"How many {colour} shapes are there?"
    shown = (
        [{"type": "image"}]
        if config.modality == "image"
        else [{"type": "text", "text": in_words(config, cells) + "\n"}]
    )
    return Example(
        id=f"{split}-{index:06}",
        messages=[
            {"role": "user", "content": [*shown, {"type": "text", "text": question}]},
            {"role": "assistant", "content": [{"type": "text", "text": response}]},
        ],
        images=[picture] if config.modality == "image" else [],
        answer=str(total),
        facts={"careful": careful, "first_answer": str(first), "first_correct": first == total, "colour": colour},
    )


def _draw_grid(config: Config, split: str, rng: random.Random) -> tuple[str, list[Cell]]:
    """Draw grids until one belongs to the split."""
    names = sorted(config.splits)
    while True:
        colour, shape = rng.choice(list(COLOURS)), rng.choice(SHAPES)
        density = rng.choice([0.15, 0.35, 0.55, 0.75])
        cells = [_draw_cell((colour, shape), density, rng) for _ in range(config.size**2)]
        digest = hashlib.sha256(f"{colour}{cells}".encode()).digest()
        if names[int.from_bytes(digest[:8], "big") % len(names)] == split:
            return colour, cells


def _draw_cell(target: tuple[str, str], density: float, rng: random.Random) -> Cell:
    if rng.random() < density:
        return target
    if rng.random() < 0.25:
        return None
    others = [(colour, shape) for colour in COLOURS for shape in SHAPES if (colour, shape) != target]
    return rng.choice(others)


def _transcript(config: Config, cells: list[Cell], first_right: bool, rng: random.Random) -> str:
    kind = "questioning" if rng.random() < 0.5 else "verification" if first_right else "correction"
    words = ["none" if cell is None else cell[0] for cell in cells]
    rows = [" ".join(words[start : start + config.size]) for start in range(0, len(words), config.size)]
    return f"{OPENERS[kind]} {' ; '.join(rows)}"


def render(config: Config, cells: list[Cell], rng: random.Random) -> Image.Image:
    """Draw the grid; every shape is a little off its cell's centre and of its own size."""
    side = config.cell_pixels
    picture = Image.new("RGB", (config.size * side, config.size * side), (245, 245, 245))
    draw = ImageDraw.Draw(picture)
    for place, cell in enumerate(cells):
        row, column = divmod(place, config.size)
        x = column * side + side // 2 + rng.randint(-3, 3)
        y = row * side + side // 2 + rng.randint(-3, 3)
        radius = rng.randint(6, 9)
        if cell is None:
            continue
        box = [x - radius, y - radius, x + radius, y + radius]
        (draw.rectangle if cell[1] == "square" else draw.ellipse)(box, fill=COLOURS[cell[0]])
    return picture


def in_words(config: Config, cells: list[Cell]) -> str:
    """Put the grid into words, a line per row."""
    words = ["none" if cell is None else f"{cell[0]} {cell[1]}" for cell in cells]
    rows = [", ".join(words[start : start + config.size]) for start in range(0, len(words), config.size)]
    return "\n".join(rows)


if __name__ == "__main__":
    import sys

    from mmreflect.cli import main

    sys.exit(main(["build", *sys.argv[1:]]))
