"""The plugin's operators: the review's decisions, as buttons and forms of FiftyOne's App.

A dataset that `review` made carries the path of its records. Every operator is one call of the store, so it is the same
as `python -m review …`. In anybody's own FiftyOne what is drawn in the Annotate tab lies in FiftyOne's database only,
so every operator first brings it to the records.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import fiftyone.operators as foo
from bson import ObjectId
from fiftyone.operators import types

from anonymize.corrections import gate, person
from anonymize.engine import export
from anonymize.errors import AnonymizeError, RecordsError, StaleDecisionError
from review.clip_dataset import ClipsReview
from review.documents import CORNERS, REGION_FIELDS
from review.photos import preview
from review.reviews import Review, registry

# Where a label is, and its region's id: all that operators need of a sample.
LABELS = {**dict.fromkeys(REGION_FIELDS, "detections"), CORNERS: "polylines"}
SEEN = [
    *("photo", "regions_hash", "settings_hash", "last_modified_at", "shown_at"),
    *(f"{name}.{many}.{key}" for name, many in LABELS.items() for key in ("_id", "region")),
]
Sample = Mapping[str, Any]
R = TypeVar("R", Review, ClipsReview)


def info(ctx: Any) -> dict[str, Any]:
    """What the dataset that the App shows says of itself: where its "records" or its "clips" are."""
    return (ctx.dataset.info if ctx.dataset is not None else None) or {}


def _checked(ctx: Any, review: R) -> R:
    if ctx.dataset.name != review.name:
        raise RecordsError(f"this is a copy of a review's dataset; decide in the dataset {review.name}")
    return review


def _review(ctx: Any) -> Review:
    """The review of the dataset that the App shows.

    Raises:
        RecordsError: it is none of a review, or its records are not where they were.
    """
    records = info(ctx).get("records")
    if "clips" in info(ctx):
        raise RecordsError("this is for photos; of clips, select a track in any frame and use the buttons above it")
    if not records:
        raise RecordsError(
            "no review made this dataset; the operator `Review: open records` makes one of a records file"
        )
    if not Path(records).exists():
        raise RecordsError(f"the records {records} are not there any more; `Review: open records` opens them elsewhere")
    return _checked(ctx, registry.open(Path(records)))


def _clips(ctx: Any) -> ClipsReview | None:
    """The review of clips, where the App shows one."""
    folder = info(ctx).get("clips")
    return _checked(ctx, registry.open_clips(Path(folder))) if folder else None


def _kinds(ctx: Any) -> list[str]:
    clips = _clips(ctx)
    return clips.kinds() if clips else list(_review(ctx).store.settings.kinds)


def review_with_edits(ctx: Any) -> Review:
    """The review, with what was drawn and moved in the App in its records."""
    review = _review(ctx)
    review.dataset.save_edits(_who(ctx))
    return review


def _who(ctx: Any) -> str:
    # The review's server writes the visitor's name here, over whatever a browser sent; elsewhere it is this account.
    return str(ctx.params.get("reviewer") or person())


def _selected_ids(ctx: Any) -> list[str]:
    """Ids of the open sample, else of the selected ones."""
    ids = [ctx.current_sample] if ctx.current_sample else list(ctx.selected or ())
    if not ids:
        raise RecordsError("open or select a photo first")
    return ids


def _samples(ctx: Any, ids: Sequence[str]) -> tuple[Review, list[Sample]]:
    """The review, and these samples as the person saw them: a decision on one that changed since is refused."""
    review = _review(ctx)
    before = _find(ctx, ids)  # opening the review may bring samples up to their records
    review = review_with_edits(ctx)
    after = _find(ctx, ids)
    if len(after) < len(set(ids)):
        raise RecordsError("the sample is gone; reload the page")
    samples: list[Sample] = []
    for i in ids:
        seen = before.get(i, {})
        was_edited = seen.get("last_modified_at") != seen.get("shown_at")  # then saving checked what they saw
        kept = ("settings_hash",) if was_edited else ("regions_hash", "settings_hash")
        samples.append({**after[i], **{name: seen[name] for name in kept}})
    return review, samples


def _hash_seen(sample: Sample) -> str:
    """The `approval_hash` of what the sample shows: a decision under other thresholds or effects is refused."""
    return f"{sample['regions_hash']}-{sample['settings_hash']}"


def _find(ctx: Any, ids: Sequence[str]) -> dict[str, Sample]:
    # From the database: FiftyOne's own objects may be as they were at an earlier call.
    which = {"_id": {"$in": [ObjectId(i) for i in ids if ObjectId.is_valid(i)]}}
    return {str(d["_id"]): d for d in ctx.dataset._sample_collection.find(which, SEEN)}


def _regions(sample: Sample, label: str) -> Iterator[str]:
    """Ids of the regions that a label stands for: one, or none where it is a label of something else."""
    for name, many in LABELS.items():
        for found in (sample.get(name) or {}).get(many) or ():
            if str(found["_id"]) == label and found.get("region"):
                yield found["region"]


def _finish(ctx: Any, review: Review | ClipsReview, text: str) -> dict[str, Any]:
    ctx.ops.clear_selected_labels()
    ctx.ops.reload_samples()
    of_clips = "The command `video` writes the clips again."
    more = of_clips if isinstance(review, ClipsReview) else review.queue.progress()
    ctx.ops.notify(f"{text}. {more}", variant="success")
    return {"message": text}


def _count(number: int, name: str) -> str:
    return f"{number} {name}" if number == 1 else f"{number} {name}s"


class Operator(foo.Operator):
    """One button. A failure is said in the App, in the words of our errors."""

    operator_name = label = icon = ""
    is_form = False

    @property
    def config(self) -> Any:
        label = f"Review: {self.label}"
        return foo.OperatorConfig(name=self.operator_name, label=label, icon=self.icon, dynamic=self.is_form)

    def resolve_placement(self, ctx: Any) -> Any:
        if self.operator_name not in ("accept", "reject", "approve", "flag", "next"):
            return None
        if "records" not in info(ctx) and ("clips" not in info(ctx) or self.operator_name == "next"):
            return None  # somebody's own FiftyOne has other datasets, too
        button = types.Button(label=f"Review: {self.label}", icon=self.icon, prompt=False)
        return types.Placement(types.Places.SAMPLES_VIEWER_ACTIONS, button)

    def execute(self, ctx: Any) -> Any:
        try:
            return self.act(ctx)
        except AnonymizeError as e:
            if isinstance(e, StaleDecisionError):
                with contextlib.suppress(AnonymizeError):
                    _review(ctx).dataset.update()
                ctx.ops.reload_dataset()  # so that "look at it again" shows what there is now
            ctx.ops.notify(str(e), variant="error")
            return {"error": str(e)}

    def act(self, ctx: Any) -> Any:
        raise NotImplementedError


class _Form(Operator):
    """One that asks first."""

    is_form = True

    def resolve_input(self, ctx: Any) -> Any:
        inputs = types.Object()
        try:
            self.ask(inputs, ctx)
        except AnonymizeError as e:
            inputs.view("error", types.Error(label="Review", description=str(e)))
            return types.Property(inputs, invalid=True)
        return types.Property(inputs)

    def ask(self, inputs: Any, ctx: Any) -> None:
        raise NotImplementedError


class _OnLabels(Operator):
    def parameters(self, ctx: Any) -> dict[str, Any]:
        return {}

    def act(self, ctx: Any) -> Any:
        picks = [(str(p["sample_id"]), str(p["label_id"])) for p in ctx.selected_labels or ()]
        what, who = self.operator_name.replace("_", "-"), _who(ctx)
        if clips := _clips(ctx):
            count = clips.decide_on_labels(picks, what, who=who, **self.parameters(ctx))
            return _finish(ctx, clips, f"{self.label}: {_count(count, 'track')}, each in all its frames")
        review, samples = _samples(ctx, ids := list(dict.fromkeys(sample for sample, _ in picks)))
        shown = dict(zip(ids, samples, strict=True))
        work = [(shown[id]["photo"], region) for id, label in picks for region in _regions(shown[id], label)]
        if not work:
            raise RecordsError("select a region first: click it in the photo")
        given, seen = self.parameters(ctx), {sample["photo"]: dict(sample) for sample in samples}
        for path, region in dict.fromkeys(work):
            record = review.store.decide(path, what, who=who, expected=_hash_seen(seen[path]), id=region, **given)
            seen[path]["regions_hash"] = record.content_hash()
            review.refresh(path)
        return _finish(ctx, review, f"{self.label}: {_count(len(work), 'region')}")


class Accept(_OnLabels):
    operator_name, label, icon = "accept", "hide this", "visibility_off"


class Reject(_OnLabels):
    operator_name, label, icon = "reject", "false alarm", "visibility"


class SetKind(_Form, _OnLabels):
    operator_name, label = "set_kind", "set kind"

    def ask(self, inputs: Any, ctx: Any) -> None:
        inputs.enum("kind", _kinds(ctx), label="Kind", required=True)

    def parameters(self, ctx: Any) -> dict[str, Any]:
        return {"kind": str(ctx.params["kind"])}


class Add(_Form):
    operator_name, label = "add", "add missed region"

    def ask(self, inputs: Any, ctx: Any) -> None:
        inputs.enum("kind", _kinds(ctx), label="Kind", required=True)
        for name, text in (("x1", "Left"), ("y1", "Top"), ("x2", "Right"), ("y2", "Bottom")):
            inputs.float(name, label=f"{text}, px of the picture", required=True)
        for name, text in (("first", "From frame"), ("last", "To frame")) if _clips(ctx) else ():
            inputs.int(name, label=f"{text}, counted from 1", required=True)

    def act(self, ctx: Any) -> Any:
        box, kind = tuple(float(ctx.params[k]) for k in ("x1", "y1", "x2", "y2")), str(ctx.params["kind"])
        if clips := _clips(ctx):
            ids = _selected_ids(ctx)
            boxes = {int(ctx.params[k]) - 1: box for k in ("first", "last")}
            clips.decide_on_clips(ids[:1], "draw", who=_who(ctx), kind=kind, boxes=boxes)
            return _finish(ctx, clips, f"added a {kind}")
        review, samples = _samples(ctx, _selected_ids(ctx))
        if len(samples) != 1:
            raise RecordsError("open one photo")
        path, expected = samples[0]["photo"], _hash_seen(samples[0])
        review.store.decide(path, "add", who=_who(ctx), expected=expected, box=box, kind=kind)
        review.refresh(path)
        return _finish(ctx, review, f"added a {kind}")


class Extend(_Form, _OnLabels):
    operator_name, label = "extend", "hide it to a frame"

    def ask(self, inputs: Any, ctx: Any) -> None:
        inputs.int("frame", label="First or last frame in which it can be seen, counted from 1", required=True)

    def parameters(self, ctx: Any) -> dict[str, Any]:
        if not _clips(ctx):
            raise RecordsError("this is for clips")
        return {"frame": int(ctx.params["frame"]) - 1}


class _OnPhotos(Operator):
    def act(self, ctx: Any) -> Any:
        if clips := _clips(ctx):
            clips.decide_on_clips(ids := _selected_ids(ctx), self.operator_name, who=_who(ctx))
            return _finish(ctx, clips, f"{self.label}: {_count(len(ids), 'clip')}")
        review, samples = _samples(ctx, _selected_ids(ctx))
        for seen in samples:
            review.store.decide(seen["photo"], self.operator_name, who=_who(ctx), expected=_hash_seen(seen))
            review.refresh(seen["photo"])
        return _finish(ctx, review, f"{self.label}: {_count(len(samples), 'photo')}")


class Approve(_OnPhotos):
    operator_name, label, icon = "approve", "approve", "check_circle"


class Flag(_OnPhotos):
    operator_name, label, icon = "flag", "flag", "flag"


class Undo(_OnPhotos):
    operator_name, label, icon = "undo", "undo", "undo"


class SaveEdits(Operator):
    operator_name, label = "save_edits", "save drawn and moved boxes"

    def act(self, ctx: Any) -> Any:
        review = _review(ctx)
        changed = review.dataset.save_edits(_who(ctx))
        return _finish(ctx, review, f"changes of {_count(len(changed), 'photo')} saved")


class Next(Operator):
    operator_name, label, icon = "next", "next unreviewed", "skip_next"

    def act(self, ctx: Any) -> Any:
        review = review_with_edits(ctx)
        here = open_photo(ctx)
        item = review.queue.next(_who(ctx), after=here)
        if item is None:
            ctx.ops.notify(f"Nothing is left to review. {review.queue.progress()}", variant="success")
            return {"path": None}
        found = str(review.dataset.samples.find_one({"photo": item.path}, {"_id": 1})["_id"])
        if not len(ctx.view.select(found)):  # a filter that is set would hide it
            ctx.ops.clear_view()
        ctx.ops.open_sample(id=found)
        return {"path": item.path, "risk": item.risk, "reasons": item.reasons}


class Preview(Operator):
    operator_name, label, icon = "preview", "preview the anonymized photo", "preview"

    def act(self, ctx: Any) -> Any:
        review, samples = _samples(ctx, _selected_ids(ctx)[:1])
        picture = preview(review, samples[0]["photo"], size=1600)
        return {"image": "data:image/jpeg;base64," + base64.b64encode(picture).decode()}

    def resolve_output(self, ctx: Any) -> Any:
        outputs = types.Object()
        outputs.str("image", label="As an export writes it", view=types.ImageView())
        return types.Property(outputs)


class Export(_Form):
    operator_name, label, icon = "export", "export approved photos", "download"

    def ask(self, inputs: Any, ctx: Any) -> None:
        where = _review(ctx).output.name
        inputs.md(f"Approved photos are written to `{where}` beside the records. The others stay.", name="where")

    def act(self, ctx: Any) -> Any:
        review = review_with_edits(ctx)  # a box that was drawn after an approval makes its photo pending
        settings = review.store.settings
        done = export(review.store.path, review.output, settings, gate=gate(settings))
        text = f"{_count(done.done, 'photo')} exported, {len(done.withheld)} withheld, {len(done.failures)} failed"
        text += "".join(f"; {path}: {why}" for path, why in list(done.failures.items())[:1])
        ctx.ops.notify(text, variant="success" if done.ok else "error")
        return {"message": text}

    def resolve_output(self, ctx: Any) -> Any:
        outputs = types.Object()
        outputs.str("message", label="Export")
        return types.Property(outputs)


class Open(_Form):
    operator_name, label, icon = "open", "open records", "folder_open"

    def ask(self, inputs: Any, ctx: Any) -> None:
        inputs.str("records", label="Full path of a records file (photos.jsonl)", required=True)

    def act(self, ctx: Any) -> Any:
        path = Path(str(ctx.params["records"]).strip()).expanduser()
        if not path.is_absolute():
            raise RecordsError(f"give the full path of the records: {path} is looked for in {Path.cwd()}")
        review = registry.open(path)
        review.dataset.update()
        ctx.ops.open_dataset(review.name)
        ctx.ops.notify(str(review.queue.progress()), variant="success")
        return {"dataset": review.name}


def open_photo(ctx: Any) -> str | None:
    found = _find(ctx, [ctx.current_sample]) if ctx.current_sample else {}
    return next((str(d["photo"]) for d in found.values()), None)


ALL = (Accept, Reject, Add, SetKind, Extend, Approve, Flag, Undo, Next, SaveEdits, Preview, Export, Open)
