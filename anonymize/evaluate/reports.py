"""Evaluations for people and for other programs: tables, Markdown, JSON lines."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from ..disk import AnyPath
from . import Estimate, Evaluation, KindResult, Share
from .compare import Row

NONE = "–"


def _number(value: float | None, digits: int = 3) -> str:
    return NONE if value is None else f"{value:.{digits}f}"


def _percent(value: float | None) -> str:
    return NONE if value is None else f"{100 * value:.2f} %"


def _between(interval: tuple[float, float] | None, digits: int = 3) -> str:
    return "" if interval is None else f"{interval[0]:.{digits}f}–{interval[1]:.{digits}f}"


def _share(share: Share) -> tuple[str, str, str]:
    return _number(share.rate), _between(share.interval), f"{share.count} of {share.of}"


def _estimate(estimate: Estimate, digits: int = 3) -> tuple[str, str, str]:
    return _number(estimate.value, digits), _between(estimate.interval, digits), ""


def table(evaluation: Evaluation) -> Group:
    """An evaluation as a person reads it in a terminal: one table a kind, then what concerns whole photos."""
    parts: list[Table | Text] = []
    for name, kind in evaluation.kinds.items():
        threshold = "not hidden" if kind.threshold is None else f"threshold {kind.threshold:g}"
        out = Table(title=f"{name} · {threshold}", title_justify="left", box=box.SIMPLE_HEAD)
        for header in ("", "figure", "95 % interval", "count"):
            out.add_column(header, justify="left" if not header else "right")
        out.add_row("leak rate (under 90 % hidden)", *_share(kind.leaks), style="bold")
        out.add_row("miss rate (under 50 % hidden)", *_share(kind.misses))
        for label, (leaks, misses) in kind.by_height.items():
            rate, interval, count = _share(leaks)
            out.add_row(f"  leaks, {label} px high", rate, interval, f"{count}, {misses.count} missed")
        out.add_row("recall (IoU 0.5)", *_share(kind.recall))
        out.add_row("precision (IoU 0.5)", *_share(kind.precision))
        out.add_row("false positives per photo", *_estimate(kind.false_positives, 2))
        out.add_row("AP at IoU 0.5, all candidates", *_estimate(kind.ap50))
        out.add_row("recall of all candidates", _number(kind.ar50), "", "")
        parts.append(out)
    whole = Table(title="whole photos", title_justify="left", box=box.SIMPLE_HEAD, show_header=False)
    for justify in ("left", "right", "right", "right"):
        whole.add_column(justify=justify)
    whole.add_row("photos without a leak", *_share(evaluation.clean))
    for label, area in (("over-blurred", evaluation.over_blurred), ("truly to hide", evaluation.true_area)):
        ends = f"{_percent(area.interval[0])} – {_percent(area.interval[1])}" if area.interval else ""
        whole.add_row(f"area {label}", _percent(area.value), ends, "")
    parts.append(whole)
    withheld = evaluation.withheld
    if withheld:
        first = "; ".join(f"{path}: {why}" for path, why in list(withheld.items())[:3])
        parts.append(Text(f"{len(withheld)} of {len(evaluation.photos)} photos withheld, not counted above ({first})"))
    if evaluation.unknown:
        names = ", ".join(f"{name!r} ({n})" for name, n in evaluation.unknown.items())
        parts.append(Text(f"Boxes left out, because their class is no known kind: {names}"))
    if evaluation.unannotated:
        parts.append(Text(f"{evaluation.unannotated} photos are not in the annotations and were not measured"))
    return Group(*parts)


def comparison(rows: Sequence[Row]) -> Table:
    """One table for all contenders, a row for each of their kinds; `markdown` writes it for a README."""
    heights = _heights(rows)
    headers = [
        *("detector", "input", "kind", "threshold", "recall", "precision", "AP50", "leak rate (95 %)"),
        f"leaks by height ({' · '.join(heights)} px)",
        *("false positives per photo", "over-blurred", "ms per photo"),
    ]
    if any(row.evaluation.withheld for row in rows):
        headers.append("withheld")
    kinds = [(row, row.evaluation.kinds[k]) for row in rows for k in row.kinds if k in row.evaluation.kinds]
    cells = [_cells(row, kind, heights)[: len(headers)] for row, kind in kinds]
    out = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for i, header in enumerate(headers):
        # A narrow terminal folds long cells: a column that must stay wide would push the last ones out of sight.
        out.add_column(header, justify="left" if i < 3 else "right", overflow="fold")
    for line in cells:
        out.add_row(*line)
    return out


def _heights(rows: Sequence[Row]) -> list[str]:
    """The height classes that some row has, smallest first."""
    every = [list(k.by_height) for row in rows for k in row.evaluation.kinds.values()]
    return max(every, key=len, default=[])


def _cells(row: Row, kind: KindResult, heights: Sequence[str]) -> list[str]:
    by_height = [kind.by_height.get(h, (Share(0, 0),))[0] for h in heights]
    leaks = f"{_number(kind.leaks.rate)} ({_between(kind.leaks.interval)})" if kind.leaks.of else NONE
    return [
        row.label,
        row.size or NONE,
        kind.kind,
        NONE if kind.threshold is None else f"{kind.threshold:g}",
        _number(kind.recall.rate),
        _number(kind.precision.rate),
        _number(kind.ap50.value),
        leaks,
        " · ".join(f"{s.count}/{s.of}" if s.of else NONE for s in by_height),
        _number(kind.false_positives.value, 2),
        _percent(row.evaluation.over_blurred.value),
        f"{row.ms:.0f}",
        str(len(row.evaluation.withheld)),
    ]


def markdown(rows: Sequence[Row]) -> str:
    """`comparison` as a Markdown table."""
    out = comparison(rows)
    out.box = box.MARKDOWN
    console = Console(file=io.StringIO(), width=10_000, color_system=None)
    console.print(out)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.strip() for line in text.splitlines() if line.strip()) + "\n"


def write_json_lines(path: AnyPath, evaluation: Evaluation) -> None:
    """One line a photo: its detections, its truths with the share of each that is hidden, the matched index pairs."""
    with open(path, "w", encoding="utf-8") as file:
        for photo in evaluation.photos:
            file.write(json.dumps(photo.to_dict(), ensure_ascii=False) + "\n")
