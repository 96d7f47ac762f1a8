"""Ask the teachers: what several public networks see on the training photos, kept raw, a line of JSON a photo.

    python -m models.recipes.teach DATA/plates-train OUT/plates-train.jsonl

A stopped run goes on where it was. `label.py` makes labels of these files; asking takes most of the time (about a
second a photo on two cores), so it is done once and apart.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from anonymize.detectors import Detector, Image, create
from anonymize.regions import Region
from anonymize.settings import Settings
from models.recipes.plates.marks import CLEANERS, load

# `mirror:` sees the photo's mirror image; `raw:` gives the network's own scores. Both are this script's alone.
MIRROR, RAW = "mirror:", "raw:"
FACES = (
    "raw:retinaface-mobilenet@1536",
    "mirror:raw:retinaface-mobilenet@2048",
    "raw:centerface@1280",
    "mirror:raw:centerface@1280",
)
PLATES = ("plates@640", "plates@1280", *CLEANERS)
TEACHERS = {  # by data set: nobody need look for plates where there are none, nor enlarge small photos for them
    "plates-train": (*FACES, *PLATES, "coco@640"),
    "faces-masked": (*FACES, "plates@640", CLEANERS[0], "coco@640"),
    "no-plates": (*FACES, "coco@640"),
}
FLOOR = 0.05  # score below which nothing is kept


class Mirrored:
    """A detector that sees an image's mirror image; its regions are those of the image."""

    def __init__(self, detector: Detector) -> None:
        self.name, self.weights, self._detector = f"{MIRROR}{detector.name}", detector.weights, detector

    def detect(self, images: Sequence[Image]) -> list[list[Region]]:
        found = self._detector.detect([np.ascontiguousarray(i[:, ::-1]) for i in images])
        return [[_mirror(r, i.shape[1]) for r in some] for some, i in zip(found, images, strict=True)]


def _mirror(region: Region, width: int) -> Region:
    x1, y1, x2, y2 = region.box
    return region.replace(box=(width - x2, y1, width - x1, y2), landmarks=None, corners=None, id="")


def teacher(name: str, settings: Settings) -> Detector:
    """The detector of a teacher's name."""
    if name.startswith(MIRROR):
        return Mirrored(teacher(name.removeprefix(MIRROR), settings))
    return create(name.removeprefix(RAW), settings, is_calibrated=not name.startswith(RAW))


def ask(photo: Path, teachers: Mapping[str, Detector]) -> dict[str, object]:
    """What the teachers see: {"file", "width", "height", "found": {teacher: [[kind, x1, y1, x2, y2, score]]}}."""
    image = load(photo)
    found = {}
    for name, detector in teachers.items():
        seen = [r for r in detector.detect([image])[0] if r.score >= FLOOR]
        found[name] = [[r.kind, *(round(v, 1) for v in r.box), round(r.score, 3)] for r in seen]
    return {"file": photo.name, "width": image.shape[1], "height": image.shape[0], "found": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder of one of the data sets, with images/")
    parser.add_argument("output", type=Path, help="a .jsonl file; what it has is not asked again")
    given = parser.parse_args()
    done: set[str] = set()
    if given.output.exists():
        done = {json.loads(line)["file"] for line in given.output.read_text().splitlines()}
    settings = Settings()
    teachers = {name: teacher(name, settings) for name in TEACHERS[given.data.name]}
    photos = sorted((given.data / "images").iterdir())
    # Spread over the folder, so that a part of it is a fair sample: labels can be made and looked at early.
    photos = [p for start in range(16) for p in photos[start::16]]
    with open(given.output, "a", encoding="utf-8") as file:
        for photo in photos:
            if photo.name not in done:
                file.write(json.dumps(ask(photo, teachers), separators=(",", ":")) + "\n")
                file.flush()


if __name__ == "__main__":
    main()
