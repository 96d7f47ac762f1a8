"""What the Review tab asks for, answered in values for JSON: what may be opened, a photo of the queue, a decision.

It needs no FiftyOne: corrections go to the records through the same store.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, ValidationError, validate_call

from anonymize.corrections import parse
from anonymize.errors import AnonymizeError, ReadOnlyError, RecordsError
from anonymize.settings import Settings
from anonymize.web.telling import failure_of, message_of

from .dataset import dataset_name
from .items import Item
from .reviews import Exporting, Review, Reviews, User
from .tab_view import FiftyOne, export_approved, in_list, other_thresholds, picture, view

ONLY_LOOKED_AT = "This sample is only to be looked at. Your own photos can be reviewed."
PREPARING = "This batch is still being worked on. It opens here when that is done."
AHEAD = 3  # photos that a browser fetches before they are asked for
LISTED = 30, 90  # photos of the queue that are listed before and behind the open one
OFFERED = ("batches", "open", "show", "next", "decide", "explore", "use", "export", "exported", "cancel")
Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Source:
    """What a visitor may open: a batch of theirs, or what is shared.

    Attributes:
        id: how the page names it. owner: the visitor's key whose photos these are; None: everybody's.
        is_temporary: its folder says nothing to a person, and goes with the page.
        is_ready: else it is still being worked on, and can be opened when that is done.
    """

    id: str
    label: str
    records: Path
    owner: str | None = None
    is_temporary: bool = False
    is_ready: bool = True


# A handler's arguments are what a browser sends: these keys, of these types, and no others.
_checked = validate_call(config=ConfigDict(strict=True, arbitrary_types_allowed=True))


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

    def answer(self, scope: Any, what: str, data: Any) -> tuple[int, Values]:
        """The status and the value of an answer; an error is {"error": a sentence}, with what is there to be seen."""
        if what not in OFFERED:
            return 404, {"error": "There is nothing here."}
        if not isinstance(data, dict):
            return 400, {"error": f"{what}: not an object"}
        try:
            value: Values = getattr(self, what)(scope, **data)
        except ValidationError as e:
            first = e.errors(include_url=False, include_input=False)[0]
            return 400, {"error": f"{'.'.join(map(str, first['loc'])) or what}: {first['msg']}"}
        except ReadOnlyError as e:
            return 403, {"error": str(e)}
        except (AnonymizeError, OSError) as e:
            return 409, {"error": message_of(e, self.own_machine)}
        return (409 if value.get("error") else 200), value

    # --- what may be opened ---

    @_checked
    def batches(self, scope: Any) -> Values:
        """What may be opened now, newest last."""
        found = [{"id": s.id, "label": s.label} for s in self.sources(scope) if s.is_ready]
        return {"batches": found, "paths": self.own_machine}

    @_checked
    def open(self, scope: Any, *, batch: str = "", records: str = "", photo: str = "") -> Values:
        """A batch by its id, or a records file by its path; at a photo, or at the one that comes first.

        One that is still worked on is not opened: the page asks again until it is.
        """
        user = self.who(scope)
        if self.own_machine and records.strip():
            found, batch = self.reviews.open(Path(records.strip()).expanduser()), ""
        else:
            source = next((s for s in self.sources(scope) if s.id == batch), None)
            if source is None:
                raise RecordsError("That batch is not there.")
            if not source.is_ready:
                return {"preparing": PREPARING}
            found = self.reviews.open(source.records, owner=source.owner)
        item = self._item(found, user, photo) if photo else self._next(found, user)
        return {**self._page(found, user, item), "batch": batch}

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

    @_checked
    def show(self, scope: Any, *, review: str, photo: str = "") -> Values:
        """That photo."""
        found, user = self._find(scope, review)
        return self._page(found, user, self._item(found, user, photo))

    @_checked
    def next(self, scope: Any, *, review: str, photo: str = "") -> Values:
        """The next photo that nobody decided on, behind that one."""
        found, user = self._find(scope, review)
        return self._page(found, user, self._next(found, user, after=photo or None))

    @_checked
    def decide(
        self,
        scope: Any,
        *,
        review: str,
        photo: str = "",
        what: str,
        hash: str = "",
        region: str | None = None,
        kind: str | None = None,
        box: list[float | int] | None = None,
    ) -> Values:
        """A decision; the photo as it is now, or the next one. `hash`: of regions and settings that the person saw."""
        found, user = self._find(scope, review, decide=True)
        try:
            if what == "undo":
                return self._undo(found, user, photo)
            given = {"what": what, "region": region, "kind": kind, "box": box}
            what, more = parse({name: value for name, value in given.items() if value is not None})
            found.store.decide(photo, what, who=user.name, expected=hash, **more)
            # Its sample in FiftyOne stays as it is: who looks at it there saw that, and is told before they decide.
        except AnonymizeError as e:
            return self._page(found, user, found.queue.item(photo), error=message_of(e, self.own_machine))
        if what in ("approve", "flag"):
            done = "Approved" if what == "approve" else "Flagged"
            return self._page(found, user, self._next(found, user, after=photo), text=f"{done}: {photo}")
        return self._page(found, user, found.queue.item(photo))

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

    @_checked
    def explore(self, scope: Any, *, review: str, face: float, plate: float) -> Values:
        """What other thresholds would hide."""
        found, _ = self._find(scope, review)
        _others(found, face, plate)  # they may be none
        return {"rows": other_thresholds(found, {"face": face, "plate": plate})}

    @_checked
    def use(self, scope: Any, *, review: str, face: float, plate: float) -> Values:
        """Other thresholds for this review, from now on."""
        found, user = self._find(scope, review, decide=True)
        found.store.use(_others(found, face, plate))
        return self._page(found, user, self._next(found, user), text="New thresholds are used.")

    @_checked
    def export(self, scope: Any, *, review: str, unreviewed: bool = False, audit: bool = False) -> Values:
        """Write what may go out; with an audit, in the background: `exported` says how far it is."""
        found, _ = self._find(scope, review, decide=True)
        temporary = [s.records for s in self.sources(scope) if s.is_temporary]
        write = partial(export_approved, found, unreviewed, self.own_machine and found.store.path not in temporary)
        with found.one_export():
            if not audit:
                found.exporting = None
                return write()
            found.exporting = Exporting(write, lambda e: {"error": failure_of(e, self.own_machine, "an export")})
            return found.exporting.values()

    @_checked
    def exported(self, scope: Any, *, review: str) -> Values:
        """How far the last export with an audit is, or what it answers."""
        found, _ = self._find(scope, review, decide=True)
        return found.exporting.values() if found.exporting else {}

    @_checked
    def cancel(self, scope: Any, *, review: str) -> Values:
        """Look for leaks in no more photos; what was written stays, and what failed is taken out."""
        found, _ = self._find(scope, review, decide=True)
        if found.exporting:
            found.exporting.cancel()
        return found.exporting.values() if found.exporting else {}

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


def _others(review: Review, face: float, plate: float) -> Settings:
    return review.store.settings.with_kind("face", threshold=face).with_kind("plate", threshold=plate)


def shared(records: Path, label: str) -> Source:
    """A records file that is everybody's."""
    return Source(dataset_name("review", records), label, records)
