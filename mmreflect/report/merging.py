"""What a merge did: weights, norms and cosines per layer, the prior that it rests on, and where tensors are from."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mmreflect.files import read_json
from mmreflect.report.folders import Folder, named
from mmreflect.report.layout import Cell, Figures, Parts, PlotBlock, Table, plots_section
from mmreflect.report.numbers import NONE, Figure, counted, percent, quantity
from mmreflect.report.plots import Plot, Point, Series, Unit, line_plot

_COLUMNS = {
    "layer": "layer",
    "norm_v": "norm, v",
    "norm_r": "norm, r",
    "share_v": "of the base's, v",
    "share_r": "of the base's, r",
    "cosine": "cosine",
    "attention": "attention to pictures",
    "w_v": "prior of v",
    "lam_v": "weight of v",
    "lam_r": "weight of r",
}
_MODELS = {"base": "base", "vlm": "vision-language model (v)", "reason": "reasoning model (r)"}
_MOST_DOTS = 80


@dataclass(frozen=True, slots=True)
class MergeReport:
    """What a merge wrote about itself.

    Attributes:
        layers: its rows, with norms in the place of their squares, and as shares of the base's where there is one.
        attention: what the prior rests on, with its fit; None where nothing was measured.
        tree: the whole of the file.
    """

    layers: list[dict[str, Any]]
    warnings: list[str]
    prior: str
    attention: dict[str, Any] | None
    tree: dict[str, Any]

    @property
    def based(self) -> bool:
        """Whether norms are of changes from a base."""
        return bool(self.tree.get("measured_from", "base") == "base")

    def count(self, kind: str) -> int:
        """Return how many tensors were `merged` or `copied`."""
        return int(self.tree["tensors"][kind])

    def weights(self, key: str) -> list[float]:
        """Return the weights of all layers that have one."""
        return [row[key] for row in self.layers if isinstance(row.get(key), int | float)]


def merge_of(run: Folder) -> MergeReport | None:
    """Return the report of a merge, if it is written."""
    file = run.path / "merge_report.json"
    if not file.is_file():
        return None
    with named(file):
        tree = read_json(file)
        rows = [_with_norms(row) for row in tree["layers"]]
        return MergeReport(rows, list(tree["warnings"]), str(tree["prior"]), tree.get("attention"), tree)


def _with_norms(row: dict[str, Any]) -> dict[str, Any]:
    norms = {f"norm_{key}": math.sqrt(row[f"norm2_{key}"]) for key in ("v", "r")}
    base = math.sqrt(row.get("norm2_base") or 0.0)
    shares = {f"share_{key}": norms[f"norm_{key}"] / base for key in ("v", "r")} if base else {}
    return {**row, **norms, **shares}


def parts(run: Folder) -> Parts:
    """Return what the page of a merge holds."""
    report = merge_of(run)
    lead = ["A merge measures nothing by itself: evaluate the merged model next to the one that it started from."]
    sections = [
        plots_section("merge", "Layer by layer", [layers(run)]),
        plots_section("prior", "The prior", [_prior(report)] if report else []),
        plots_section("origin", "What came from where", [_models(run, report), *_tensors(report)] if report else []),
    ]
    return "A merge of weights", f"Merging by {run.name.upper()}.", lead, _figures(report) if report else [], sections


def _figures(report: MergeReport) -> Figures:
    figures = [("layers", Figure(f"{len(report.layers):,}"))]
    figures += [(f"tensors {kind}", Figure(f"{report.count(kind):,}")) for kind in ("merged", "copied")]
    weights = report.weights("lam_v")
    if weights:
        mean = Figure(percent(sum(weights) / len(weights)), remark="mean over layers")
        figures.append(("weight of the vision-language model", mean))
    if report.attention:
        figures.append(("decay of attention per layer", Figure(quantity(report.attention["alpha"]))))
    return [*figures, ("warnings", Figure(f"{len(report.warnings):,}"))]


def layers(run: Folder, title: str = "") -> PlotBlock | None:
    """Return a merge's weights, norms and cosines per layer, or None before its report is written."""
    report = merge_of(run)
    if report is None:
        return None
    block = PlotBlock(title, warnings=list(report.warnings))
    prior = f" Prior over the layers: {report.prior}." if report.prior else ""
    merged, copied = counted(report.count("merged"), "tensor"), counted(report.count("copied"), "tensor")
    block.notes.append(f"{merged} merged, {copied} copied from the vision-language model.{prior}")
    if rule := report.tree.get("rule"):
        block.notes.append(f"Rule: {rule}.")
    if told := report.tree.get("reload"):
        block.notes.append(f"Reload of the merged model: {told}.")
    if not report.weights("lam_v"):
        block.notes.append("This rule decides value by value, over whole tensors: there are no weights per layer.")
    whose = "the change from the base" if report.based else "the weights themselves, as no base was named"
    for name, keys in _drawn(report.based):
        plot = _plot(report, name, keys)
        block.plots += [plot] if plot else []
    header = [name for name in _COLUMNS if any(row.get(name) is not None for row in report.layers)]
    cells = [[_cell(row.get(name)) for name in header] for row in report.layers]
    caption = f"v: vision-language model, r: reasoning model; norms are of {whose}."
    block.tables.append(Table([_COLUMNS[name] for name in header], cells, caption))
    return block


def _drawn(based: bool) -> list[tuple[str, list[tuple[str, str, int]]]]:
    vectors = "the task vectors" if based else "the two models"
    return [
        ("Weight of each task vector", [("lam_v", "vision-language", 0), ("lam_r", "reasoning", 1)]),
        (f"Norm of {vectors}", [("norm_v", "vision-language", 0), ("norm_r", "reasoning", 1)]),
        ("Norm as a share of the base's", [("share_v", "vision-language", 0), ("share_r", "reasoning", 1)]),
        (f"Cosine between {vectors}", [("cosine", "cosine", 2)]),
    ]


def _plot(report: MergeReport, name: str, keys: Sequence[tuple[str, str, int]]) -> Plot | None:
    few = len(report.layers) <= _MOST_DOTS
    series = [Series(label, _by_layer(report.layers, key), style, few) for key, label, style in keys]
    values = [value for item in series for _, value in item.points]
    share = name.startswith("Weight") and all(0 <= value <= 1 for value in values)
    return line_plot(name, series, "share" if share else "number", "layer")


def _prior(report: MergeReport) -> PlotBlock | None:
    """Return a_l with its fit, and w_V; None where there is no prior."""
    if report.prior in ("", "none"):
        return None
    block = PlotBlock(notes=[f"Prior over the layers: {report.prior}."])
    found = report.attention
    if found:
        alpha, c, r2 = found["alpha"], found["C"], found["r2"]
        block.notes.append(
            f"The fitted decay is {quantity(c)} exp(\u2212{quantity(alpha)} l), l from 1, R\u00b2 {quantity(r2)} of "
            "the straight line in the logarithm."
        )
        block.notes += _measured(found)
        fitted = [(float(place), c * math.exp(-alpha * (place + 1))) for place in range(len(found["a"]))]
        measured = [(float(place), float(share)) for place, share in enumerate(found["a"])]
        few = len(measured) <= _MOST_DOTS
        block.plots += _drawable(
            "Attention of text to pictures", [("measured", measured, few), ("fitted", fitted, False)]
        )
        left_out = found.get("pictures", {}).get("left_out", {})
        if left_out:
            rows = [[name, reason] for name, reason in left_out.items()]
            block.tables.append(Table(("picture", "left out, as"), rows, prose=True))
    prior = _by_layer(report.layers, "w_v")
    block.plots += _drawable(
        "Prior of the vision-language model", [("prior", prior, len(prior) <= _MOST_DOTS)], "share"
    )
    return block


def _drawable(title: str, lines: Sequence[tuple[str, Sequence[Point], bool]], unit: Unit = "number") -> list[Plot]:
    series = [Series(name, points, style, dots) for style, (name, points, dots) in enumerate(lines)]
    plot = line_plot(title, series, unit, "layer")
    return [plot] if plot else []


def _measured(found: dict[str, Any]) -> list[str]:
    pictures, settings = found.get("pictures", {}), found.get("settings", {})
    clipped = [f"Below 0.0001 in layers {', '.join(map(str, found['clipped']))}."] if found.get("clipped") else []
    if "measured" not in pictures:
        return ["These numbers were given; nothing was measured in this run.", *clipped]
    left = len(pictures.get("left_out", {}))
    away = f", {counted(left, 'picture')} left out" if left else ""
    how = f", at most {settings['max_tokens']:,} visual tokens each" if "max_tokens" in settings else ""
    asked = f", with the text \u201c{settings['prompt']}\u201d behind each" if "prompt" in settings else ""
    on = counted(pictures["measured"], "picture")
    return [f"Measured on {on} of {pictures.get('folder', NONE)}{away}{how}{asked}.", *clipped]


def _models(run: Folder, report: MergeReport) -> PlotBlock:
    """Return the three models with what the gate compared, and the files that were taken over."""
    thetas = report.tree.get("rope_theta", {})
    skipped = report.tree.get("skipped_names", {})
    rows: list[list[Cell]] = []
    for role, name in _MODELS.items():
        if folder := run.config.get(role):
            unused = "" if role == "vlm" else f"{len(skipped.get(role, [])):,}"
            rows.append([name, str(folder), _cell(thetas.get(role)), unused])
    header = ("model", "folder", "rotary base (rope theta)", "tensors left unused")
    block = PlotBlock(tables=[Table(header, rows, prose=True, whole=True)] if rows else [])
    block.notes += [f"{note[:1].upper()}{note[1:]}." for note in report.tree.get("notes", [])]
    block.notes.append(
        "Tokenizer and chat template are the vision-language model's: control words of the reasoning model, such as "
        "<think>, may be plain text to it, and belong into the prompt as plain text."
    )
    files = report.tree.get("files", {})
    if files.get("copied"):
        block.notes.append(f"Taken over from the vision-language model: {', '.join(files['copied'])}.")
    if files.get("left_out"):
        block.notes.append(f"Left behind: {', '.join(files['left_out'])}.")
    if forced := run.config.get("force"):
        block.notes.append(f"Checks that were forced: {', '.join(forced)}.")
    if embeddings := report.tree.get("embeddings"):
        rows_of = ", ".join("the embeddings" if item["layer"] < 0 else "the head" for item in embeddings)
        block.notes.append(f"Rows whose token all models know were merged in {rows_of}.")
    return block


def _tensors(report: MergeReport) -> list[PlotBlock]:
    """Return all tensor names, those of all layers as one row."""
    tree = report.tree
    kinds = [("Merged tensors", tree.get("merged_names", [])), ("Copied tensors", tree.get("copied_names", []))]
    kinds += [
        (f"Unused tensors of the {_MODELS[role]}", names) for role, names in tree.get("skipped_names", {}).items()
    ]
    blocks = []
    for title, names in kinds:
        if names:
            grouped = Counter(re.sub(r"\.\d+\.", ".N.", str(name)) for name in names)
            rows = [[name, f"{number:,}"] for name, number in grouped.items()]
            blocks.append(PlotBlock(f"{title}: {len(names):,}", tables=[Table(("name", "tensors"), rows)], folded=True))
    return blocks


def _by_layer(rows: Sequence[dict[str, Any]], key: str) -> list[Point]:
    return [(float(row["layer"]), float(row[key])) for row in rows if isinstance(row.get(key), int | float)]


def _cell(value: Any) -> str:
    return quantity(value) if isinstance(value, int | float) else NONE if value is None else str(value)
