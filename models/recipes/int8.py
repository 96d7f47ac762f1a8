"""What the inputs of each convolution hold, lowest, highest, mean: models/int8.json, for networks in 8-bit integers.

    python -m models.recipes.int8 DATA [--networks street=640-1280,…] [--output models/int8.json]

Photos of the folds that the networks learned from (folds.py); the held-out fold stays for measuring. A range is the
mean over photos of the least and of the greatest value: rarer ones are cut off, which costs less than coarser steps for
all others. The last convolutions stay as they are, and of the others as many as are needed until scores move by at most
MOST: those first that move them most by themselves. Networks of separable convolutions (RetinaFace's, CenterFace) do
not gain: those that must stay take most of the time.
"""

from __future__ import annotations

import argparse
import json
import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from anonymize.detectors import create, runtime
from anonymize.detectors import int8 as quantized
from anonymize.detectors.detector import Image
from anonymize.probability import log_odds
from anonymize.regions import Region, boxes, iou
from anonymize.settings import Settings
from anonymize.weights import onnx as fetch
from anonymize.weights import sha256
from anonymize.weights.registry import model
from models.recipes.folds import HELD_OUT, fold, source
from models.recipes.label import SETS
from models.recipes.plates.marks import load

PHOTOS = {"photos": 48, "rides": 16, "masks": 24, "empty": 8}  # of each source
CHECKED = 4  # every so manieth photo: where scores are compared
MOST = 0.15  # root mean square of what quantization may move a score, in log-odds
LEAST_SCORE = 0.05  # of candidates that are compared
LOST = 3.0  # log-odds; what is gone, or moved by more, counts as this
NETWORKS = "street=640-1280,coco=320-640"


def photos(data: Path) -> list[Image]:
    """Some of each source, the same each time."""
    by_source: dict[str, list[Path]] = {}
    for path in sorted(p for kind in SETS for p in (data / kind / "images").iterdir()):
        if fold(path.name) != HELD_OUT:
            by_source.setdefault(source(path.name), []).append(path)
    chosen = random.Random(7)
    return [load(path) for name, count in PHOTOS.items() for path in chosen.sample(by_source[name], count)]


class Observed(runtime.OpenVino):
    """A network that notes the least and greatest value of each convolution's input, and its channels' means."""

    def __init__(self, path: Path, source: Path | bytes, **options: Any) -> None:
        import openvino as ov

        super().__init__(path, source, **options)
        model = ov.Core().read_model(source)
        nodes = quantized.convolutions(model)
        self.seen: dict[str, list[quantized.Range]] = {n: [] for n, node in nodes.items() if not is_last(node)}
        inputs = {name: nodes[name].input_value(0) for name in self.seen}
        model.add_outputs(list(inputs.values()))
        ports = [result.input_value(0) for result in model.get_results()]
        self._index = {name: ports.index(port) for name, port in inputs.items()}
        self._observing = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        opened.append(self)

    def __call__(self, batch: NDArray[Any]) -> runtime.Outputs:
        results = self._observing(batch if self._scaling is None else self._scaling.apply(batch))
        for name, index in self._index.items():
            values = results[index][0]
            means = values.mean(axis=(1, 2), dtype=np.float32)
            self.seen[name].append(quantized.Range(float(values.min()), float(values.max()), means))
        return super().__call__(batch)


opened: list[Observed] = []


def is_last(node: Any) -> bool:
    """Whether no convolution follows."""
    todo, done = [node], set()
    while todo:
        for output in todo.pop().outputs():
            for target in output.get_target_inputs():
                follower = target.get_node()
                if follower.get_type_name() == quantized.CONVOLUTION:
                    return False
                if (name := follower.get_friendly_name()) not in done:
                    done.add(name)
                    todo.append(follower)
    return True


def observe(name: str, sides: Sequence[int], images: Sequence[Image]) -> quantized.Ranges:
    """The ranges of all convolutions but the last; the photos are seen at the sizes in turn."""
    with mock.patch.object(runtime, "OpenVino", Observed), mock.patch.object(quantized, "ranges_of", return_value={}):
        detectors = [create(f"{name}@{side}", Settings(), is_calibrated=False) for side in sides]
    for i, image in enumerate(images):
        detectors[i % len(sides)].detect([image])
    network = opened.pop()  # the sizes share it; it must go with them, or it would be the one that is opened next
    out = {}
    for convolution, seen in network.seen.items():
        low, high = np.mean([one.low for one in seen]), np.mean([one.high for one in seen])
        out[convolution] = quantized.Range(min(low, 0), max(high, 0), np.mean([one.mean for one in seen], axis=0))
    return out


def look(name: str, side: int, ranges: quantized.Ranges, images: Sequence[Image]) -> list[list[Region]]:
    """What the network says of the photos with these ranges."""
    with mock.patch.object(quantized, "ranges_of", return_value=ranges):
        detector = create(f"{name}@{side}", Settings(), is_calibrated=False)
    return [detector.detect([image])[0] for image in images]


def moved(exact: Sequence[Sequence[Region]], now: Sequence[Sequence[Region]]) -> float:
    """Root mean square, in log-odds, of how far the scores of the exact network's candidates moved."""
    steps = []
    for before, after in zip(exact, now, strict=True):
        for region in before:
            if region.score < LEAST_SCORE:
                continue
            same = [r for r in after if r.kind == region.kind]
            overlaps = iou(boxes([region]), boxes(same))[0]
            best = max((r.score for r, overlap in zip(same, overlaps, strict=True) if overlap > 0.5), default=0.0)
            step = log_odds(best) - log_odds(region.score) if best else LOST
            steps.append(min(abs(step), LOST))
    return float(np.sqrt(np.mean(np.square(steps))))


def choose(name: str, side: int, ranges: quantized.Ranges, images: Sequence[Image]) -> quantized.Ranges:
    """The ranges without those convolutions that move the scores most, least moving first."""
    with mock.patch.dict(os.environ, ANONYMIZE_PRECISION="f32"):
        exact = look(name, side, {}, images)
    if (step := moved(exact, look(name, side, ranges, images))) <= MOST:
        print(f"{name}: all {len(ranges)} convolutions; scores move by {step:.2f} in log-odds", flush=True)
        return ranges
    by_itself = {one: moved(exact, look(name, side, {one: ranges[one]}, images)) for one in ranges}
    order = sorted(ranges, key=lambda one: by_itself[one])
    for left_out in range(len(order)):
        left = {one: ranges[one] for one in order[: len(order) - left_out]}
        if (step := moved(exact, look(name, side, left, images))) <= MOST:
            break
    print(f"{name}: {len(left)} of {len(ranges)} convolutions; scores move by {step:.2f} in log-odds", flush=True)
    return left


def rounded(value: float) -> float:
    """Four digits, which the file has room for."""
    return float(f"{value:.4g}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--networks", default=NETWORKS)
    parser.add_argument("--output", type=Path, default=Path("models/int8.json"))
    given = parser.parse_args()
    os.environ.pop("ANONYMIZE_PRECISION", None)
    images = photos(given.data)
    out = json.loads(given.output.read_text()) if given.output.exists() else {}
    for one in given.networks.split(","):
        name, _, sides = one.partition("=")
        low, high = (int(side) for side in sides.split("-"))
        ranges = choose(name, low, observe(name, (low, high), images), images[::CHECKED])
        rows = {k: [rounded(r.low), rounded(r.high), [rounded(m) for m in r.mean]] for k, r in ranges.items()}
        out[name] = {"sha256": sha256(fetch(model(name))), "ranges": rows}
        text = json.dumps(out)
        for mark in ('{"sha256"', '"ranges"', '"/model'):  # a line for each convolution
            text = text.replace(mark, "\n" + mark)
        given.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
