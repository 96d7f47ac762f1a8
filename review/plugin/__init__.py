"""A FiftyOne plugin: the review's decisions as operators, its queue as a panel.

It works in the review's own server and in anyone's FiftyOne: a dataset that `review` made carries the path of its
records. Every operator is one call of the book, so it is the same as `python -m review …`.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fiftyone.operators as foo
from fiftyone import ViewField
from fiftyone.operators import types

from anonymize.errors import AnonymizeError, RecordsError
from review.decisions import gate, person
from review.documents import CANDIDATES, CONTEXT, HIDDEN
from review.reviews import OPEN, Review

FIELDS = (HIDDEN, CANDIDATES, CONTEXT)


def _review(ctx: Any) -> Review:
    records = (ctx.dataset.info or {}).get("records")
    if not records:
        raise RecordsError("this dataset was not made by a review: python -m review RECORDS makes one")
    return OPEN.open(Path(records))


def _who(ctx: Any) -> str:
    # The review's server writes the name of the visitor here, over whatever a browser sent; elsewhere it is this
    # account.
    return str(ctx.params.get("reviewer") or person())


def _samples(ctx: Any) -> list[Any]:
    """The open sample, else the selected ones."""
    ids = [ctx.current_sample] if ctx.current_sample else list(ctx.selected or ())
    if not ids:
        raise RecordsError("open or select a photo first")
    return [ctx.dataset[i] for i in ids]


def _labels(ctx: Any) -> Iterator[tuple[Any, Any]]:
    chosen = ctx.selected_labels or ()
    if not chosen:
        raise RecordsError("select a region first: click it in the photo")
    for pick in chosen:
        sample = ctx.dataset[pick["sample_id"]]
        for name in FIELDS:
            for label in sample[name].detections if sample[name] else ():
                if label.id == pick["label_id"]:
                    yield sample, label


def _done(ctx: Any, review: Review, paths: list[str], text: str) -> dict[str, Any]:
    for path in dict.fromkeys(paths):
        review.changed(path)
    ctx.ops.clear_selected_labels()
    ctx.ops.reload_samples()
    ctx.ops.notify(f"{text}. {review.queue.progress()}", variant="success")
    return {"message": text}


class _Operator(foo.Operator):
    """One button. A failure is said in the App, in the words of our errors."""

    label, icon = "", ""
    is_form = False

    @property
    def config(self) -> Any:
        return foo.OperatorConfig(
            name=self.operator_name, label=f"Review: {self.label}", icon=self.icon, dynamic=self.is_form
        )

    operator_name = ""

    def resolve_placement(self, ctx: Any) -> Any:
        if self.operator_name not in ("accept", "reject", "approve", "flag", "next"):
            return None
        return types.Placement(
            types.Places.SAMPLES_VIEWER_ACTIONS,
            types.Button(label=f"Review: {self.label}", icon=self.icon, prompt=False),
        )

    def execute(self, ctx: Any) -> Any:
        try:
            return self.act(ctx)
        except AnonymizeError as e:
            ctx.ops.notify(str(e), variant="error")
            return {"error": str(e)}

    def act(self, ctx: Any) -> Any:
        raise NotImplementedError


class _OnLabels(_Operator):
    def given(self, ctx: Any) -> dict[str, Any]:
        return {}

    def act(self, ctx: Any) -> Any:
        review, paths = _review(ctx), []
        hashes: dict[str, str] = {}
        for sample, label in _labels(ctx):
            path = sample["photo"]
            expected = hashes.get(path, sample["regions_hash"])
            record = review.book.decide(
                path,
                self.operator_name.replace("_", "-"),
                who=_who(ctx),
                expected=expected,
                region=label["region"],
                **self.given(ctx),
            )
            hashes[path] = record.regions_hash()
            paths.append(path)
        return _done(ctx, review, paths, f"{self.label}: {len(paths)} regions")


class Accept(_OnLabels):
    operator_name, label, icon = "accept", "hide this", "check"


class Reject(_OnLabels):
    operator_name, label, icon = "reject", "this is nothing", "close"


class SetKind(_OnLabels):
    operator_name, label, is_form = "set_kind", "set kind", True

    def resolve_input(self, ctx: Any) -> Any:
        inputs = types.Object()
        inputs.enum("kind", list(_review(ctx).book.settings.kinds), label="Kind", required=True)
        return types.Property(inputs)

    def given(self, ctx: Any) -> dict[str, Any]:
        return {"kind": str(ctx.params["kind"])}


class Add(_Operator):
    operator_name, label, is_form = "add", "add missed region", True

    def resolve_input(self, ctx: Any) -> Any:
        inputs = types.Object()
        inputs.enum("kind", list(_review(ctx).book.settings.kinds), label="Kind", required=True)
        for name, text in (("x1", "Left"), ("y1", "Top"), ("x2", "Right"), ("y2", "Bottom")):
            inputs.float(name, label=f"{text}, px of the photo", required=True)
        return types.Property(inputs)

    def act(self, ctx: Any) -> Any:
        review, samples = _review(ctx), _samples(ctx)
        if len(samples) != 1:
            raise RecordsError("open one photo")
        box = tuple(float(ctx.params[k]) for k in ("x1", "y1", "x2", "y2"))
        path = samples[0]["photo"]
        expected = samples[0]["regions_hash"]
        review.book.decide(path, "add", who=_who(ctx), expected=expected, box=box, kind=str(ctx.params["kind"]))
        return _done(ctx, review, [path], f"added a {ctx.params['kind']}")


class _OnPhotos(_Operator):
    def act(self, ctx: Any) -> Any:
        review, paths = _review(ctx), []
        for sample in _samples(ctx):
            expected = sample["regions_hash"]
            # Boxes that were edited in the Annotate tab of somebody's own FiftyOne count before the photo does.
            if review.dataset.sync(str(sample.id), _who(ctx)):
                expected = review.book[sample["photo"]].regions_hash()
            review.book.decide(sample["photo"], self.operator_name, who=_who(ctx), expected=expected)
            paths.append(sample["photo"])
        return _done(ctx, review, paths, f"{self.label}: {len(paths)} photos")


class Approve(_OnPhotos):
    operator_name, label, icon = "approve", "approve", "check_circle"


class Flag(_OnPhotos):
    operator_name, label, icon = "flag", "flag", "flag"


class Undo(_OnPhotos):
    operator_name, label, icon = "undo", "undo", "undo"


class SaveEdits(_Operator):
    operator_name, label = "save_edits", "save drawn and moved boxes"

    def act(self, ctx: Any) -> Any:
        review = _review(ctx)
        paths, made = [], 0
        for sample in _samples(ctx):
            made += len(review.dataset.sync(str(sample.id), _who(ctx)))
            paths.append(sample["photo"])
        return _done(ctx, review, paths, f"{made} changes saved")


class Next(_Operator):
    operator_name, label, icon = "next", "next unreviewed", "skip_next"

    def act(self, ctx: Any) -> Any:
        review = _review(ctx)
        here = ctx.dataset[ctx.current_sample]["photo"] if ctx.current_sample else None
        item = review.queue.next(_who(ctx), after=here)
        if item is None:
            ctx.ops.notify(f"Nothing is left to review. {review.queue.progress()}", variant="success")
            return {"path": None}
        found = str(ctx.dataset.one(ViewField("photo") == item.path).id)
        if not len(ctx.view.select(found)):  # a filter that is set would hide it
            ctx.ops.clear_view()
        ctx.ops.open_sample(id=found)
        return {"path": item.path, "risk": item.risk, "reasons": item.reasons}


class Preview(_Operator):
    operator_name, label, icon = "preview", "preview the anonymized photo", "visibility"

    def act(self, ctx: Any) -> Any:
        from PIL import Image

        from anonymize import images
        from anonymize.outputs import hide

        review = _review(ctx)
        record = review.book[_samples(ctx)[0]["photo"]]
        photo = images.load(review.book.header.source(record), review.book.settings)
        pixels = Image.fromarray(hide(photo, record.regions, review.book.settings)).convert("RGB")
        pixels.thumbnail((1600, 1600))
        out = io.BytesIO()
        pixels.save(out, "JPEG", quality=88)
        return {"image": "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()}

    def resolve_output(self, ctx: Any) -> Any:
        outputs = types.Object()
        outputs.str("image", label="As an export writes it", view=types.ImageView())
        return types.Property(outputs)


class Export(_Operator):
    operator_name, label, icon, is_form = "export", "export approved photos", "download", True

    def resolve_input(self, ctx: Any) -> Any:
        inputs = types.Object()
        where = _review(ctx).output
        inputs.md(f"Approved photos are written to `{where}`. The others stay behind.", name="where")
        return types.Property(inputs)

    def act(self, ctx: Any) -> Any:
        from anonymize.engine import Engine

        review = _review(ctx)
        settings = review.book.settings
        done = Engine(settings, detectors=()).export(review.book.path, review.output, gate=gate(settings))
        text = f"{done.done} photos exported, {len(done.withheld)} withheld, {len(done.failures)} failed"
        ctx.ops.notify(text, variant="success" if done.ok else "error")
        return {"message": text}

    def resolve_output(self, ctx: Any) -> Any:
        outputs = types.Object()
        outputs.str("message", label="Export")
        return types.Property(outputs)


class QueuePanel(foo.Panel):
    @property
    def config(self) -> Any:
        return foo.PanelConfig(name="panel", label="Review queue", icon="checklist", surfaces="grid modal")

    def on_load(self, ctx: Any) -> None:
        ctx.panel.state.told = _told(ctx)

    def on_change_current_sample(self, ctx: Any) -> None:
        ctx.panel.state.told = _told(ctx)

    def go_next(self, ctx: Any) -> None:
        Next().execute(ctx)
        ctx.panel.state.told = _told(ctx)

    def approve_next(self, ctx: Any) -> None:
        if "error" not in (Approve().execute(ctx) or {}):
            Next().execute(ctx)
        ctx.panel.state.told = _told(ctx)

    def flag_next(self, ctx: Any) -> None:
        if "error" not in (Flag().execute(ctx) or {}):
            Next().execute(ctx)
        ctx.panel.state.told = _told(ctx)

    def undo(self, ctx: Any) -> None:
        Undo().execute(ctx)
        ctx.panel.state.told = _told(ctx)

    def render(self, ctx: Any) -> Any:
        panel = types.Object()
        panel.md(ctx.panel.state.told or _told(ctx), name="told")
        buttons = panel.h_stack("buttons", gap=1)
        buttons.btn("next", label="Next", on_click=self.go_next)
        if ctx.params.get("read_only"):  # a sample: its server would refuse them
            return types.Property(panel)
        buttons.btn("approve", label="Approve, next", on_click=self.approve_next)
        buttons.btn("flag", label="Flag, next", on_click=self.flag_next)
        buttons.btn("undo", label="Undo", on_click=self.undo)
        return types.Property(panel)


def _told(ctx: Any) -> str:
    """The running figures, the open photo's reasons, the next ones."""
    try:
        review = _review(ctx)
        items = review.queue.items()
    except AnonymizeError as e:
        return str(e)
    lines = [f"**{review.queue.progress()}**", ""]
    here = ctx.dataset[ctx.current_sample]["photo"] if ctx.current_sample else None
    for item in items:
        if item.path == here:
            lines += [f"`{item.path}`: {item.status}, risk {item.risk:.2f}", *(f"- {r}" for r in item.reasons), ""]
    lines += ["| next | risk | why |", "|---|---|---|"]
    pending = [i for i in items if i.status == "pending"]
    lines += [f"| `{i.path}` | {i.risk:.2f} | {(i.reasons or ['nothing suspected'])[0]} |" for i in pending[:10]]
    return "\n".join(lines)


def register(plugin: Any) -> None:
    for operator in (Accept, Reject, Add, SetKind, Approve, Flag, Undo, Next, SaveEdits, Preview, Export):
        plugin.register(operator)
    plugin.register(QueuePanel)
