"""The reviews that are open in this server: which records files, and who may see them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anonymize.corrections import person
from anonymize.errors import RecordsError, ReviewError
from anonymize.evaluate.ground_truth import Annotations
from anonymize.web.job_view import audit_words
from anonymize.web.jobs import AuditProgress

from .clip_dataset import ClipsReview
from .dataset import ReviewDataset, dataset_name
from .queue import Queue
from .store import ReviewStore

log = logging.getLogger(__name__)

# The answer to whoever may not have something: not whether it is there.
NOTHING = "There is nothing here for you."


@dataclass(frozen=True, slots=True)
class User:
    """Who asks. `key`: tells visitors apart (a session's). `name`: written into decisions. `is_reviewer`: may open
    FiftyOne. None of it comes from the request's own words."""

    key: str
    name: str
    is_reviewer: bool = True


class Exporting:
    """An export that is audited, in the background: an audit takes seconds per photo, longer than a browser waits.

    It starts at once.

    Args:
        work: writes and audits; what it returns is the answer.
        failed: the answer to what it raises.
    """

    def __init__(
        self, work: Callable[[AuditProgress], dict[str, Any]], failed: Callable[[Exception], dict[str, Any]]
    ) -> None:
        self._progress, self._answer = AuditProgress(), dict[str, Any]()
        self._work, self._failed = work, failed
        self._thread = threading.Thread(target=self._run, name="audited export", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._answer = self._work(self._progress)
        except Exception as e:
            self._answer = self._failed(e)

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def cancel(self) -> None:
        """Audit no more photos after the one in work."""
        self._progress.stop.set()

    def values(self) -> dict[str, Any]:
        """How far it is, and its answer at the end."""
        if self.is_running:
            p = self._progress
            return {"running": {"text": " · ".join(audit_words(p)), "share": p.done / max(p.of, 1)}}
        return self._answer


@dataclass
class Review:
    """One records file under review.

    Attributes:
        name: the FiftyOne dataset's; also how the page names it.
        owner: the visitor's key whose photos these are; None: of everybody whom the server lets in.
        exporting: the last export that is audited.
    """

    store: ReviewStore
    queue: Queue
    name: str
    owner: str | None = None
    truth: Annotations | None = None
    exporting: Exporting | None = None
    _dataset: ReviewDataset | None = None
    _guard: threading.Lock = field(default_factory=threading.Lock)

    @property
    def dataset(self) -> ReviewDataset:
        """The FiftyOne dataset; made at the first call, which takes seconds.

        Raises:
            ReviewError: FiftyOne cannot start.
        """
        with self._guard:
            if self._dataset is None:
                if self.owner is not None:
                    raise ReviewError(
                        "FiftyOne's App shows one state to everybody, so photos of one visitor stay out of it"
                    )
                self._dataset = ReviewDataset(self.queue, self.truth)
            return self._dataset

    @property
    def output(self) -> Path:
        """Where approved photos go: beside the records. A browser does not choose where a server writes."""
        return self.store.path.with_name(f"{self.store.path.stem}-approved")

    @property
    def is_shown(self) -> bool:
        """Whether the FiftyOne dataset was made."""
        return self._dataset is not None

    @property
    def shown(self) -> Any:
        """The `fiftyone.Dataset`."""
        return self.dataset.dataset

    def update(self) -> None:
        """The dataset shows the records as they are."""
        self.dataset.update()

    def homes(self) -> list[str]:
        """Folders that no answer names."""
        return [str(self.store.path.absolute().parent), str(self.store.header.root)]

    def refresh(self, path: str) -> None:
        """After a decision outside FiftyOne: its sample follows, at the next update where the database fails now."""
        if self._dataset is not None:
            try:
                self._dataset.show(path)
            except ReviewError as e:  # the decision is in the records
                log.warning("%s", e)


class Reviews:
    """All reviews of a server. Thread-safe."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str | None], Review] = {}
        self._clips: dict[str, ClipsReview] = {}
        self._guard = threading.Lock()

    def open(self, records: Path, *, owner: str | None = None, truth: Annotations | None = None) -> Review:
        """The review of a records file; the same one each time.

        Raises:
            RecordsError: not a records file.
        """
        name = dataset_name("review", records)
        with self._guard:
            review = self._open.get((name, owner))
            if review is None:
                store = ReviewStore(records)
                review = self._open[name, owner] = Review(store, Queue(store), name, owner, truth)
            return review

    def open_clips(self, folder: Path) -> ClipsReview:
        """The review of a folder of clips' records; the same one each time.

        Raises:
            ReviewError: there is none in it.
        """
        name = dataset_name("clips", folder)
        with self._guard:
            if name not in self._clips:
                self._clips[name] = ClipsReview(folder)
            return self._clips[name]

    @property
    def clips(self) -> list[ClipsReview]:
        """Those that are open: of everybody who may open FiftyOne."""
        with self._guard:
            return list(self._clips.values())

    def of(self, user: User) -> list[Review]:
        with self._guard:
            for key in [k for k, r in self._open.items() if not r.store.path.exists()]:
                self._open.pop(key)  # a visitor left, and their photos with them
            return [r for r in self._open.values() if r.owner in (None, user.key)]

    def find(self, name: str, user: User) -> Review:
        """A review by its name, as this visitor may see it.

        Raises:
            RecordsError: there is none for them; whether there is one for others is not said.
        """
        for review in self.of(user):
            if review.name == name:
                return review
        raise RecordsError("there is no such review here")


LOCAL_USER = User("", person())

# The reviews of this process: the server, the Review tab and the plugin's operators share their books and queues.
registry = Reviews()
