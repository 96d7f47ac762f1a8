"""The least size that the networks of the presets can see at all: the table of docs/detectors.md.

    python -m bench.least_sizes

A network has a least size in its input: an anchor, or a cell of its finest map. Times the photo's px for one of the
input, that is the least in a photo. A photo of more than 4,608 px is searched in windows of that.
"""

from __future__ import annotations

from collections.abc import Iterator

from anonymize.detectors import parse, spec
from anonymize.detectors.multi_scale import octaves, worth
from anonymize.detectors.tiled import ONE_LOOK
from anonymize.settings import PRESETS
from anonymize.weights.registry import model

# px of the input: RetinaFace's smallest anchor, MTCNN's smallest window, CenterFace's cell; of all others 8 px.
LEAST = {"retinaface-mobilenet": 16, "retinaface-r50": 16, "mtcnn": 20, "centerface": 4}
USUAL, PHOTO = 8, 1600


def looks(node: spec.Spec, prefix: str = "") -> Iterator[tuple[str, str, list[int]]]:
    """A spec's networks: how they look, names, and long sides."""
    match node:
        case spec.Named(name, low, high):
            first = low or model(name).size
            yield prefix, name, octaves(first, high) if high else [first]
        case spec.Closer(inner):
            yield from looks(inner, "closer")
        case spec.InContext(inner):
            yield from looks(inner)
        case spec.Ensemble(parts):
            for part in parts:
                yield from looks(part)


def rows(preset: str) -> Iterator[tuple[str, ...]]:
    """Of each network: what it is, the least size in a large photo, and in one of PHOTO px."""
    chosen = PRESETS[preset]
    seen: dict[tuple[str, str], list[int]] = {}
    for text in dict.fromkeys((chosen.face_detector, chosen.plate_detector)):
        for how, name, sides in looks(parse(text)):
            if name != spec.VEHICLES:
                seen[how, name] = sorted({*seen.get((how, name), ()), *sides})
    for (how, name), sides in seen.items():
        least = LEAST.get(name, USUAL)
        cells = [f"{least * size / max(worth([(s, s) for s in sides], size)):.0f} px" for size in (ONE_LOOK, PHOTO)]
        yield (preset, f"{name}, {how}" if how else name, ", ".join(f"{s:,}" for s in sides), *cells)


def main() -> None:
    head = ("preset", "network", "long sides", "least size in a large photo", f"in a photo of {PHOTO:,} px")
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for preset in PRESETS:
        for row in rows(preset):
            print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
