"""Predictor: detectors, loaded once, and what they say of images and photos in memory."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path

from . import images, labels, weights
from .detectors import Detector, Image, at_once, create
from .detectors.detector import kinds_of
from .detectors.tiled import search
from .detectors.upright import Upright, turn, turn_all_back
from .detectors.upright import load as load_upright
from .disk import AnyPath
from .errors import AnonymizeError, DetectionError, SettingsError
from .records import Record, escape
from .regions import Region, suppress
from .settings import Settings
from .time_limit import Budget, call
from .weights.registry import registry

# Counted up when detectors, or what they are shown of a photo, change: then every photo is searched anew. (Weights and
# calibrations count by themselves.) A record's `detection` begins with it.
DETECTION_VERSION = 10


class Predictor:
    """Finds regions in images and photos. Its detectors are loaded at the first use, once, for all threads.

    Args:
        settings: which detectors, and how what they find is put together; or a preset's name.
        detectors: used instead of those that the settings name (composed ones, a FakeDetector).
        upright: tells how photos lie. Default: with detectors that the settings name, `upright.load`; with given ones,
            nothing does, and they see each photo as it came.
        at_once: how many photos given detectors may be shown at the same time, by several threads.
        weights_dir: where weights are kept instead of the user's cache folder.
        trust: load pickles from outside the registry.
        fetching: told of weights on their way.
    """

    def __init__(
        self,
        settings: Settings | str | None = None,
        *,
        detectors: Sequence[Detector] | None = None,
        upright: Upright | None = None,
        at_once: int = 1,
        weights_dir: AnyPath | None = None,
        trust: bool = False,
        fetching: weights.Progress | None = None,
    ) -> None:
        self.settings = Settings().with_preset(settings) if isinstance(settings, str) else settings or Settings()
        self._given, self._given_upright, self._given_at_once = detectors, upright, at_once
        self._weights_dir = None if weights_dir is None else Path(weights_dir)
        self._create = partial(create, weights_dir=self._weights_dir, trust=trust, progress=fetching)
        self._load_upright = partial(load_upright, weights_dir=self._weights_dir, progress=fetching)
        self._loading = threading.Lock()

    @cached_property
    def _loaded(self) -> tuple[list[Detector], Upright | None]:
        if self._given is None:
            detectors = [self._create(n, self.settings) for n in self._names]
            upright: Upright | None = self._load_upright(self.settings)
        else:
            detectors, upright = list(self._given), self._given_upright
        if self.settings.kind("plate").mask != "quad":
            return detectors, upright
        from .detectors.plate_corners import WithCorners, load

        corners = load(self.settings, weights_dir=self._weights_dir)
        return [WithCorners(detector, corners) for detector in detectors], upright

    @property
    def _names(self) -> list[str]:
        if not (names := self.settings.detectors):
            raise SettingsError("no detector is named, so nothing would be looked for")
        return names

    @property
    def detectors(self) -> list[Detector]:
        with self._loading:
            return self._loaded[0]

    @property
    def at_once(self) -> int:
        """How many photos are worth searching side by side, a thread each."""
        if self._given is not None:
            return self._given_at_once
        return min(at_once(name, self.settings.device) for name in self._names)

    def check_hides(self, settings: Settings | None = None) -> None:
        """Raise SettingsError where these settings hide a kind that no detector looks for, and nobody said `none`."""
        kinds = (settings or self.settings).kinds
        named = {"face": self.settings.face_detector, "plate": self.settings.plate_detector}
        if (found := kinds_of(*self.detectors)) is None:
            return
        meant = {labels.meant(k, kinds) or k for k in found}
        if missing := [k for k in kinds if k not in meant and named.get(k, "") != "none"]:
            looked_for = ", ".join(sorted(found)) or "nothing"
            raise SettingsError(f"{', '.join(missing)} would be left in the open: the detectors look for {looked_for}")

    @property
    def upright(self) -> Upright | None:
        """What tells how photos lie."""
        with self._loading:
            return self._loaded[1]

    @property
    def detector_weights(self) -> dict[str, Mapping[str, str]]:
        """Detector -> its weights (name -> sha256), as records keep them."""
        return {d.name: dict(d.weights) for d in self.detectors}

    @property
    def detection_hash(self) -> str:
        """What a record's `detection` is compared with: the settings that find, the weights, and their calibration."""
        known, used = registry(), self.detector_weights
        numbers = {m: (known[m].calibration, known[m].in_crops) for w in used.values() for m in w if m in known}
        turned = self.upright.weights if self.upright else {}
        text = json.dumps([self.settings.detection_hash(), used, numbers, dict(turned)], sort_keys=True)
        return f"{DETECTION_VERSION}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    def predict(self, batch: Sequence[Image], *, turns: Sequence[int] | None = None) -> list[tuple[Region, ...]]:
        """Run every detector on images in memory (a camera's frames, say).

        Args:
            batch: uint8 RGB arrays (H, W, 3). One that seems to lie on its side is searched in other turns, too.
            turns: the quarter turns in which all are searched (`turns_of`), where that is known.

        Returns:
            For each image its regions, all kinds, by descending score, down to the floor score.

        Raises:
            DetectionError: a detector failed; there is no partial answer.
        """
        every = [self.turns_of(image) if turns is None else tuple(turns) for image in batch]
        if all(t == (0,) for t in every):
            return [self._suppress(found) for found in self._answers(batch, self._budgets())]
        each = zip(batch, every, strict=True)
        return [self._suppress(self._in_turns(image, t, self._budgets())) for image, t in each]

    def predict_photo(self, photo: images.Photo) -> tuple[Region, ...]:
        """`predict` on everything that a viewer can show of one photo (`Photo.views`), merged."""
        # Cut to max_regions once, of all views: were each cut before, too few might be left for `hide` to notice it.
        found: list[Region] = []
        turns: tuple[int, ...] = ()
        budgets = self._budgets()  # for all views, turns and windows together
        for view in photo.views():
            turns = turns or self.turns_of(view)
            found += self._in_turns(view, turns, budgets)
        return self._suppress(found)

    def predict_photos(self, photos: Sequence[images.Photo]) -> list[tuple[Region, ...]]:
        """`predict_photo` of each; detectors see together what has one view and lies upright."""
        if len(photos) == 1:  # its views in memory one after the other
            return [self.predict_photo(photos[0])]
        views = [list(photo.views()) for photo in photos]
        together = [i for i, some in enumerate(views) if len(some) == 1 and self.turns_of(some[0]) == (0,)]
        answers = self._answers([views[i][0] for i in together], self._budgets(len(together)))
        found = {i: self._suppress(answer) for i, answer in zip(together, answers, strict=True)}
        return [found[i] if i in found else self.predict_photo(photo) for i, photo in enumerate(photos)]

    def record(self, photo: images.Photo, path: str) -> Record:
        """Detect in one loaded photo; `path` is stored escaped."""
        return self.records([photo], [path])[0]

    def records(self, photos: Sequence[images.Photo], paths: Sequence[str]) -> list[Record]:
        """Detect in several loaded photos; as `record`."""
        found = zip(photos, paths, self.predict_photos(photos), strict=True)
        return [self.record_of(photo, path, regions) for photo, path, regions in found]

    def record_of(self, photo: images.Photo, path: str, regions: Sequence[Region]) -> Record:
        """The record of a loaded photo in which these regions were found."""
        return Record(
            path=escape(path),
            sha256=photo.sha256,
            width=photo.width,
            height=photo.height,
            regions=tuple(regions),
            detectors=self.detector_weights,
            detection=self.detection_hash,
            warnings=photo.warnings,
        )

    def turns_of(self, image: Image) -> tuple[int, ...]:
        """The quarter turns in which an image is searched: one, or all that may make it upright."""
        try:
            return self.upright.turns(image) if self.upright else (0,)
        except AnonymizeError:
            raise
        except Exception as e:
            raise DetectionError(f"looking how the photo lies failed: {e!r}") from e

    def _budgets(self, photos: int = 1) -> list[Budget]:
        """Each detector's seconds for one photo, or for several together."""
        return [Budget(self.settings.max_seconds * photos) for _ in self.detectors]

    def _in_turns(self, image: Image, turns: Sequence[int], budgets: Sequence[Budget]) -> list[Region]:
        return [r for k in turns for r in turn_all_back(self._answers([turn(image, k)], budgets)[0], k, image)]

    def _answers(self, batch: Sequence[Image], budgets: Sequence[Budget]) -> list[list[Region]]:
        answers = [self._ask(*asked, batch) for asked in zip(self.detectors, budgets, strict=True)]
        return [[region for answer in answers for region in answer[i]] for i in range(len(batch))]

    def _ask(self, detector: Detector, budget: Budget, batch: Sequence[Image]) -> list[list[Region]]:
        found = call(partial(search, detector, batch, self.settings), budget, detector)
        names = {k: self._name(k, detector) for k in {region.kind for regions in found for region in regions}}
        return [
            [r if (kind := names[r.kind]) == r.kind else r.replace(kind=kind, id="") for r in regions]
            for regions in found
        ]

    def _name(self, kind: str, detector: Detector) -> str:
        """The name that the settings have for a kind that a detector found ("Screen" -> "screen").

        Raises:
            DetectionError: a kind that nobody hides and the detector does not say that it finds: a misspelled one would
                be left in the open.
        """
        if kind in self.settings.kinds:
            return kind
        if name := labels.meant(kind, self.settings.kinds):
            return name
        if kind not in {*(kinds_of(detector) or ()), *labels.KINDS.values()}:
            raise DetectionError(
                f"{detector.name} found a {kind!r}, which is not hidden: hide that kind (--hide), or name it in "
                "the detector's `kinds`"
            )
        return kind

    def _suppress(self, found: Sequence[Region]) -> tuple[Region, ...]:
        return tuple(suppress(found, self.settings.iou_threshold, self.settings.max_regions))
