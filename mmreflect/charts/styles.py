"""How a chart looks: sizes, fonts, colours, grids, where the legend stands, how numbers are written."""

import random
from dataclasses import dataclass

from mmreflect.charts.canvas import MARKERS, Font

FONTS = {
    "DejaVuSans": "DejaVuSans-Bold",
    "DejaVuSerif": "DejaVuSerif-Bold",
    "STIXGeneral": "STIXGeneralBol",
    "DejaVuSansMono": "DejaVuSansMono-Bold",
}
"""Font files that matplotlib ships, and their bold sisters."""

PALETTES = (
    ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#17becf"),
    ("#4472c4", "#ed7d31", "#a5a5a5", "#ffc000", "#5b9bd5", "#70ad47", "#264478", "#9e480e"),
    ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b0a020", "#555555"),
    ("#4c72b0", "#dd8452", "#55a868", "#c44e52", "#8172b3", "#937860", "#da8bc3", "#64b5cd"),
    ("#4e79a7", "#f28e2b", "#e15759", "#76b7b2", "#59a14f", "#edc948", "#b07aa1", "#9c755f"),
    ("#1b9e77", "#d95f02", "#7570b3", "#e7298a", "#66a61e", "#e6ab02", "#a6761d", "#666666"),
    ("#e24a33", "#348abd", "#988ed5", "#777777", "#fbc15e", "#8eba42", "#ffb5b8", "#2b5d34"),
    ("#264653", "#2a9d8f", "#e9c46a", "#f4a261", "#e76f51", "#8ab17d", "#6d597a", "#b56576"),
    ("#003f5c", "#58508d", "#bc5090", "#ff6361", "#ffa600", "#7a9e9f", "#4f772d", "#8d99ae"),
)
MAPS = ("Blues", "Greens", "YlOrRd", "viridis", "YlGnBu", "OrRd", "PuBu", "cividis")
"""Colour maps of heat maps, by matplotlib's names."""


@dataclass(frozen=True, slots=True)
class Style:
    """How one chart looks; lengths in pixels.

    Attributes:
        font, bold: font files; `size`: points of the plain text.
        face, plot_face: background of the picture and of the plot.
        grid: none, value (across the value axis) or both; `dash`: strokes and gaps of its lines, or None.
        spines: box, half (left and below) or bare.
        legend: right, top, bottom or inside.
        edge: colour of the outline of bars and boxes, or None.
        share: of its slot that a bar, or a group of bars, takes.
        numbers: plain, comma or short (12K) on the ticks of the value axis.
        hole: inner radius of a pie as a share of the outer one.
        each: every bar of a plain bar chart has its own colour.
        titled: there is a title; `row_title`: the axis of the categories is named.
    """

    width: int
    height: int
    font: str
    bold: str
    size: float
    palette: tuple[str, ...]
    colour_map: str
    face: str
    plot_face: str
    ink: str
    grid: str
    grid_colour: str
    dash: tuple[float, ...] | None
    spines: str
    legend: str
    legend_frame: bool
    title_left: bool
    title_bold: bool
    horizontal: bool
    edge: str | None
    share: float
    marker: str | None
    line_width: float
    numbers: str
    hole: float
    each: bool
    titled: bool
    row_title: bool

    @property
    def plain(self) -> Font:
        """The font of labels and ticks."""
        return Font(self.font, self.size)

    @property
    def small(self) -> Font:
        """The font of values that are written on marks."""
        return Font(self.font, self.size - 1)

    @property
    def heading(self) -> Font:
        """The font of the title."""
        return Font(self.bold if self.title_bold else self.font, self.size + 2.5)

    @property
    def strong(self) -> Font:
        """The font of a table's head."""
        return Font(self.bold, self.size)


THEMES = (
    (6, "white", "white", "#222222", "#cccccc"),
    (2, "white", "#eaeaf2", "#262626", "#ffffff"),
    (1, "white", "#e5e5e5", "#444444", "#ffffff"),
    (1, "#f7f7f2", "#f7f7f2", "#333333", "#d5d5cc"),
    (1, "#f4f8fb", "#ffffff", "#1f3044", "#d7e1ea"),
    (1, "#20242c", "#20242c", "#e6e6e6", "#454b57"),
)
"""Weight, background of the picture and of the plot, colours of texts and of the grid."""


def draw_style(rng: random.Random) -> Style:
    """Draw a style."""
    font = rng.choices(list(FONTS), [6, 2, 2, 0.5])[0]
    _, face, plot_face, ink, grid_colour = rng.choices(THEMES, [theme[0] for theme in THEMES])[0]
    palette = list(rng.choice(PALETTES))
    if rng.random() < 0.5:
        rng.shuffle(palette)
    width = rng.randrange(500, 901, 4)
    filled = plot_face not in (face, "#ffffff")
    return Style(
        width=width,
        height=round(width * rng.uniform(0.58, 0.82) / 4) * 4,
        font=font,
        bold=FONTS[font],
        size=rng.choice([8.5, 9, 9.5, 10, 11]) + (1 if font == "STIXGeneral" else 0),
        palette=tuple(palette),
        colour_map=rng.choice(MAPS),
        face=face,
        plot_face=plot_face,
        ink=ink,
        grid="both" if filled else rng.choices(["value", "both", "none"], [5, 2, 3])[0],
        grid_colour=grid_colour,
        dash=None if filled else rng.choice([None, None, (4.0, 3.0), (1.5, 2.5)]),
        spines="bare" if filled else rng.choice(["box", "half", "half", "bare"]),
        legend=rng.choices(["right", "top", "bottom", "inside"], [4, 3, 3, 3])[0],
        legend_frame=rng.random() < 0.5,
        title_left=rng.random() < 0.25,
        title_bold=rng.random() < 0.4,
        horizontal=rng.random() < 0.3,
        edge=rng.choices([None, ink, face], [5, 2, 1])[0],
        share=rng.uniform(0.5, 0.85),
        marker=rng.choice([*MARKERS, "circle", None]),
        line_width=rng.choice([1.5, 2.0, 2.5]),
        numbers=rng.choices(["comma", "plain", "short"], [5, 3, 2])[0],
        hole=rng.choice([0.0, 0.0, 0.0, 0.45]),
        each=rng.random() < 0.3,
        titled=rng.random() < 0.93,
        row_title=rng.random() < 0.5,
    )
