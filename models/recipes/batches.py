"""Batches of tiles without end, cut afresh from all labeled photos but those of one fold."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import IterableDataset

from models.recipes import label, tiles
from models.recipes.folds import fold, source
from models.recipes.heads import Heads

SHARES = {"photos": 0.59, "rides": 0.08, "masks": 0.24, "empty": 0.09}  # of the tiles, by source
MOSAICS = {1: 0.66, 2: 0.22, 3: 0.07, 4: 0.05}  # so many tiles a side; the share of pictures
FACES = 5.0  # how often a photo with a face comes, for one without, of its source
ERRS = 2.0  # how often one comes on which a network errs, for another
PASTED = 0.6  # share of the persons without a known face on streets that get one


def read_photos(
    data: Path, labels: Path, left_out: int, hard: Path | None = None, *, decoded: bool = False
) -> list[tiles.Photo]:
    """All labeled photos but those of one fold (-1: none is left out), each as it is named or as WebP.

    Args:
        hard: what `hard.py` wrote.
        decoded: decode each once, now: that takes 2 MB of memory a photo.
    """
    out = []
    places = json.loads(hard.read_text()) if hard else {}
    for kind in label.SETS:
        for name, some in label.read(labels / f"{kind}.json.gz", (label.FACE, label.PLATE, label.PERSON)).items():
            if fold(name) != left_out:
                path = data / kind / "images" / name
                path = path if path.exists() else path.with_suffix(".webp")
                photo = tiles.Photo.read(path, some, is_grey=kind == "no-plates", hard=places.get(name, ()))
                out.append(replace(photo, name=name))
    if not decoded:
        return out
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda photo: replace(photo, data=tiles.decode(photo.data)), out))


def masked_faces(annotations: Path) -> set[tuple[str, int, int]]:
    """File, x1 and y1 (whole px) of the faces that are marked to wear a mask."""
    data = json.loads(annotations.read_text())
    names = {image["id"]: image["file_name"] for image in data["images"]}
    covered = [a for a in data["annotations"] if a.get("masked") != "without_mask"]
    return {(names[a["image_id"]], *map(int, a["bbox"][:2])) for a in covered}


class Batches(IterableDataset):
    """Endless batches; each worker and each start has a seed of its own.

    Photos with faces or tilted, rare things come as often as others of their source: what is cut out of them varies.
    """

    def __init__(
        self,
        photos: Sequence[tiles.Photo],
        sizes: dict[int, float],
        count: int,
        seed: Sequence[int],
        masked: Collection[tuple[str, int, int]] = (),
    ) -> None:
        """Prepare.

        Args:
            sizes: px of a tile's side -> how many of the batches have it.
            count: tiles a batch of the first size; of larger ones fewer, so that a batch has as many pixels.
            masked: see `masked_faces`.
        """
        self.photos, self.sizes, self.count, self.seed = photos, sizes, count, list(seed)
        from_ = [p for p in photos if source(p.name) in ("masks", "photos")]
        self.heads = Heads(from_, masked, np.random.default_rng(self.seed))

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        cv2.setNumThreads(1)
        info = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([*self.seed, info.id if info else 0])
        if info:
            os.nice(2)
        plates = tiles.Plates(rng)
        pools = {s: [p for p in self.photos if source(p.name) == s] for s in SHARES}
        pools = {s: pool for s, pool in pools.items() if pool}
        shares = np.array([SHARES[s] for s in pools])
        weights = {s: np.array([self._weight(p) for p in pool]) for s, pool in pools.items()}

        def one(size: int) -> tiles.Tile:
            chosen = list(pools)[int(rng.choice(len(pools), p=shares / shares.sum()))]
            photo = pools[chosen][int(rng.choice(len(pools[chosen]), p=weights[chosen] / weights[chosen].sum()))]
            photo, image = self.heads.paste(photo, tiles.decode(photo.data), rng, 0 if chosen == "masks" else PASTED)
            return tiles.make(photo, image, plates, size, rng)

        def picture(size: int) -> tiles.Tile:
            side = int(rng.choice(list(MOSAICS), p=list(MOSAICS.values())))
            return one(size) if side == 1 else tiles.mosaic([one(size // side) for _ in range(side**2)], size)

        sides, first = list(self.sizes), next(iter(self.sizes))
        often = np.array(list(self.sizes.values()), float)
        while True:
            size = sides[int(rng.choice(len(sides), p=often / often.sum()))]
            yield collate([picture(size) for _ in range(max(round(self.count * (first / size) ** 2), 1))])

    @staticmethod
    def _weight(photo: tiles.Photo) -> float:
        """Photos with real faces, or persons to paste one on, come more often: most photos of cars have none."""
        has_face = ((photo.classes == label.FACE) & ~photo.ignored).any() or len(photo.persons)
        return (FACES if has_face else 1.0) * (ERRS if len(photo.hard) else 1.0)


def collate(some: Sequence[tiles.Tile]) -> dict[str, torch.Tensor]:
    """Tiles -> a batch: images uint8, boxes relative (cx, cy, w, h), ignored places in px."""
    size = some[0].image.shape[0]
    boxes = np.concatenate([t.boxes for t in some])
    centres, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    number = np.repeat(np.arange(len(some)), [len(t.boxes) for t in some])
    ignored = np.concatenate(
        [np.c_[np.full(len(t.ignored), i), t.ignored_classes - 1, t.ignored] for i, t in enumerate(some)]
    )
    return {
        "img": torch.from_numpy(np.stack([t.image for t in some])),
        "batch_idx": torch.from_numpy(number).float(),
        "cls": torch.from_numpy(np.concatenate([t.classes for t in some]) - 1).float()[:, None],
        "bboxes": torch.from_numpy(np.concatenate([centres, sides], axis=1) / size).float(),
        "ignored": torch.from_numpy(ignored).float(),
    }
