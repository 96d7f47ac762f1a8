"""Labels for training, both classes on every photo: a data set's own marks, and what the teachers add or doubt.

    python -m models.recipes.label DATA TEACHER_FOLDER models/recipes/labels [--sheets FOLDER]

DATA holds plates-train, faces-masked and no-plates; TEACHER_FOLDER what `teach.py` wrote of each. Out comes one COCO
file a data set (category 1 face, 2 plate; `iscrowd` 1: may be one, teaches nothing; `by`: mark or teacher).
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymize.detectors.calibrated import Calibration
from anonymize.detectors.context_rescoring import at_head
from anonymize.detectors.ensemble import ABSENT, PRIOR
from anonymize.probability import log_odds, sigmoid
from anonymize.regions import iou
from anonymize.weights.registry import model
from models.recipes.plates.marks import CLEANERS, clean, load, read_marks
from models.recipes.teach import FACES

SETS = ("plates-train", "faces-masked", "no-plates")
FACE, PLATE, PERSON = 1, 2, 3  # a person is no label: a carrier of pasted faces
LEAST = 7.0  # px; a lower face or plate is no label: nobody can say what it is
LARGE = 64.0  # px; a face of this height is seen by both face networks
WHEELS = 0.45  # of a vehicle's height, from below: nobody looks out there
CLEAR = (
    22.0  # px; where people marked the faces, what they left out of this height is a hand or a coat (sheets looked at)
)
Boxes = NDArray[np.float64]


@dataclass(frozen=True)
class Label:
    """One box (x1, y1, x2, y2) of a class.

    Attributes:
        ignore: it may be one, or not.
        by: "mark" (of a person) or "teacher".
        score: the teachers' best.
    """

    category: int
    box: tuple[float, float, float, float]
    ignore: bool = False
    by: str = "mark"
    score: float = 1.0


@dataclass(frozen=True)
class Bar:
    """When teachers' raw scores make a face: both networks' `both`, or one's `alone` in both of its views."""

    both: float
    alone: float
    doubt: float


# RetinaFace and CenterFace are sure of themselves in their own ways (see anonymize/detectors/calibrated.py).
RETINA, CENTER = Bar(0.5, 0.97, 0.3), Bar(0.35, 0.75, 0.25)
SIDES = (1536, 2048, 1280, 1280)  # px; long sides at which the views of `teach.FACES` look
# What all views together must say (0-1) where a person has a head, and elsewhere on a person. On sheets nearly all
# from .25 at a head were heads, and what is no face among them is a head from behind.
AT_HEAD, ON_PERSON = 0.25, 0.5


def groups(views: Sequence[Boxes], same: float = 0.4) -> Iterator[list[tuple[int, Boxes]]]:
    """Boxes with scores (N, 5) of several views, those of one thing together: [(view, row)], best score first."""
    rows = sorted(((i, row) for i, view in enumerate(views) for row in view), key=lambda pair: -pair[1][4])
    free = np.ones(len(rows), bool)
    every = np.array([row[:4] for _, row in rows]).reshape(-1, 4)
    overlaps = iou(every, every)
    for i in range(len(rows)):
        if not free[i]:
            continue
        chosen: dict[int, Boxes] = {}
        for j in [i, *np.flatnonzero(free & (overlaps[i] > same))]:
            free[j] = False
            chosen.setdefault(rows[j][0], rows[j][1])
        yield list(chosen.items())


def together(scores: Mapping[int, float], height: float) -> float:
    """What the views of `teach.FACES` say together, 0-1, of a face that is `height` px high in a photo of 1 px."""
    odds = []
    for network, view in (
        ("retinaface-mobilenet", 0),
        ("retinaface-mobilenet", 1),
        ("centerface", 2),
        ("centerface", 3),
    ):
        said = scores.get(view, 0.0)
        calibration = Calibration(*model(network).calibration["face"])
        odds.append(log_odds(max(calibration.probability(said, height * SIDES[view]) if said else 0.0, ABSENT)))
    return sigmoid((sum(odds) / 2 - log_odds(PRIOR)) / math.sqrt(2))


def faces(
    views: Sequence[Boxes], marks: Boxes, persons: Boxes, vehicles: Boxes, *, is_marked: bool, long_side: float
) -> list[Label]:
    """Faces of one photo from two views each of RetinaFace and of CenterFace.

    Both networks say "face" to wheels, lamps, bells and, at large sizes, to whole cars (seen on contact sheets). So a
    face away from persons must be surer to be a label; and what only one network half sees away from persons, what is
    large there, and what lies where a vehicle has its wheels is left as what it is: a hard negative.

    Args:
        views: four times boxes with raw scores (N, 5), in the order of `teach.FACES`.
        marks: boxes (N, 4) of marked faces.
        persons, vehicles: boxes (N, 4) that a COCO network sees.
        is_marked: somebody marked the photo's faces: what the teachers see beside the marks is doubtful at best.
        long_side: px, of the photo.
    """
    out = [Label(FACE, tuple(box), float(box[3] - box[1]) < LEAST) for box in marks.tolist()]
    windows = vehicles * 1.0
    windows[:, 3] -= WHEELS * (vehicles[:, 3] - vehicles[:, 1])
    for group in groups(views):
        box = np.average([row[:4] for _, row in group], axis=0, weights=[row[4] for _, row in group])
        score = {view: float(row[4]) for view, row in group}
        r, c = (sorted((score.get(2 * n, 0.0), score.get(2 * n + 1, 0.0))) for n in (0, 1))
        tall = box[3] - box[1]
        on_head = bool(at_head(box[None], persons).any())
        said = 0.0 if is_marked else together(score, tall / long_side)
        if max(r[1] / RETINA.doubt, c[1] / CENTER.doubt) < 1 and not (on_head and said >= AT_HEAD):
            continue
        if len(marks) and _touches(box, marks):
            continue
        on_person = bool(len(persons)) and _within(box, persons)
        on_vehicle = bool(len(windows)) and _within(box, windows)
        both = r[1] >= (RETINA.both if on_person else 0.9) and c[1] >= (CENTER.both if on_person else 0.5)
        alone = on_person and (r[0] >= RETINA.alone or c[0] >= CENTER.alone)
        together_ = said >= AT_HEAD if on_head else on_person and said >= ON_PERSON
        sure = (both or (alone and not is_marked) or together_) and tall >= LEAST
        one_only = min(r[1], c[1]) < 0.1
        if not on_person and not on_vehicle and len(vehicles) and _within(box, vehicles):
            continue  # a wheel or a lamp
        if not sure and not on_person and (tall > LARGE or (one_only and not on_vehicle)):
            continue
        if not sure and is_marked and tall > CLEAR:
            continue
        out.append(Label(FACE, tuple(box.tolist()), not sure, "teacher", max(r[1], c[1])))
    return out


def plates(file: str, found: Mapping[str, Boxes], marks: Boxes, vehicles: Boxes, width: int) -> list[Label]:
    """Plates of a photo whose plates are marked: the marks cleaned by three public networks, the doubtful rest."""
    cleaned = clean(file, marks, {name: found[name] for name in CLEANERS}, vehicles, width)
    out = [
        Label(PLATE, tuple(b), by="mark" if i < len(marks) else "teacher")
        for i, b in enumerate(cleaned.plates.tolist())
    ]
    out += [Label(PLATE, tuple(b), True, "teacher") for b in cleaned.ignored.tolist()]
    return out + _unmarked(found, np.array([label.box for label in out]).reshape(-1, 4), least=0.6)


def unmarked_plates(found: Mapping[str, Boxes], vehicles: Boxes) -> list[Label]:
    """Plates of a photo of people, whose plates nobody marked: where our network and a public one are sure.

    Away from vehicles all that the networks saw on such photos was lettering, bricks and coats (contact sheets looked
    at): no label, hard negatives.
    """
    out = []
    for group in groups([found["plates@640"], found[CLEANERS[0]]]):
        score = {view: float(row[4]) for view, row in group}
        own, other = score.get(0, 0.0), score.get(1, 0.0)
        box = group[0][1][:4]
        if max(own, other) < 0.25 or not (len(vehicles) and _within(box, vehicles)):
            continue
        sure = own >= 0.8 and other >= 0.3 and box[3] - box[1] >= LEAST
        out.append(Label(PLATE, tuple(box.tolist()), not sure, "teacher", max(own, other)))
    return out


def _unmarked(found: Mapping[str, Boxes], known: Boxes, least: float) -> list[Label]:
    """What our network is sure of and nobody marked: neither a plate nor none."""
    out = []
    for (_, row), *_rest in groups([found["plates@640"], found["plates@1280"]]):
        if row[4] >= least and not (len(known) and _touches(row[:4], known)):
            out.append(Label(PLATE, tuple(row[:4].tolist()), True, "teacher", float(row[4])))
    return out


def _touches(box: Boxes, others: Boxes) -> bool:
    """Whether a box and one of the others are the same thing, or one lies mostly in the other."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    inner = np.clip(high - low, 0, None).prod(1)
    area, areas = np.prod(box[2:] - box[:2]), np.prod(others[:, 2:] - others[:, :2], axis=1)
    return bool((inner > 0.4 * np.minimum(area, areas)).any())


def _within(box: Boxes, others: Boxes) -> bool:
    """Whether at least .7 of a box lies in one of the others."""
    inner = np.clip(np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2]), 0, None).prod(1)
    return bool((inner > 0.7 * np.prod(box[2:] - box[:2])).any())


def label(row: Mapping[str, object], kind: str, faces_marked: Boxes, plates_marked: Boxes) -> list[Label]:
    """All labels of a photo of the data set `kind`, from a line of its teachers' file."""
    found = {
        name: {
            k: np.array([r[1:] for r in seen if r[0] == k], np.float64).reshape(-1, 5)
            for k in ("face", "plate", "vehicle", "person")
        }
        for name, seen in row["found"].items()  # type: ignore[attr-defined]
    }
    persons, cars = (found["coco@640"][k] for k in ("person", "vehicle"))
    carriers = [Label(PERSON, tuple(p[:4].tolist()), False, "teacher", float(p[4])) for p in persons if p[4] >= 0.25]
    persons, cars = persons[persons[:, 4] >= 0.15, :4], cars[cars[:, 4] >= 0.35, :4]
    views = [found[name]["face"] for name in FACES]
    long_side = float(max(row["width"], row["height"]))  # type: ignore[call-overload]
    out = faces(views, faces_marked, persons, cars, is_marked=kind == "faces-masked", long_side=long_side)
    seen = {name: of["plate"] for name, of in found.items()}
    if kind == "plates-train":
        out += plates(str(row["file"]), seen, plates_marked, cars, int(row["width"]))  # type: ignore[call-overload]
    elif kind == "faces-masked":
        out += unmarked_plates(seen, cars)
    return out + carriers


def to_coco(photos: Sequence[tuple[Mapping[str, object], Sequence[Label]]]) -> dict[str, object]:
    """COCO, compact: boxes with one decimal, cut at the photo's edges."""
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for i, (row, labels) in enumerate(sorted(photos, key=lambda pair: str(pair[0]["file"])), 1):
        width, height = float(row["width"]), float(row["height"])  # type: ignore[arg-type]
        images.append({"id": i, "file_name": row["file"], "width": row["width"], "height": row["height"]})
        for one in labels:
            x1, y1, x2, y2 = (min(max(v, 0.0), limit) for v, limit in zip(one.box, (width, height) * 2, strict=True))
            if x2 - x1 < 1 or y2 - y1 < 1:
                continue
            size = [round(v, 1) for v in (x1, y1, x2 - x1, y2 - y1)]
            facts = {"id": len(annotations) + 1, "image_id": i, "category_id": one.category, "bbox": size}
            facts |= {"area": round(size[2] * size[3], 1), "iscrowd": int(one.ignore), "by": one.by}
            annotations.append(facts | ({"score": round(one.score, 2)} if one.by == "teacher" else {}))
    categories = [{"id": FACE, "name": "face"}, {"id": PLATE, "name": "plate"}, {"id": PERSON, "name": "person"}]
    return {"categories": categories, "images": images, "annotations": annotations}


def read(path: Path, categories: Collection[int] = (FACE, PLATE)) -> dict[str, list[Label]]:
    """A labels file (.json.gz) -> file name -> labels of these categories."""
    data = json.loads(gzip.decompress(path.read_bytes()))
    names = {image["id"]: image["file_name"] for image in data["images"]}
    out: dict[str, list[Label]] = {name: [] for name in names.values()}
    for a in data["annotations"]:
        if a["category_id"] not in categories:
            continue
        x, y, w, h = a["bbox"]
        one = Label(a["category_id"], (x, y, x + w, y + h), bool(a["iscrowd"]), a["by"], a.get("score", 1.0))
        out[names[a["image_id"]]].append(one)
    return out


def sheet(images: Path, chosen: Sequence[tuple[str, Label]], columns: int = 14, cell: int = 110) -> NDArray[np.uint8]:
    """Crops around boxes, three times as wide as these, the score above each: for a person's eye. RGB."""
    tiles = []
    for file, one in chosen:
        photo = load(images / file)
        x1, y1, x2, y2 = one.box
        half = max(1.5 * max(x2 - x1, y2 - y1), 12.0)
        cx, cy = (x1 + x2) / 2, (y1 + y2) / 2
        f = cell / (2 * half)
        matrix = np.array([[f, 0, -f * (cx - half)], [0, f, -f * (cy - half)]])
        tile = cv2.warpAffine(photo, matrix, (cell, cell), flags=cv2.INTER_AREA if f < 1 else cv2.INTER_LINEAR)
        a, b = (round(f * (v - c + half)) for v, c in ((x1, cx), (y1, cy)))
        c, d = (round(f * (v - c + half)) for v, c in ((x2, cx), (y2, cy)))
        cv2.rectangle(tile, (a, b), (c, d), (255, 60, 60), 1)
        cv2.putText(tile, f"{one.score:.2f} {y2 - y1:.0f}", (2, 10), cv2.FONT_HERSHEY_SIMPLEX, 0.34, (255, 255, 0), 1)
        tiles.append(tile)
    tiles += [np.zeros((cell, cell, 3), np.uint8)] * (-len(tiles) % columns)
    return np.concatenate([np.concatenate(tiles[i : i + columns], axis=1) for i in range(0, len(tiles), columns)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("teachers", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--sheets", type=Path, help="contact sheets of what was added and of what is doubtful")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    for kind in SETS:
        if not (path := given.teachers / f"{kind}.jsonl").exists():
            continue
        annotations = given.data / kind / "annotations.json"
        marked = [read_marks(annotations, category) for category in (FACE, PLATE)]
        photos = []
        for line in path.read_text().splitlines():
            row = json.loads(line)
            photos.append((row, label(row, kind, *(m[row["file"]] for m in marked))))
        text = json.dumps(to_coco(photos), separators=(",", ":"))
        (given.output / f"{kind}.json.gz").write_bytes(gzip.compress(text.encode(), 9, mtime=0))
        names = {FACE: "face", PLATE: "plate", PERSON: "person"}
        counts = Counter(
            (names[o.category], o.by, "ignore" if o.ignore else "label") for _, some in photos for o in some
        )
        print(kind, len(photos), "photos", *(f"{' '.join(k)} {n}" for k, n in sorted(counts.items())), sep="; ")
        for category, ignore in ((c, i) for c in (FACE, PLATE) for i in (False, True) if given.sheets):
            rows = [(str(r["file"]), o) for r, some in photos for o in some if o.by == "teacher"]
            rows = [(f, o) for f, o in rows if (o.category, o.ignore) == (category, ignore)]
            rng = np.random.default_rng(0)
            rows = [rows[i] for i in sorted(rng.permutation(len(rows))[:140], key=lambda i: rows[i][1].score)]
            if rows:
                given.sheets.mkdir(parents=True, exist_ok=True)
                name = f"{kind}-{names[category]}-{'doubtful' if ignore else 'added'}.png"
                cv2.imwrite(str(given.sheets / name), sheet(given.data / kind / "images", rows)[:, :, ::-1])


if __name__ == "__main__":
    main()
