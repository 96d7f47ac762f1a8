"""Curves of an evaluation as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

from ..disk import AnyPath
from ..extras import extra
from . import Evaluation, KindResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .compare import Row

# Colors that color-blind people tell apart (Okabe and Ito, 2008), each with a marker of its own.
STYLES = (("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#56B4E9", "v"), ("#E69F00", "P"))

LEGEND: dict[str, Any] = {"facecolor": "white", "edgecolor": "none", "framealpha": 0.9}


def precision_recall(evaluation: Evaluation, path: AnyPath) -> None:
    """Precision over recall for each kind, all candidates; a marker shows the current threshold."""
    figure, (axes,) = _figure((6.4, 5.2))
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.03))
    axes.set_title("Precision and recall at IoU 0.5", loc="left")
    for (color, marker), kind in zip(cycle(STYLES), evaluation.kinds.values(), strict=False):
        if not kind.precision_recall:
            continue
        recall, precision, _ = zip(*kind.precision_recall, strict=True)
        axes.plot(recall, precision, color=color, lw=2, label=f"{kind.kind}: AP {kind.ap50.value:.3f}")
        if kind.threshold is not None and kind.precision.rate is not None and kind.recall.rate is not None:
            style: dict[str, Any] = {"color": color, "marker": marker, "ms": 9, "mec": "white", "ls": "none"}
            label = f"{kind.kind} at threshold {kind.threshold:g}"
            axes.plot([kind.recall.rate], [kind.precision.rate], **style, label=label)
    axes.legend(loc="lower left", **LEGEND)
    _save(figure, path)


def leaks_by_threshold(evaluation: Evaluation, path: AnyPath) -> None:
    """What a lower threshold changes: leak and miss rate above, false positives per photo below, for each kind."""
    figure, (above, below) = _figure((7.2, 6.8), rows=2)
    above.set_title("Leaks against false positives", loc="left")
    above.set(ylabel="share of true regions", ylim=(0, 1.02), xscale="log")
    below.set(ylabel="false positives per photo", xlabel="threshold", xscale="log")
    below.set_yscale("symlog", linthresh=1)  # zero is the best there is, so it must be on the axis
    for (color, marker), kind in zip(cycle(STYLES), evaluation.kinds.values(), strict=False):
        if not kind.curve:
            continue
        at = [p.threshold for p in kind.curve]
        solid: dict[str, Any] = {"color": color, "marker": marker, "ms": 4, "lw": 2}
        above.plot(at, [p.leak_rate for p in kind.curve], **solid, label=f"{kind.kind}: leaks (under 90 % hidden)")
        misses = [p.miss_rate for p in kind.curve]
        above.plot(at, misses, color=color, ls=(0, (2, 2)), label=f"{kind.kind}: missed (under 50 %)")
        below.plot(at, [p.false_positives for p in kind.curve], **solid, label=kind.kind)
        _mark_threshold(kind, color, above, below)
    above.legend(loc="upper left", **LEGEND)
    below.legend(loc="upper right", **LEGEND)
    below.set_ylim(bottom=0)
    below.yaxis.set_major_formatter("{x:g}")
    below.xaxis.set_major_formatter("{x:g}")
    _save(figure, path)


def contenders(rows: Sequence[Row], kind: str, path: AnyPath) -> None:
    """What each detector leaks for a number of false positives (left), and for the area that it hides (right).

    Args:
        rows: of `compare.compare(…, curves=True)`; those that do not look for this kind are left out.
    """
    figure, (alarms, areas) = _figure((11, 4.8), columns=2)
    alarms.set_title(f"{kind}s that leak, by false positives", loc="left")
    alarms.set(xlabel="false positives per photo", ylabel="share of true regions that leak", xlim=(0, 2), ylim=(0, 0.6))
    areas.set_title("by what is hidden", loc="left")
    areas.set(xlabel="% of the photos' area hidden")
    for n, row in enumerate(r for r in rows if kind in r.kinds):
        color, marker = STYLES[n % len(STYLES)]
        result = row.evaluation.kinds[kind]
        kept = [p for p in result.curve if p.false_positives <= 3]
        leaks = [p.leak_rate for p in kept]
        line = "-" if n < len(STYLES) else "--"
        style: dict[str, Any] = {"color": color, "marker": marker, "ms": 4, "lw": 2, "ls": line}
        alarms.plot([p.false_positives for p in kept], leaks, **style, label=f"{row.label} {row.size}".strip())
        areas.plot([100 * p.hidden_area for p in kept], leaks, **style)
        if result.leaks.rate is not None and result.false_positives.value is not None:
            alarms.plot([result.false_positives.value], [result.leaks.rate], color=color, marker="o", ms=11, mfc="none")
    areas.set_xlim(left=0)
    alarms.legend(loc="upper right", **LEGEND)
    _save(figure, path)


def _mark_threshold(kind: KindResult, color: str, *panels: Axes) -> None:
    if kind.threshold is None:
        return
    for axes in panels:
        axes.axvline(kind.threshold, color=color, lw=1, ls=":")
    place: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "xytext": (-3, -4), "textcoords": "offset points"}
    look: dict[str, Any] = {"rotation": 90, "ha": "right", "va": "top", "color": color, "fontsize": 9}
    panels[0].annotate(f"{kind.kind} {kind.threshold:g}", (kind.threshold, 1.0), **place, **look)


def _figure(size: tuple[float, float], rows: int = 1, columns: int = 1) -> tuple[Figure, list[Axes]]:
    # Not pyplot: it keeps figures in a global table and picks a window system; a Figure alone draws with Agg.
    with extra("evaluate", "plotting"):
        from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(rows, columns, sharex=rows > 1, sharey=columns > 1, squeeze=False)
    for axes in panels.flat:
        axes.grid(color="#dddddd", lw=0.7)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, panels.ravel().tolist()


def _save(figure: Figure, path: AnyPath) -> None:
    figure.savefig(path, dpi=150, format="png")
