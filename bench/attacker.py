"""What an attacker gets back who knows the program, its settings and the place of what is hidden.

    python -m bench.attacker plates [--trials 20] [--candidates 1000]
    python -m bench.attacker faces PHOTOS ANNOTATIONS

`plates`: a drawn plate is hidden; the attacker draws every candidate into the same photo, hides it the same way, and
sorts the candidates by distance to what was published; only the plate's grain is unknown. Printed: the true plate's
rank. Equal distances share theirs, so where nothing is left it is half the number of candidates.

`faces`: faces of different people are put into the same place and hidden. Recognizers look for each in a gallery
of the open faces, changed a little as another photo would be ("open"), and of those hidden the same way ("alike").
Printed: how many are found first; chance is one. The recognizers are OpenCV's LBPH and eigenfaces; and dlib's network
where the packages dlib-bin and face-recognition-models are installed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymize import effects, images, masks
from anonymize.evaluate.ground_truth import read as read_annotations
from anonymize.regions import Region
from anonymize.settings import EFFECTS, Settings
from models.recipes.plates.synth import LAYOUTS, draw_plate

Image = NDArray[np.uint8]
SIZES = ((104, 22), (260, 56))
# The plate drawer takes L, D, C, A, N and s for patterns.
LETTERS, DIGITS = "BEFGHJKMPRTUVWXYZ", "0123456789"
ROOM = 40  # px around the plate
NOISE = 2.0  # of the camera, gray levels
# Its package does not import without an old setuptools.
DLIB_MODELS = (spec := find_spec("face_recognition_models")) and Path(str(spec.origin)).with_name("models")
SIDE, LEAST = 96, 56  # px, of a face as it is put into the scene and as it must be at least in its photo


def settings_of(effect: str) -> Settings:
    settings = Settings()
    for kind in settings.kinds:
        settings = settings.with_kind(kind, effect=effect)
    return settings


def scene(width: int, height: int, rng: np.random.Generator) -> Image:
    """Surroundings: soft spots of color with some grain."""
    spots = rng.integers(20, 230, (4, 6, 3)).astype(np.float32)
    return grain(cv2.resize(spots, (width, height), interpolation=cv2.INTER_CUBIC), rng)


def grain(image: NDArray, rng: np.random.Generator) -> Image:
    return np.clip(image + rng.normal(0, NOISE, image.shape), 0, 255).astype(np.uint8)


def texts(count: int, rng: np.random.Generator) -> list[str]:
    """Different texts of one country's pattern."""
    out: dict[str, None] = {}
    while len(out) < count:
        a, b, c, d = rng.choice(list(LETTERS), 4)
        out[f"{a}{b} {''.join(rng.choice(list(DIGITS), 3))} {c}{d}"] = None
    return list(out)


def plates(size: tuple[int, int], candidates: int, seed: int) -> dict[str, float]:
    """Each effect's rank of the true plate among the candidates."""
    rng = np.random.default_rng(seed)
    width, height = size
    layout = next(x for x in LAYOUTS if x.name == "eu")
    region = Region("plate", (ROOM, ROOM, ROOM + width, ROOM + height))

    def plate(text: str) -> Image:  # the same paper, ink and letters for all
        drawn = draw_plate(replace(layout, rows=(text,)), np.random.default_rng(seed), 2 * height)
        return cv2.resize(drawn, size, interpolation=cv2.INTER_AREA)

    drawn, true = [plate(text) for text in texts(candidates, rng)], int(rng.integers(candidates))
    photo = scene(width + 2 * ROOM, height + 2 * ROOM, rng)

    def hide(plate: Image, settings: Settings) -> Image:
        photo[ROOM : ROOM + height, ROOM : ROOM + width] = plate
        return effects.apply(photo, [region], settings)

    out = {}
    noisy = grain(drawn[true], rng)
    for effect in EFFECTS:
        settings = settings_of(effect)
        hidden = masks.coverage([region], settings, *photo.shape[1::-1])
        target = hide(noisy, settings)[hidden].astype(float)
        distances = np.array([((hide(p, settings)[hidden] - target) ** 2).sum() for p in drawn])
        less, same = (distances < distances[true]).sum(), (distances == distances[true]).sum()
        out[effect] = float(less + (same + 1) / 2)
    return out


def faces(photos: Path, annotations: Path, count: int) -> list[Image]:
    """The largest face of each photo that has a large enough one, cut out and SIDE px square."""
    out = []
    found = images.find(photos, Settings())
    for name, photo in sorted(read_annotations(annotations, photos, found.paths).photos.items()):
        image = images.load(photos / name, Settings()).rgb
        boxes = [t.box for t in photo.at(*image.shape[1::-1]) if t.kind == "face" and not t.ignore]
        boxes = [(x1, y1, x2, y2) for x1, y1, x2, y2 in boxes if min(x2 - x1, y2 - y1) >= LEAST]
        if boxes:
            largest = Region("face", max(boxes, key=lambda b: (b[2] - b[0]) * (b[3] - b[1])))
            x1, y1, x2, y2 = largest.pixels(*image.shape[1::-1])
            face = cv2.resize(image[y1:y2, x1:x2], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
            out.append((largest.area, name, face))
    return [face for *_, face in sorted(out, key=lambda f: f[:2])[-count:]]


def another_photo(face: Image, rng: np.random.Generator) -> Image:
    """The face as another photo could show it: moved, turned, lit otherwise, with grain."""
    turn = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), float(rng.normal(0, 3)), float(rng.normal(1, 0.03)))
    turn[:, 2] += rng.normal(0, 2, 2)
    moved = cv2.warpAffine(face, turn, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT)
    return grain(255 * (moved / 255.0) ** float(rng.uniform(0.8, 1.25)), rng)


def lbph(gallery: list[Image], probes: list[Image]) -> list[int]:
    return _opencv(cv2.face.LBPHFaceRecognizer_create(), gallery, probes)


def eigenfaces(gallery: list[Image], probes: list[Image]) -> list[int]:
    return _opencv(cv2.face.EigenFaceRecognizer_create(), gallery, probes)


def _opencv(recognizer: object, gallery: list[Image], probes: list[Image]) -> list[int]:
    gray = [cv2.cvtColor(face, cv2.COLOR_RGB2GRAY) for face in gallery]
    recognizer.train(gray, np.arange(len(gray)))  # type: ignore[attr-defined]
    return [recognizer.predict(cv2.cvtColor(p, cv2.COLOR_RGB2GRAY))[0] for p in probes]  # type: ignore[attr-defined]


def dlib_network(gallery: list[Image], probes: list[Image]) -> list[int]:
    """ResNet of 29 layers, 99.4 % on LFW; each face is a whole picture, so its landmarks are sought in that."""
    import dlib

    shape = dlib.shape_predictor(f"{DLIB_MODELS}/shape_predictor_5_face_landmarks.dat")
    network = dlib.face_recognition_model_v1(f"{DLIB_MODELS}/dlib_face_recognition_resnet_model_v1.dat")

    def describe(face: Image) -> NDArray:
        large = cv2.resize(face, (150, 150))
        return np.array(network.compute_face_descriptor(large, shape(large, dlib.rectangle(0, 0, 149, 149))))

    known = np.array([describe(face) for face in gallery])
    return [int(np.linalg.norm(known - describe(p), axis=1).argmin()) for p in probes]


def recognizers() -> Iterator[Callable[[list[Image], list[Image]], list[int]]]:
    yield lbph
    yield eigenfaces
    if find_spec("dlib") and DLIB_MODELS:
        yield dlib_network


def match(faces: list[Image]) -> Iterator[tuple[str, ...]]:
    """For each effect and recognizer: how many of the faces are found first in either gallery."""
    rng = np.random.default_rng(0)
    around, place = scene(3 * SIDE, 3 * SIDE, rng), slice(SIDE, 2 * SIDE)
    region = Region("face", (SIDE, SIDE, 2 * SIDE, 2 * SIDE))
    others = [another_photo(face, rng) for face in faces]
    for effect in ("none", *EFFECTS):

        def hide(face: Image, effect: str = effect) -> Image:
            photo = around.copy()
            photo[place, place] = face
            if effect != "none":
                photo = effects.apply(photo, [region], settings_of(effect))
            return photo[place, place]

        probes, alike = [hide(face) for face in faces], [hide(face) for face in others]
        for recognize in recognizers():
            hits = [sum(i == found for i, found in enumerate(recognize(g, probes))) for g in (others, alike)]
            yield effect, recognize.__name__, *(f"{h} of {len(faces)}" for h in hits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["plates", "faces"])
    parser.add_argument("photos", type=Path, nargs="?")
    parser.add_argument("annotations", type=Path, nargs="?")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--faces", type=int, default=100, help="the largest; of each photo one")
    parser.add_argument("--candidates", type=int, default=1000)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    if args.what == "plates":
        print("| effect | plate, px | true plate's median rank | first |\n|---|---|---|---|")
        for size in SIZES:
            trials = [plates(size, args.candidates, seed) for seed in range(args.trials)]
            for effect in EFFECTS:
                ranks = [trial[effect] for trial in trials]
                first = sum(rank == 1 for rank in ranks)
                print(f"| {effect} | {size[0]} x {size[1]} | {np.median(ranks):g} of {args.candidates} "
                      f"| {first} of {args.trials} |", flush=True)  # fmt: skip
        return
    print("| effect | recognizer | open gallery | hidden alike |\n|---|---|---|---|")
    for row in match(faces(args.photos, args.annotations, args.faces)):
        print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
