"""The whole app with detectors that need no time: `python -m tests.support.quick_server PORT FOLDER`.

They find the same regions in every photo, a crowd in a very wide one; wait as long as there is a file FOLDER/hold;
or fail at a photo that is taller than wide. So the browser tests see each state of the page as long as they like.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import app
from anonymize import audit
from anonymize.audit import Options, second_look
from anonymize.detectors import Image
from anonymize.errors import WeightsError
from anonymize.regions import Region
from anonymize.web import clip_audit
from anonymize.web.application import assemble
from anonymize.web.detector_pool import DetectorPool
from anonymize.web.policy import Policy
from anonymize.web.serving import serve

# In a photo of 800 x 600: two faces and a plate that are hidden by default, a face and a plate that are not.
REGIONS = [
    Region("face", (100, 100, 180, 200), 0.95, {"one": 0.95, "two": 0.9}),
    Region("face", (300, 120, 360, 190), 0.8, {"one": 0.8}),
    Region("plate", (500, 450, 600, 480), 0.7, {"three": 0.7}),
    Region("face", (600, 100, 640, 150), 0.15, {"one": 0.15}),
    Region("plate", (60, 520, 120, 540), 0.1, {"three": 0.1}),
]
# What only an audit sees: to be looked at, no leak.
SMALL = Region("face", (700, 500, 708, 508), 0.6, {"other": 0.6})
# In a wider one: rows of faces, each a little over the next.
CROWD = [
    Region("face", (20.0 + 28 * x, 40.0 + 90 * y, 60.0 + 28 * x, 95.0 + 90 * y), 0.9 - 0.01 * x, {"one": 0.9})
    for y in range(5)
    for x in range(40)
]


class Quick:
    """A detector for tests; `folder` has the file that holds it up."""

    name = "quick"
    weights: Mapping[str, str] = {}

    def __init__(self, folder: Path, *more: Region) -> None:
        self.hold, self.more = folder / "hold", more

    def detect(self, images: Sequence[Image]) -> list[list[Region]]:
        while self.hold.exists():
            time.sleep(0.02)
        if any(i.shape[0] > i.shape[1] for i in images):
            raise RuntimeError("no upright photos, please")
        return [CROWD if i.shape[1] > 1500 else [*REGIONS, *self.more] for i in images]


def audit_with(detector: Quick) -> None:
    """Audits look again with it, and with nothing else."""
    looker = second_look.Looker((detector,), {})
    vars(audit).update(load_reader=no_reader)
    vars(second_look).update(choose=lambda *_, **__: looker)


def no_reader(*_: object) -> None:
    raise WeightsError("a test reads no plates")


def main(port: int, folder: Path) -> None:
    rules = Policy()
    audit_with(Quick(folder, SMALL))
    clip_audit.OPTIONS = Options(is_looking=False, is_attacking=False)  # networks need time
    pool = DetectorPool(rules.defaults, detectors=[Quick(folder)])
    serve(assemble(rules, pool, folder / "data", **app.review_parts(rules, [])), "127.0.0.1", port)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
