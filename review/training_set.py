"""The way back to training: corrected records as YOLO or COCO data sets with splits, written by FiftyOne's exporters'
rules.

A split is chosen by a hash of the photo's sequence, so that neighboring frames never stand on both sides, and the
same photo goes to the same side in every export.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from PIL import Image

from anonymize import images
from anonymize.corrections import status
from anonymize.errors import ChangedSourceError, PathError, SettingsError
from anonymize.records import Record, unescape

from .items import sequences
from .store import ReviewStore


def split_of(group: str, val: float, test: float) -> str:
    """ "train", "val" or "test", by a hash of the group's name."""
    place = int.from_bytes(hashlib.blake2s(group.encode(), digest_size=8).digest()) / 2**64
    return "test" if place < test else "val" if place < test + val else "train"


def groups(paths: list[str]) -> dict[str, str]:
    """Path -> the first path of its sequence of neighboring frames (itself, where it has none)."""
    near = sequences(paths)
    first: dict[str, str] = {}
    for start in paths:
        waiting = [start]
        while waiting:
            path = waiting.pop()
            if path not in first:
                first[path] = start
                waiting += near.get(path, [])
    return first


def write(
    store: ReviewStore, output: Path, form: str, *, val: float = 0.2, test: float = 0.0, allow_unreviewed: bool = False
) -> Counter[str]:
    """Write a data set: the original photos, and what an export would hide in them.

    JPEGs are copied as they are. Loaders of data sets know few other formats, and drop what they do not know in
    silence: HEIC, 16 bits, palettes, orientations outside of JPEG. So all others become JPEGs of the finest quality.

    Args:
        output: a new or empty folder. form: "yolo" or "coco".
        val, test: shares of the sequences, 0–1.
        allow_unreviewed: also photos that nobody approved.

    Returns:
        How many photos went to each split, how many were left out ("not approved"), how many regions. Where no photo
        is left, nothing is written.

    Raises:
        PathError: the folder is not empty. SettingsError: shares that leave nothing to train on.
        ChangedSourceError: a photo is no longer the one that was reviewed. ImageError: one that cannot be read.
    """
    if val + test >= 1:
        raise SettingsError(f"val and test leave nothing to train on: {val} + {test}")
    if output.exists() and any(output.iterdir()):
        raise PathError(f"{output} is not empty")
    settings, counts = store.settings, Counter[str]()
    kinds = list(settings.kinds)
    wanted = ("approved", "pending") if allow_unreviewed else ("approved",)
    chosen: list[Record] = []
    for record in store:
        if status(record, settings) in wanted:
            chosen.append(record)
            kinds += [r.kind for r in record.hidden(settings) if r.kind not in kinds]
        else:
            counts["not approved"] += 1
    if not chosen:
        return counts
    group = groups([r.path for r in chosen])
    parts: dict[str, list[tuple[Record, str]]] = {"train": [], "val": [], "test": []}
    for record in chosen:
        name = unescape(record.path).encode("utf-8", "surrogateescape")
        # One flat, safe name a photo: data loaders stumble over folders and odd characters.
        safe = hashlib.blake2s(name, digest_size=10).hexdigest() + ".jpg"
        part = split_of(group[record.path], val, test)
        parts[part].append((record, safe))
        counts[part] += 1
        counts["regions"] += len(record.hidden(settings))
    for part, photos in parts.items():
        if photos or part == "train":
            _copy(store, photos, output / "images" / part)
            if form == "yolo":
                _yolo(output / "labels" / part, photos, kinds, store)
            else:
                _coco(output / "annotations" / f"{part}.json", photos, kinds, store)
    if form == "yolo":
        lines = [f"path: {json.dumps(os.path.abspath(output))}", "train: images/train"]
        lines += [f"{part}: images/{part}" for part in ("val", "test") if parts[part]]
        lines += ["names:", *(f"  {n}: {json.dumps(k)}" for n, k in enumerate(kinds))]
        (output / "data.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    names = {safe: record.path for photos in parts.values() for record, safe in photos}
    (output / "sources.json").write_text(json.dumps(names, indent=1, ensure_ascii=False), encoding="utf-8")
    return counts


def _copy(store: ReviewStore, photos: list[tuple[Record, str]], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for record, safe in photos:
        source = store.header.source(record)
        photo = images.load(source, store.settings)
        digest = photo.sha256
        if photo.form.format == "JPEG":
            shutil.copyfile(source, folder / safe)
            digest = images.sha256(folder / safe)
        else:
            Image.fromarray(photo.rgb).save(folder / safe, "JPEG", quality=98, subsampling=0)
        if digest != record.sha256:
            raise ChangedSourceError(f"{record.path} changed after it was detected; detect it again")


def _yolo(folder: Path, photos: list[tuple[Record, str]], kinds: list[str], store: ReviewStore) -> None:
    folder.mkdir(parents=True)
    for record, safe in photos:
        rows = []
        for r in record.hidden(store.settings):
            x1, y1, x2, y2 = r.box
            numbers = ((x1 + x2) / 2 / record.width, (y1 + y2) / 2 / record.height)
            numbers += (r.width / record.width, r.height / record.height)  # type: ignore[assignment]
            rows.append(" ".join([str(kinds.index(r.kind)), *(f"{v:.6f}" for v in numbers)]))
        (folder / f"{Path(safe).stem}.txt").write_text("".join(f"{row}\n" for row in rows))


def _coco(file: Path, photos: list[tuple[Record, str]], kinds: list[str], store: ReviewStore) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    out: dict[str, list[Any]] = {"images": [], "annotations": []}
    out["categories"] = [{"id": n, "name": k} for n, k in enumerate(kinds, 1)]
    for number, (record, safe) in enumerate(photos, 1):
        size = {"width": record.width, "height": record.height}
        out["images"].append({"id": number, "file_name": safe, **size})
        for r in record.hidden(store.settings):
            out["annotations"].append(
                {
                    "id": len(out["annotations"]) + 1,
                    "image_id": number,
                    "category_id": kinds.index(r.kind) + 1,
                    "bbox": [r.box[0], r.box[1], r.width, r.height],
                    "area": r.area,
                    "iscrowd": 0,
                    **({"segmentation": [[v for p in r.corners for v in p]]} if r.corners else {}),
                }
            )
    file.write_text(json.dumps(out, indent=1), encoding="utf-8")
