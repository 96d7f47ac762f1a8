"""How a review's FiftyOne dataset looks: saved views, colors, sidebar, and the classes that may be drawn."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import partial
from types import ModuleType
from typing import Any

from .documents import CANDIDATES, CONTEXT, CORNERS, HIDDEN, TRUTH

# One color a meaning: false positives and misses must be seen at once, also by people who do not tell red from green.
COLORS = {"tp": "#2a9d8f", "fp": "#e9a200", "fn": "#d1006c", "ignored": "#8d8d8d"}
HEIGHTS = ((0, 16), (16, 32), (32, math.inf))  # px, of the saved views
CANDIDATE = "#f4a261"
STATUS_COLORS = {"auto": "#2a9d8f", "accepted": "#0057b8", "manual": "#7b2cbf", "rejected": "#8d8d8d"}


def dress(fo: ModuleType, dataset: Any, kinds: Iterable[str], *, has_truth: bool) -> None:
    """Saved views, colors, sidebar, and the classes that may be drawn; of a dataset that has its samples."""
    for name, (view, text) in _views(fo.ViewField, dataset, has_truth).items():
        dataset.save_view(name, view, description=text or None, overwrite=True)
    config = dataset.app_config
    config.color_scheme = _colors(fo, has_truth)
    config.sidebar_groups = _sidebar(fo, dataset)
    config.active_fields = fo.ActiveFields(paths=[HIDDEN, TRUTH if has_truth else CANDIDATES, "risk", "review"])
    schema = {
        "type": "detections",
        "component": "dropdown",
        "classes": list(dict.fromkeys([*kinds, "face", "plate"])),
        "attributes": [{"name": "status", "type": "str", "component": "dropdown", "values": list(STATUS_COLORS)}],
    }
    dataset.set_label_schemas({HIDDEN: schema, CANDIDATES: schema})
    dataset.active_label_schemas = [HIDDEN, CANDIDATES]
    dataset.save()


def dress_clips(fo: ModuleType, dataset: Any) -> None:
    """Colors and what is shown at first, of a dataset of clips: what is hidden and what is not must be seen at once."""
    colors = {HIDDEN: STATUS_COLORS["auto"], CANDIDATES: CANDIDATE}
    for name in colors:  # where nothing is found in any clip, there is the field nevertheless
        dataset.add_frame_field(name, fo.EmbeddedDocumentField, embedded_doc_type=fo.Detections)
    fields = [{"path": f"frames.{name}", "fieldColor": color} for name, color in colors.items()]
    config = dataset.app_config
    config.color_scheme = fo.ColorScheme(color_by="field", fields=fields, color_pool=list(colors.values()))
    config.active_fields = fo.ActiveFields(paths=[*(f"frames.{name}" for name in colors), "risk", "review"])
    dataset.save()


def _views(f: Any, dataset: Any, has_truth: bool) -> dict[str, tuple[Any, str]]:
    """Saved views: name -> (view, description)."""
    detectors = sorted(dataset.distinct(f"{HIDDEN}.detections.seen_by"))
    hidden, candidates, truths = (partial(dataset.filter_labels, name) for name in (HIDDEN, CANDIDATES, TRUTH))

    def riskiest_first(view: Any) -> Any:
        return view.sort_by("risk", reverse=True)

    pending, suspected = dataset.match(f("review") == "pending"), candidates(f("chance") >= 0.1)
    views = {
        "1 pending, riskiest first": (riskiest_first(pending), "not approved yet"),
        "2 suspected misses": (riskiest_first(suspected), "candidates that may be real and are not hidden"),
        "3 suspected false positives": (hidden(f("chance") >= 0.5), "hidden, and likely a false alarm"),
        "4 drawn or corrected by a person": (hidden(f("status") != "auto"), ""),
        "5 flagged": (dataset.match(f("review") == "flagged"), ""),
        "6 approved": (dataset.match(f("review") == "approved"), ""),
        "7 small: under 32 px": (hidden(f("height_px") < 32), "regions by height"),
        "8 seen by one detector only": (hidden(f("seen_by").length() == 1), ""),
    }
    for name in detectors:
        only = (f("seen_by").length() == 1) & f("seen_by").contains(name)
        views[f"only by {name}"] = (hidden(only), "hidden because of this detector alone")
    if has_truth:
        is_missed, is_false = f("eval") == "fn", f("eval") == "fp"
        views |= {
            "leaks": (truths(f("leak") == True), "less than 90 % hidden"),  # noqa: E712
            "missed (fn)": (truths(is_missed), "real, and no region found it"),
            "false positives (fp)": (hidden(is_false), "hidden, with no face or plate there"),
        }
        for low, high in HEIGHTS:
            tall = (f("height_px") >= low) & (f("height_px") < high)
            size = f"under {high} px" if low == 0 else f"{low} px and more" if high == math.inf else f"{low}–{high} px"
            views[f"missed (fn), {size}"] = (truths(is_missed & tall), "")
            views[f"false positives (fp), {size}"] = (hidden(is_false & tall), "")
        for name in detectors:
            views[f"false positives (fp) of {name}"] = (hidden(is_false & f("seen_by").contains(name)), "")
    return views


def _colors(fo: ModuleType, has_truth: bool) -> Any:
    def by(attribute: str, colors: Mapping[str, str]) -> dict[str, Any]:
        return {"colorByAttribute": attribute, "valueColors": [{"value": v, "color": c} for v, c in colors.items()]}

    of_truth = by("eval", COLORS)
    of_hidden = of_truth if has_truth else by("status", STATUS_COLORS)
    fields = [
        {"path": HIDDEN, "fieldColor": COLORS["tp"], **of_hidden},
        *([{"path": TRUTH, "fieldColor": COLORS["fn"], **of_truth}] if has_truth else []),
        {"path": CANDIDATES, "fieldColor": CANDIDATE, **by("status", STATUS_COLORS | {"auto": CANDIDATE})},
        {"path": CONTEXT, "fieldColor": "#6c757d"},
        {"path": CORNERS, "fieldColor": "#0057b8"},
    ]
    return fo.ColorScheme(color_by="value", fields=fields, color_pool=["#2a9d8f", "#0057b8", "#7b2cbf", "#e9a200"])


def _sidebar(fo: ModuleType, dataset: Any) -> list[Any]:
    groups = fo.DatasetAppConfig.default_sidebar_groups(dataset)
    ours = ("review", "risk", "reasons", "photo", "error", "leaks", "eval_tp", "eval_fp", "eval_fn")
    rest: list[str] = []
    for group in groups:  # what a reviewer filters by stays in sight; a field in no group would come back by itself
        if group.name not in ("tags", "labels"):
            rest += [p for p in group.paths if p not in ours]
            group.paths = [p for p in ours if p in group.paths]
    groups = [g for g in groups if g.paths or g.name in ("tags", "labels")]
    groups.append(fo.SidebarGroupDocument(name="bookkeeping", paths=rest, expanded=False))
    return groups
