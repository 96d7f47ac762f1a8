"""JPEGs anonymized without loss: the coefficients that change outside of the blocks that something hidden touches.

    python -m bench.jpeg_lossless [PHOTOS] [--count 200]

PHOTOS: a folder; without it, the photos that ultralytics carries. Each photo is written as the engine writes it: as it
is, and encoded in every kind of subsampling and color, in turn baseline, progressive, with restart markers, and turned
by EXIF. Once with nothing hidden, once with three areas hidden. What is in the file then is compared coefficient by
coefficient, and checked for what an export may carry. "At the edge": cut blocks that showed more than the photo did.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import cv2
import jpegio
import numpy as np
from PIL import Image

from anonymize import effects, images, masks
from anonymize.audit import containers
from anonymize.images import blocks, formats
from anonymize.regions import Region
from anonymize.settings import Settings
from tests.support import jpegs

CODINGS = {"baseline": (False, 0), "restart markers": (False, 5), "progressive": (True, 0), "both": (True, 3)}
SETTINGS, WHOLE = Settings(), 32  # px, the largest MCU


def encode(rgb: np.ndarray, kind: str, progressive: bool, restart: int, turn: int) -> bytes:
    """A JPEG of RGB pixels, of that kind."""
    exif = Image.Exif()
    exif[0x0112] = turn
    data = jpegs.with_exif(jpegs.encode(rgb, jpegs.KINDS[kind], progressive=progressive), exif)
    if not restart:
        return data
    with blocks._file(data) as path, blocks._file() as out:
        jpeg = jpegio.read(path)
        jpeg.restart_interval, jpeg.optimize_coding = restart, True
        jpeg.write(out)
        return Path(out).read_bytes()


def regions(width: int, height: int, seed: int) -> list[Region]:
    """Three areas, one of them at the photo's edge."""
    rng = np.random.default_rng(seed)
    boxes = rng.random((3, 2)) * (0.8 * width, 0.8 * height)
    sides = (0.03 + 0.15 * rng.random((3, 2))) * min(width, height)
    found = [Region("face", (x, y, x + w, y + h), 0.9) for (x, y), (w, h) in zip(boxes, sides, strict=True)]
    return [*found[:2], Region("plate", (width - 40.0, height - 25.0, float(width), float(height)), 0.9)]


def compare(data: bytes, folder: Path, seed: int) -> dict[str, int]:
    """What becomes of one JPEG."""
    path = folder / "photo.jpg"
    path.write_bytes(data)
    photo = images.load(path, SETTINGS)
    source = photo.form.options["source"]
    if source is None:
        return {"encoded anew": 1}
    old = blocks.read(source)
    out = defaultdict(int, {"photos": 1, "at the edge": int(any(blocks._shows_beyond(source, old)))})
    for found in ([], regions(photo.width, photo.height, seed)):
        pixels = effects.apply(photo.pixels, found, SETTINGS, mode=photo.mode)
        where = masks.changed(found, SETTINGS, photo.width, photo.height)
        written, is_anew = images.encode(photo, pixels, SETTINGS, where)
        assert not is_anew
        again = formats.decode(written, 1e12).form.options["source"]
        beyond = blocks._shows_beyond(source, old)
        for a, b, step in zip(blocks.read(again), old, source.steps, strict=True):
            at = blocks._touched(where, a, step)
            a, b = jpegs.cells(a), jpegs.cells(b)
            at[:, -1] |= beyond[0]
            at[-1] |= beyond[1]
            out["coefficients outside"] += a[~at].size
            out["changed outside"] += int((a[~at] != b[~at]).sum())
            out["blocks touched"] += int(at.sum())
        out["said by the audit"] += len(containers.check(written))
    return out


def files(source: Path | None, count: int) -> list[Path]:
    if source is None:
        import ultralytics

        source = Path(ultralytics.__file__).parent / "assets"
    found = [p for p in sorted(source.rglob("*")) if p.suffix.lower() in (".jpg", ".jpeg")]
    return [found[i] for i in np.linspace(0, len(found) - 1, min(count, len(found))).round().astype(int)]


def variants(path: Path, n: int) -> Iterator[tuple[str, bytes]]:
    """The photo as it is and in every kind, each photo in another coding and another turn."""
    yield "as they are", path.read_bytes()
    rgb = np.array(Image.open(path).convert("RGB"))
    scale = 480 / max(rgb.shape)
    rgb = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else rgb
    for i, kind in enumerate(jpegs.KINDS):
        coding, turn = list(CODINGS)[(n + i) % len(CODINGS)], 1 + (n // len(CODINGS)) % 8
        whole = [v - v % WHOLE if turn > 1 else v for v in rgb.shape[:2]]  # else it could not be turned exactly
        yield kind, encode(rgb[: whole[0], : whole[1]], kind, *CODINGS[coding], turn)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="?", type=Path)
    parser.add_argument("--count", type=int, default=200)
    args = parser.parse_args()
    rows: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    with tempfile.TemporaryDirectory() as folder:
        for n, path in enumerate(files(args.photos, args.count)):
            for kind, data in variants(path, n):
                for name, value in compare(data, Path(folder), n).items():
                    rows[kind][name] += value
                    rows["all"][name] += value
    heads = ("photos", "encoded anew", "at the edge", "blocks touched", "coefficients outside", "changed outside")
    print("| JPEGs | " + " | ".join(heads) + " | said by the audit |\n|" + "---|" * (len(heads) + 2))
    for kind in sorted(rows, key=lambda k: (k == "all", k != "as they are")):
        print(f"| {kind} | " + " | ".join(f"{rows[kind][h]:,}" for h in (*heads, "said by the audit")) + " |")


if __name__ == "__main__":
    main()
