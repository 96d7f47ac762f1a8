"""A review's FiftyOne dataset: made from records, kept up with them, with views and colors for what to look at.

The dataset is a lens: decisions live in the records. Opening the same records again updates it, and never makes a
second one. FiftyOne starts a database and takes seconds to import, so it is imported when a dataset is opened, not
before.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from anonymize.corrections import last_words, person
from anonymize.disk import AnyPath
from anonymize.errors import AnonymizeError, ReviewError, StaleDecisionError
from anonymize.records import Record

from .database import URI, answering, start
from .documents import (
    CORNERS,
    HIDDEN,
    REGION_FIELDS,
    TRUTH,
    Decision,
    Document,
    absolute,
    changes,
    is_same_box,
    to_document,
)
from .items import Item
from .queue import Queue
from .views import dress

if TYPE_CHECKING:
    from anonymize.evaluate.ground_truth import Annotations

PLUGIN = Path(__file__).parent / "plugin"
_starting = threading.Lock()
LOADED = 20_000  # photos, riskiest first: FiftyOne takes minutes and gigabytes for more
EVALUATION = "eval"


def fiftyone() -> ModuleType:
    """FiftyOne, imported and with its database started, without its trackers, with our plugin alone.

    The database is this process's own and ends with it, unless `FIFTYONE_DATABASE_URI` names another. Where FiftyOne
    is there already (the plugin in somebody's own), it is taken as it is.

    Raises:
        ReviewError: it cannot start, and why.
    """
    os.environ.setdefault("FIFTYONE_DO_NOT_TRACK", "true")
    # mongod 6.0.5 runs on Debian 12, but is older than FiftyOne likes.
    os.environ.setdefault("FIFTYONE_DATABASE_VALIDATION", "false")
    os.environ.setdefault("FIFTYONE_PLUGINS_DIR", str(PLUGIN))
    try:
        if "fiftyone" not in sys.modules and URI not in os.environ:
            with _starting:
                found = find_spec("fiftyone")
                mongod = Path((found and found.origin) or "").with_name("db") / "bin" / "mongod"
                if URI not in os.environ and mongod.is_file():
                    os.environ[URI] = start(mongod)
        import fiftyone as fo
    except ReviewError:
        raise
    except BaseException as e:  # it raises what it likes, SystemExit included
        if isinstance(e, KeyboardInterrupt):
            raise
        raise ReviewError(f"FiftyOne cannot start: {' '.join(str(e).split()) or e!r}") from e
    return fo


def dataset_name(kind: str, place: AnyPath) -> str:
    """The dataset of a records file ("review"), or of a folder of them ("clips"): its name, and a hash of its path."""
    path = os.path.realpath(place)
    words = Path(path).name if kind == "clips" else f"{Path(path).parent.name}-{Path(path).stem}"
    stem = re.sub(r"[^A-Za-z0-9]+", "-", words).strip("-")[:40]
    return f"{kind}-{stem}-{hashlib.blake2s(os.fsencode(path), digest_size=4).hexdigest()}"


class ReviewDataset:
    """A records file's dataset in FiftyOne.

    Args:
        queue: the review's queue over the records.
        truth: ground truth, where there is some; then hits, misses and leaks are fields too. Not given: the ground
            truth that this dataset was last opened with, if any.

    Raises:
        ReviewError: FiftyOne cannot start.
    """

    def __init__(self, queue: Queue, truth: Annotations | None = None) -> None:
        self.queue, self.store, self.truth = queue, queue.store, truth
        self.name = dataset_name("review", self.store.path)
        self._guard = threading.RLock()
        fo = fiftyone()
        try:
            if fo.dataset_exists(self.name):
                self.dataset = fo.load_dataset(self.name)
                if set(self._columns()) - set(self.dataset.get_field_schema()):
                    fo.delete_dataset(self.name)  # of another version, or without ground truth: records have it all
            is_new = not fo.dataset_exists(self.name)
            if is_new:
                self.dataset = self._make(fo)
            elif self.truth is None:
                self.truth = self._kept_truth()
            self.update()
            if is_new or "bookkeeping" not in {g.name for g in self.dataset.app_config.sidebar_groups or ()}:
                dress(fo, self.dataset, self.store.settings.kinds, has_truth=self.truth is not None)
        except AnonymizeError:
            raise
        except Exception as e:
            raise ReviewError(f"the review's dataset cannot be made: {e}") from e

    @property
    def samples(self) -> Any:
        """The collection of samples. FiftyOne's own objects take a minute for what the database takes in a second."""
        return self.dataset._sample_collection

    def _columns(self) -> list[str]:
        return [*REGION_FIELDS, CORNERS, "photo", "faint", "settings_hash", *([TRUTH] if self.truth else [])]

    def _make(self, fo: ModuleType) -> Any:
        # What is temporary (a batch of the page) leaves nothing behind: FiftyOne drops it when it starts anew.
        is_temporary = Path(os.path.realpath(self.store.path)).is_relative_to(os.path.realpath(tempfile.gettempdir()))
        dataset = fo.Dataset(self.name, persistent=not is_temporary)
        dataset.info = {"records": os.path.realpath(self.store.path)}  # the plugin's operators go there
        box = {"label": "face", "bounding_box": [0.0, 0.0, 1.0, 1.0], "height_px": 1.0}
        box |= {"eval": "", "eval_id": ""} if self.truth else {}
        found = {"confidence": 0.5, "region": "", "status": "auto", "was": "auto", "seen_by": ["x"], "chance": 0.5}
        drawn = fo.Polyline(label="plate", points=[[(0.0, 0.0)]], closed=True, confidence=0.5, region="")
        fields: dict[str, Any] = dict.fromkeys(
            ("photo", "regions_hash", "settings_hash", "faint", "state", "error"), ""
        )
        fields |= {"review": "pending", "risk": 0.5, "reasons": ["x"], "shown_at": datetime.now(UTC)}
        fields |= {f: fo.Detections(detections=[fo.Detection(**box, **found)]) for f in REGION_FIELDS}
        fields[CORNERS] = fo.Polylines(polylines=[drawn])
        if self.truth:
            real = fo.Detection(**box, covered=0.5, leak=False, iscrowd=False)
            fields[TRUTH] = fo.Detections(detections=[real])
            fields |= dict.fromkeys(("leaks", "eval_tp", "eval_fp", "eval_fn"), 0)
        shape = fo.Sample("/shape.jpg", metadata=fo.ImageMetadata(width=1, height=1), **fields)
        # A sample with everything declares the fields; the real ones go to the database as they are.
        dataset.add_sample(shape, dynamic=True)
        if self.truth:
            # Registers the run that evaluation patches ask for; the values are ours, written with each sample.
            dataset.evaluate_detections(HIDDEN, gt_field=TRUTH, eval_key=EVALUATION, iscrowd="iscrowd", progress=False)
        dataset.delete_samples([shape.id])
        for name in ("photo", "risk", "review"):
            dataset.create_index(name, unique=name == "photo")
        return dataset

    def _kept_truth(self) -> Annotations | None:
        """The ground truth that the dataset was made with: opened without it (the plugin knows none), it stays."""
        from anonymize.evaluate.ground_truth import Annotations, Photo, Truth

        if TRUTH not in self.dataset.get_field_schema():
            return None
        photos = {}
        for d in self.samples.find({f"{TRUTH}.detections": {"$exists": True}}, {"photo": 1, TRUTH: 1}):
            truths = [
                Truth(t["label"], absolute(t["bounding_box"], 1, 1), t["iscrowd"]) for t in d[TRUTH]["detections"]
            ]
            photos[d["photo"]] = Photo(tuple(truths), (1, 1))
        return Annotations(photos) if photos else None

    def update(self) -> int:
        """Bring the dataset up to the records; how many samples changed.

        Raises:
            StaleDecisionError: as `save_edits`. RecordsError: the records cannot be read. ReviewError: the database
                failed.
        """
        with self._guard, answering():
            self.save_edits(person())  # left behind by a FiftyOne that was closed: the samples are written over here
            items = self.queue.items(0, LOADED)
            known = {d["photo"]: d for d in self.samples.find({}, {"photo": 1, "state": 1, "created_at": 1})}
            changed, work = 0, self._work(items, known)
            while some := list(islice(work, 500)):
                self.samples.bulk_write(some, ordered=False)
                changed += len(some)
            if known:
                self.samples.delete_many({"_id": {"$in": [d["_id"] for d in known.values()]}})
            if changed or known:
                self.dataset._reload(hard=True)
            return changed + len(known)

    def _work(self, items: Sequence[Item], known: dict[str, Any]) -> Iterator[Any]:
        """What is to be written. Of `known`, the samples by photo, those that are no longer of a photo remain."""
        from pymongo import InsertOne, ReplaceOne

        for place, item in enumerate(items):
            state, old = self._state(item), known.pop(item.path, None)
            if old is None or old.get("state") != state:
                document = {**self._document(self.store.records[item.path], item), "state": state}
                document = _with_keys(document, self.dataset, old, place)
                yield ReplaceOne({"_id": old["_id"]}, document) if old else InsertOne(document)

    def _state(self, item: Item) -> str:
        """What a sample shows; when it is the same, the sample is."""
        text = repr((item, self.store.settings.export_hash(), bool(self.truth)))
        return hashlib.blake2s(text.encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()

    def _document(self, record: Record, item: Item) -> Document:
        return to_document(record, item, self.store.header, self.store.settings, self._compare(record))

    def _compare(self, record: Record) -> Any:
        if self.truth is None or record.error or record.path not in self.truth.photos:
            return None
        from anonymize.evaluate import evaluate
        from anonymize.evaluate.ground_truth import Annotations

        only = Annotations({record.path: self.truth.photos[record.path]})
        return evaluate([record], only, self.store.settings, curves=False, crowds=True).photos[0]

    def save_edits(self, who: str) -> list[str]:
        """Write what was drawn, moved or deleted in any sample since it was shown to the records; which photos changed.

        Behind our server every edit is in the records before it is acknowledged. Anybody's own FiftyOne keeps edits in
        its database and tells nobody: so they are looked for, before each decision and before an export.

        Raises:
            StaleDecisionError: as `sync`; the next call goes on with the other samples.
        """
        with self._guard, answering():
            known = self.store.refresh()
            edited = list(self.samples.find({"$expr": {"$ne": ["$last_modified_at", "$shown_at"]}}, {"photo": 1}))
            return [d["photo"] for d in edited if d["photo"] in known and self.sync(str(d["_id"]), who)]

    def sync(self, sample_id: str, who: str) -> list[Decision]:
        """Write what a person changed in one sample's labels to the records, as decisions; then show what they became.

        Raises:
            StaleDecisionError: the photo changed meanwhile; the sample shows its regions as they are now.
        """
        from bson import ObjectId

        with self._guard, answering():
            document = self.samples.find_one({"_id": ObjectId(sample_id)})
            if document is None:
                raise StaleDecisionError("the sample is gone")
            path, expected = document["photo"], document["regions_hash"]
            record = self.store[path]
            try:
                if record.content_hash() != expected:
                    raise StaleDecisionError(f"{path} changed meanwhile{last_words(record)}; look at it again")
                made = changes(document, record)
                for what, given in made:
                    expected = self.store.decide(path, what, who=who, expected=expected, **given).content_hash()
            finally:
                self._show(path, document)
            return made

    def show(self, path: str) -> None:
        """Write one photo's sample anew from its record, after a decision outside FiftyOne."""
        with self._guard, answering():
            self._show(path, None)

    def _show(self, path: str, edited: Mapping[str, Any] | None) -> None:
        item = self.queue.item(path)
        old = edited or self.samples.find_one({"photo": path}, {"photo": 1, "created_at": 1, "last_modified_at": 1})
        if old is None or item is None:
            return  # new since the last update, which will make it
        document = self._document(self.store[path], item)
        if edited is not None:
            # The App goes on editing by places in its lists, and compares the time of the last change: both stay, until
            # an update lays the sample out anew.
            keep_label_order(document, edited)
            document["settings_hash"] = edited["settings_hash"]  # what lies where is as it was under these
        document["state"] = "" if edited is not None else self._state(item)
        # An edit that came in since the sample was read is not written over: whoever looks for edits next finds it.
        which = {"_id": old["_id"]} | ({"last_modified_at": old["last_modified_at"]} if edited is not None else {})
        self.samples.replace_one(which, _with_keys(document, self.dataset, old, is_same=edited is not None))


def keep_label_order(document: Document, edited: Mapping[str, Any]) -> None:
    """Put labels where the App has them: in its fields, in its order; those that it does not know come last.

    A box that is the same but for rounding stays as the App has it: it would send its own again, without end. So does
    a drawn box that was rejected: no region any more, but the App shows it, and may be told otherwise.
    """
    fresh = {label["_id"]: (f, label) for f in REGION_FIELDS for label in document[f]["detections"]}
    size = document["metadata"]["width"], document["metadata"]["height"]
    for name in REGION_FIELDS:
        document[name]["detections"] = labels = []
        known = set(fresh)
        for its in (edited.get(name) or {}).get("detections") or ():
            if its["_id"] in fresh:
                label = fresh.pop(its["_id"])[1]
                if is_same_box(label["bounding_box"], its["bounding_box"], *size):
                    label["bounding_box"] = its["bounding_box"]
                labels.append(label)
            elif its["_id"] in known or its.get("status") == "rejected":
                labels.append({**its, "region": ""})
    for name, label in fresh.values():
        document[name]["detections"].append(label)


def _with_keys(
    document: Document, dataset: Any, old: Mapping[str, Any] | None, place: int = 0, is_same: bool = False
) -> Document:
    """The keys that FiftyOne adds to a sample. `is_same`: with the time of the last change that the App knows."""
    now = datetime.now(UTC)
    keys: Document = {
        "_media_type": "image",
        "_rand": (place * 0.6180339887498949) % 1.0,
        "_dataset_id": dataset._doc.id,
        "created_at": (old or {}).get("created_at", now),
        "last_modified_at": old["last_modified_at"] if old and is_same else now,
    }
    keys["shown_at"] = keys["last_modified_at"]  # where they differ, somebody edited the sample since
    if old:
        keys["_id"] = old["_id"]
    return {**document, **keys}
