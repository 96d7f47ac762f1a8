"""What the Review tab asks for, answered in values for JSON: what may be opened, a photo of the queue, a decision.

It needs no FiftyOne: corrections go to the records through the same store.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from anonymize.corrections import parse
from anonymize.errors import AnonymizeError, ReadOnlyError, RecordsError
from anonymize.settings import Settings
from anonymize.web.telling import failure_of, message_of

from .dataset import dataset_name
from .items import Item
from .reviews import Exporting, Review, Reviews, User
from .tab_view import FiftyOne, export_approved, in_list, other_thresholds, picture, view

ONLY_LOOKED_AT = "This sample is only to be looked at. Your own photos can be reviewed."
AHEAD = 3  # photos that a browser fetches before they are asked for
LISTED = 30, 90  # photos of the queue that are listed before and behind the open one
Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Source:
    """What a visitor may open: a batch of theirs, or what is shared.

    Attributes:
        id: how the page names it. owner: the visitor's key whose photos these are; None: everybody's.
        is_temporary: its folder says nothing to a person, and goes with the page.
    """

    id: str
    label: str
    records: Path
    owner: str | None = None
    is_temporary: bool = False


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Open(_Asked):
    """A batch by its id, or a records file by its path; at a photo, or at the one that comes first."""

    batch: str = ""
    records: str = ""
    photo: str = ""


class _Review(_Asked):
    review: str


class _Photo(_Review):
    photo: str = ""


class _Decision(_Photo):
    """`hash`: of the regions and settings that the person saw."""

    what: str
    hash: str = ""
    region: str | None = None
    kind: str | None = None
    box: list[float | int] | None = None


class _Thresholds(_Review):
    face: float
    plate: float


class _Export(_Review):
    unreviewed: bool = False
    audit: bool = False


@dataclass(frozen=True)
class ReviewHandlers:
    """The handlers, by the names under which a browser asks for them.

    Attributes:
        reviews: the open ones, shared with the mount.
        who: the visitor of a request (its scope), as the guard in front knows them.
        sources: what a visitor may open.
        own_machine: the visitor is at this machine: any records file may be opened by its path, exports stay in
            folders, and nobody else is there for whom photos would be kept apart.
        read_only: what belongs to everybody is only looked at (a public demo's sample).
    """

    reviews: Reviews
    who: Callable[[Any], User]
    sources: Callable[[Any], Sequence[Source]]
    own_machine: bool
    read_only: bool = False
    _exporting: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, scope: Any, what: str, data: Any) -> tuple[int, Values]:
        """The status and the value of an answer; an error is {"error": a sentence}, with what is there to be seen."""
        known: Mapping[str, tuple[type[_Asked], Callable[..., Values]]] = {
            "batches": (_Asked, self.batches),
            "open": (_Open, self.open),
            "show": (_Photo, self.show),
            "next": (_Photo, self.next),
            "decide": (_Decision, self.decide),
            "explore": (_Thresholds, self.explore),
            "use": (_Thresholds, self.use),
            "export": (_Export, self.export),
            "exported": (_Review, self.exported),
            "cancel": (_Review, self.cancel),
        }
        if what not in known:
            return 404, {"error": "There is nothing here."}
        model, handler = known[what]
        try:
            value = handler(scope, model.model_validate(data))
        except ValidationError as e:
            first = e.errors(include_url=False, include_input=False)[0]
            return 400, {"error": f"{'.'.join(map(str, first['loc'])) or what}: {first['msg']}"}
        except ReadOnlyError as e:
            return 403, {"error": str(e)}
        except (AnonymizeError, OSError) as e:
            return 409, {"error": message_of(e, self.own_machine)}
        return (409 if value.get("error") else 200), value

    # --- what may be opened ---

    def batches(self, scope: Any, _: _Asked) -> Values:
        """What may be opened now, newest last."""
        found = [{"id": s.id, "label": s.label} for s in self.sources(scope)]
        return {"batches": found, "paths": self.own_machine}

    def open(self, scope: Any, ask: _Open) -> Values:
        user = self.who(scope)
        if self.own_machine and ask.records.strip():
            review, batch = self.reviews.open(Path(ask.records.strip()).expanduser()), ""
        else:
            source = next((s for s in self.sources(scope) if s.id == ask.batch), None)
            if source is None:
                raise RecordsError("That batch is not there, or it is still being worked on.")
            review, batch = self.reviews.open(source.records, owner=source.owner), source.id
        item = self._item(review, user, ask.photo) if ask.photo else self._next(review, user)
        return {**self._page(review, user, item), "batch": batch}

    def _find(self, scope: Any, name: str, decide: bool = False) -> tuple[Review, User]:
        """The review; `decide`: to decide on, not only to look at."""
        user = self.who(scope)
        review = self.reviews.find(name, user)
        if decide and self._is_sample(review):
            raise ReadOnlyError(ONLY_LOOKED_AT)
        return review, user

    def _is_sample(self, review: Review) -> bool:
        return self.read_only and review.owner is None

    # --- one photo after the other ---

    def _claimant(self, review: Review, user: User) -> str:
        """In whose name photos are kept from others: nobody's where there are no others, or all see all of a sample."""
        return "" if self.own_machine or review.owner is not None or self._is_sample(review) else user.name

    def _next(self, review: Review, user: User, after: str | None = None) -> Item | None:
        return review.queue.next(self._claimant(review, user), after=after)

    def _item(self, review: Review, user: User, path: str) -> Item:
        """One photo, taken over from whoever had it."""
        item = review.queue.item(path)
        if item is None:
            raise RecordsError("That photo is not in this batch.")
        review.queue.claim(path, self._claimant(review, user))
        return item

    def show(self, scope: Any, ask: _Photo) -> Values:
        """That photo."""
        review, user = self._find(scope, ask.review)
        return self._page(review, user, self._item(review, user, ask.photo))

    def next(self, scope: Any, ask: _Photo) -> Values:
        """The next photo that nobody decided on, behind that one."""
        review, user = self._find(scope, ask.review)
        return self._page(review, user, self._next(review, user, after=ask.photo or None))

    def decide(self, scope: Any, ask: _Decision) -> Values:
        """A decision; the photo as it is now, or the next one."""
        review, user = self._find(scope, ask.review, decide=True)
        try:
            if ask.what == "undo":
                return self._undo(review, user, ask.photo)
            given = ask.model_dump(exclude={"review", "photo", "hash"}, exclude_none=True)
            what, more = parse(given)
            review.store.decide(ask.photo, what, who=user.name, expected=ask.hash, **more)
            # Its sample in FiftyOne stays as it is: who looks at it there saw that, and is told before they decide.
        except AnonymizeError as e:
            item = review.queue.item(ask.photo)
            return self._page(review, user, item, error=message_of(e, self.own_machine))
        if what in ("approve", "flag"):
            done = "Approved" if what == "approve" else "Flagged"
            return self._page(review, user, self._next(review, user, after=ask.photo), text=f"{done}: {ask.photo}")
        return self._page(review, user, review.queue.item(ask.photo))

    def _undo(self, review: Review, user: User, photo: str) -> Values:
        """Take back this person's last decision on a photo, else their last one anywhere; that photo is shown.

        Raises:
            RecordsError: there is none.
        """
        mine = {p: when for p, (who, when) in review.queue.decided().items() if who == user.name}
        last = photo if photo in mine else max(mine, key=lambda p: datetime.fromisoformat(mine[p]), default=None)
        if last is None:
            raise RecordsError("There is nothing of yours to undo.")
        review.store.decide(last, "undo", who=user.name)
        return self._page(review, user, self._item(review, user, last), text=f"Undone: {last}")

    # --- all photos ---

    def _others(self, review: Review, thresholds: Mapping[str, float]) -> Settings:
        settings = review.store.settings
        for kind, threshold in thresholds.items():
            settings = settings.with_kind(kind, threshold=threshold)
        return settings

    def explore(self, scope: Any, ask: _Thresholds) -> Values:
        """What other thresholds would hide."""
        review, _ = self._find(scope, ask.review)
        wanted = {"face": ask.face, "plate": ask.plate}
        self._others(review, wanted)  # they may be none
        return {"rows": other_thresholds(review, wanted)}

    def use(self, scope: Any, ask: _Thresholds) -> Values:
        """Other thresholds for this review, from now on."""
        review, user = self._find(scope, ask.review, decide=True)
        review.store.use(self._others(review, {"face": ask.face, "plate": ask.plate}))
        return self._page(review, user, self._next(review, user), text="New thresholds are used.")

    def export(self, scope: Any, ask: _Export) -> Values:
        """Write what may go out; with an audit, in the background: `exported` says how far it is."""
        review, _ = self._find(scope, ask.review, decide=True)
        temporary = [s.records for s in self.sources(scope) if s.is_temporary]
        says_where = self.own_machine and review.store.path not in temporary
        with self._exporting:
            if review.exporting and review.exporting.is_running:
                raise RecordsError("These photos are being exported already.")
            if not ask.audit:
                review.exporting = None
                return export_approved(review, ask.unreviewed, says_where)
            review.exporting = Exporting(
                partial(export_approved, review, ask.unreviewed, says_where),
                lambda e: {"error": failure_of(e, self.own_machine, "an export")},
            )
            return review.exporting.values()

    def exported(self, scope: Any, ask: _Review) -> Values:
        """How far the last export with an audit is, or what it answers."""
        review, _ = self._find(scope, ask.review, decide=True)
        return review.exporting.values() if review.exporting else {}

    def cancel(self, scope: Any, ask: _Review) -> Values:
        """Look for leaks in no more photos; what was written stays, and what failed is taken out."""
        review, _ = self._find(scope, ask.review, decide=True)
        if review.exporting:
            review.exporting.cancel()
        return self.exported(scope, ask)

    def _page(self, review: Review, user: User, item: Item | None, error: str = "", text: str = "") -> Values:
        """What the tab shows."""
        queue, progress = review.queue, review.queue.progress()
        elsewhere = queue.elsewhere(self._claimant(review, user))
        place = None if item is None else queue.place(item.path)
        start = max(0, (place or 0) - LISTED[0])
        behind = queue.behind(item.path if item else None)
        ahead = list(islice((i for i in behind if i.path not in elsewhere and i != item), AHEAD))
        if place is not None:
            ahead += queue.items(max(0, place - 1), place) + queue.items(place + 1, place + 2)
        fiftyone: FiftyOne = "picture" if self.read_only else "link" if user.is_reviewer else "nothing"
        return {
            **({"error": error} if error else {}),
            "text": text,
            "review": review.name,
            "photo": None if item is None else view(review, item),
            "place": None if place is None else place + 1,
            "progress": {"text": progress.words, "done": progress.done, "photos": progress.photos - progress.errors},
            "list": [in_list(i, elsewhere) for i in queue.items(start, (place or 0) + LISTED[1])],
            "start": start + 1,
            "ahead": [picture(review, i.path) for i in ahead],
            "thresholds": {k: review.store.settings.kind(k).threshold for k in ("face", "plate")},
            "note": queue.note,
            "fiftyone": fiftyone if review.owner is None or fiftyone == "picture" else "nothing",
            "is_sample": self._is_sample(review),
        }


def shared(records: Path, label: str) -> Source:
    """A records file that is everybody's."""
    return Source(dataset_name("review", records), label, records)
