"""What is taken for a plate where there is none: crops without plate or vehicle, and drawn shop fronts and road signs.

    python -m bench.false_plates crops PHOTOS ANNOTATIONS OUT   160 crops to look at, with contact sheets
    python -m bench.false_plates drawn OUT                      50 drawn pictures
    python -m bench.false_plates count FOLDER… [--preset balanced]

`crops` leaves out every place near a marked plate or a vehicle that the COCO network sees at .05; a person deletes what
it still shows of either, before `count`. `count` prints false plates a picture.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import cv2
import numpy as np

from anonymize.detectors import create
from anonymize.evaluate.ground_truth import read as read_annotations
from anonymize.predictor import Predictor
from anonymize.regions import boxes, intersections
from anonymize.settings import PRESETS, Settings

SIDE, CROPS, DRAWN = 448, 160, 50  # of the crops, some show a vehicle in spite of all
FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_TRIPLEX, cv2.FONT_HERSHEY_COMPLEX)
NAMES = (
    *("BAKERY", "CAFE 24", "HOTEL", "PIZZA 2GO", "BANK", "SALE -50%", "OPEN 9-18", "BAR 77", "PHARMACY", "TAXI"),
    *("KIOSK", "BOOKS & MORE", "TEL 555 0142", "NO PARKING", "ROOM 12", "BUS 42", "EXIT 7", "A 81", "STOP", "50"),
)
DARK = ((30, 30, 30), (120, 20, 20), (20, 60, 120), (10, 90, 40))
LIGHT = ((245, 245, 240), (250, 220, 60), (235, 235, 255), (255, 255, 255))


def picture(seed: int) -> np.ndarray:
    """A shop front (even seeds) or a road sign (odd ones), RGB uint8 (512, 768, 3), a little out of true and noisy."""
    rng = np.random.default_rng(seed)
    image = np.empty((512, 768, 3), np.uint8)
    (_shop if seed % 2 == 0 else _signs)(image, rng)
    corners = np.float32([(0, 0), (768, 0), (768, 512), (0, 512)])
    turned = corners + rng.uniform(-45, 45, (4, 2)).astype(np.float32)
    warp = cv2.getPerspectiveTransform(corners, turned)
    image = cv2.warpPerspective(image, warp, (768, 512), borderMode=cv2.BORDER_REFLECT)
    image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.4, 1.4)))
    return np.clip(image + rng.normal(0, rng.uniform(2, 8), image.shape), 0, 255).astype(np.uint8)


def _board(image: np.ndarray, box: tuple[int, int, int, int], rng: np.random.Generator) -> None:
    """A board with a frame and one or two lines of letters that fit it."""
    x1, y1, x2, y2 = box
    ground, ink = LIGHT[rng.integers(4)], DARK[rng.integers(4)]
    if rng.random() < 0.4:
        ground, ink = ink, ground
    cv2.rectangle(image, (x1, y1), (x2, y2), ground, -1)
    if rng.random() < 0.6:
        cv2.rectangle(image, (x1 + 2, y1 + 2), (x2 - 2, y2 - 2), ink, max(1, (y2 - y1) // 30))
    lines = int(rng.integers(1, 3)) if y2 - y1 > 40 else 1
    for n in range(lines):
        text, font = NAMES[rng.integers(len(NAMES))], FONTS[rng.integers(4)]
        room = (y2 - y1) / lines
        scale = min(room * 0.55 / 22, (x2 - x1) * 0.85 / (len(text) * 20))
        (width, height), _ = cv2.getTextSize(text, font, scale, 2)
        place = ((x1 + x2 - width) // 2, int(y1 + room * (n + 0.5) + height / 2))
        cv2.putText(image, text, place, font, scale, ink, max(1, round(scale * 2.2)), cv2.LINE_AA)


def _shop(image: np.ndarray, rng: np.random.Generator) -> None:
    image[:] = rng.integers(90, 210, 3)
    for y in range(0, 512, 24):  # bricks
        cv2.line(image, (0, y), (768, y), tuple(int(v) for v in image[0, 0] * 0.85), 1)
    _board(image, (60, 50, 708, int(rng.integers(110, 160))), rng)
    for x in (70, 300, 530):
        cv2.rectangle(image, (x, 190), (x + 170, 470), tuple(int(v) for v in rng.integers(20, 110, 3)), -1)
        cv2.rectangle(image, (x, 190), (x + 170, 470), (225, 225, 225), 4)
        for _ in range(int(rng.integers(1, 4))):
            left, top = x + int(rng.integers(8, 70)), int(rng.integers(205, 420))
            _board(image, (left, top, left + int(rng.integers(50, 90)), top + int(rng.integers(16, 48))), rng)


def _signs(image: np.ndarray, rng: np.random.Generator) -> None:
    image[:300] = rng.integers(150, 235, 3)
    image[300:] = rng.integers(60, 120, 3)
    for _ in range(int(rng.integers(2, 5))):
        x, y = int(rng.integers(80, 680)), int(rng.integers(60, 260))
        r = int(rng.integers(24, 70))
        cv2.line(image, (x, y), (x, 420), (110, 110, 110), max(3, r // 8))
        if rng.random() < 0.5:
            _board(image, (x - r * 2, y - r // 2, x + r * 2, y + r // 2), rng)
        else:
            cv2.circle(image, (x, y), r, (250, 250, 250), -1)
            cv2.circle(image, (x, y), r, (200, 20, 30), max(3, r // 6))
            number = str(int(rng.integers(2, 13)) * 10)
            scale = r / 38
            (w, h), _ = cv2.getTextSize(number, FONTS[1], scale, 2)
            cv2.putText(
                image, number, (x - w // 2, y + h // 2), FONTS[1], scale, (15, 15, 15), max(2, r // 14), cv2.LINE_AA
            )


def crops(folder: Path, source: Path) -> list[tuple[str, np.ndarray]]:
    """Windows of SIDE px in which neither a marked plate nor a vehicle is, one per photo, in a seeded order."""
    names = sorted(p.name for p in folder.iterdir())
    random.Random(0).shuffle(names)
    known = read_annotations(source, folder, names, ("plate",))
    predictor = create("coco", Settings())
    rng = np.random.default_rng(0)
    out: list[tuple[str, np.ndarray]] = []
    for name in names:
        if len(out) == CROPS or name not in known.photos:
            continue
        image = cv2.cvtColor(cv2.imread(str(folder / name)), cv2.COLOR_BGR2RGB)
        height, width = image.shape[:2]
        if min(height, width) < SIDE:
            continue
        vehicles = [r for r in predictor.detect([image])[0] if r.kind == "vehicle" and r.score >= 0.05]
        taken = np.vstack([boxes(vehicles), *(np.array([t.box]) for t in known.photos[name].at(width, height))])
        for _ in range(30):
            x, y = int(rng.integers(0, width - SIDE + 1)), int(rng.integers(0, height - SIDE + 1))
            if not intersections(np.array([[x, y, x + SIDE, y + SIDE]], float), taken).any():
                out.append((name, image[y : y + SIDE, x : x + SIDE]))
                break
    return out


def sheets(images: list[np.ndarray], target: Path, columns: int = 10, side: int = 150) -> None:
    """Contact sheets of 50 pictures each, numbered in their order."""
    for first in range(0, len(images), 50):
        cells = []
        for i, image in enumerate(images[first : first + 50], first):
            cell = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
            cells.append(cv2.putText(cell, str(i), (4, 16), FONTS[0], 0.5, (255, 0, 255), 1))
        cells += [np.zeros((side, side, 3), np.uint8)] * (-len(cells) % columns)
        rows = [np.hstack(cells[i : i + columns]) for i in range(0, len(cells), columns)]
        cv2.imwrite(str(target / f"sheet-{first // 50}.png"), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))


def write(images: list[np.ndarray], target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images):
        cv2.imwrite(str(target / f"{i:03d}.png"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))


def count(folders: list[Path], preset: str) -> tuple[int, int]:
    """(pictures, plates that the preset hides in them)."""
    settings = Settings().with_preset(preset).replace(face_detector="none")
    predictor, pictures, plates = Predictor(settings), 0, 0
    for path in (p for f in folders for p in sorted(f.glob("[0-9]*.png"))):
        image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        found = [r for r in predictor.predict([image])[0] if r.kind == "plate" and settings.hides(r)]
        pictures, plates = pictures + 1, plates + len(found)
        if found:
            print(path, *(f"{r.score:.2f} {[round(v) for v in r.box]}" for r in found))
    return pictures, plates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("crops")
    for name in ("photos", "annotations", "out"):
        one.add_argument(name, type=Path)
    commands.add_parser("drawn").add_argument("out", type=Path)
    last = commands.add_parser("count")
    last.add_argument("folders", type=Path, nargs="+")
    last.add_argument("--preset", default="balanced", choices=PRESETS)
    args = parser.parse_args()
    if args.command == "count":
        pictures, plates = count(args.folders, args.preset)
        print(f"{args.preset}: {plates} false plates in {pictures} pictures, {plates / max(pictures, 1):.3f} a picture")
        return
    images = [i for _, i in crops(args.photos, args.annotations)] if args.command == "crops" else None
    images = images if images is not None else [picture(seed) for seed in range(DRAWN)]
    write(images, args.out)
    sheets(images, args.out)


if __name__ == "__main__":
    main()
