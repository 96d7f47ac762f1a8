"""YOLO networks as ultralytics exports them (YOLOv8, 11, 26): plates, vehicles, persons, a user's own classes.

A class's name decides its regions' kind. Several classes of one kind (car, truck, bus) count as one: a region's score
is the best of them. A pose network with four keypoints gives a plate's corners.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .. import labels
from ..errors import DetectionError, SettingsError, WeightsError
from ..probability import expit
from ..settings import MIN_THRESHOLD, Settings
from .candidates import Candidates, Floats, Letterbox, Scaling, above_threshold, letterbox
from .detector import Image
from .runtime import Decode, Network, NetworkDetector, Outputs, class_names, lift_size, open_network, parse

FILL = 114  # gray, as in ultralytics' training
SCALING = Scaling(divisor=255.0)  # RGB, 0–1
MIN_CONFIDENCE = (
    0.65  # doubtful corners (on average less sure than this, 0–1) are none: an export then hides the whole box
)
BINS = 16  # of the distance from a cell to each side of a box (distribution focal loss), in ultralytics' detection head


def kind_of(class_name: str) -> str:
    """ "License_Plate" -> "plate"; a name that `labels` does not know is a kind of its own, "id-card" -> "id-card"."""
    return labels.kind_of(class_name) or class_name


def classes_by_kind(names: Mapping[int, str], classes: Mapping[str, str] | None = None) -> dict[str, list[int]]:
    """Kind -> class numbers.

    Args:
        names: class number -> class name, as the network says.
        classes: class name -> kind; other classes are left out. None: all classes, by `kind_of`.
    """
    out: dict[str, list[int]] = {}
    for number, name in sorted(names.items()):
        if classes is None or name in classes:
            out.setdefault(kind_of(name) if classes is None else classes[name], []).append(number)
    return out


def load(
    name: str,
    path: Path,
    settings: Settings,
    long_side: int | None,
    weights: dict[str, str],
    *,
    classes: Mapping[str, str] | None = None,
    any_size: bool = False,
    as_is: bool = False,
) -> NetworkDetector:
    """A detector from an ONNX file or OpenVINO folder that ultralytics wrote.

    Args:
        long_side: px; None: the network's own size.
        name: without a long side, which is added.
        classes: class name -> kind, of the classes that are wanted; None: all of them, by `kind_of`.
        as_is: pictures are seen at their own size, of which long_side only tells what it stands for.
        any_size: take any size although the file names one; of the network that `cut_head` leaves, this holds.

    Raises:
        SettingsError: a fixed input of another size than the one asked for.
        WeightsError: not such a network, without class names, or for another task.
    """
    model = parse(path) if path.suffix == ".onnx" else None
    is_cut = model is not None and cut_head(model)
    if any_size:
        if not is_cut:
            raise WeightsError(f"{path} is not a plain YOLOv8 or 11 detector, so its size is fixed")
        lift_size(model)
    network = open_network(path, settings.device, model=model, exact=not is_cut, scaling=SCALING)
    names, task = class_names(network.metadata), network.metadata.get("task", "detect")
    if not names:
        raise WeightsError(f"{path} names no classes; export it with ultralytics, which writes them into the file")
    if task not in ("detect", "pose", "segment"):
        raise WeightsError(f"{path} is a network for {task}; needed: detect, pose (corners) or segment (boxes)")
    side = network.size and max(network.size)
    if side and long_side and side != long_side:
        raise SettingsError(
            f"{path} was exported for {side} px only; received {long_side}. Export it with dynamic=True"
        )
    side = side or long_side or _training_size(network)
    kinds = classes_by_kind(names, classes)
    if not kinds:
        raise WeightsError(f"{path} knows {', '.join(names.values())}; none of them is wanted")
    decoder: Decode = (
        partial(decode_heads, kinds=kinds)
        if is_cut
        else partial(decode, kinds=kinds, classes=len(names), ignore_extra=task == "segment")
    )
    made = NetworkDetector(
        f"{name}@{side}",
        network,
        lambda image: fit(image, max(image.shape[:2]) if as_is else side, network.size),
        decoder,
        settings,
        weights,
    )
    made.kinds = frozenset(kinds)
    return made


def _training_size(network: Network) -> int:
    sizes = [int(v) for v in network.metadata.get("imgsz", "").strip("[]() ").split(",") if v.strip().isdecimal()]
    return max(sizes, default=640)


def fit(image: Image, long_side: int, target: tuple[int, int] | None = None) -> Letterbox:
    """An image in the network's input, with gray around it, as ultralytics does it."""
    return letterbox(image, long_side, fill=FILL, center=True, target=target)


def decode(
    outputs: Outputs,
    size: tuple[int, int],
    floor: float = MIN_THRESHOLD,
    *,
    kinds: Mapping[str, Collection[int]],
    classes: int,
    ignore_extra: bool = False,
) -> dict[str, Candidates]:
    """An ultralytics export's first output -> candidates of each kind, in the input's px.

    Either (1, 4 + classes + extra, N): center x, center y, width, height, a score for each class; or, end to end
    (YOLO26, YOLOv10, nms=True), (1, N, 6 + extra): x1, y1, x2, y2, score, class. Extra: four keypoints, each x, y or
    x, y, visibility.

    Args:
        kinds: kind -> class numbers.
        classes: how many there are.
        ignore_extra: the extra values are mask coefficients.

    Raises:
        DetectionError: an output of another shape.
    """
    out = next(iter(outputs.values()))
    if out.ndim != 3 or out.shape[0] != 1:
        raise DetectionError(f"a YOLO network's output is (1, values, N) or (1, N, 6); received {out.shape}")
    # The smallest input, 32 × 32, has 21 cells; an end-to-end row has up to 18 values, or 38 with masks.
    is_end_to_end = out.shape[1] != 4 + classes and out.shape[2] in (6, 14, 18, 38)
    rows = out[0] if is_end_to_end else out[0].T
    fixed = 6 if is_end_to_end else 4 + classes
    extra = rows.shape[1] - fixed
    if extra not in (0, 8, 12) and not (ignore_extra and extra > 0):
        raise DetectionError(f"a YOLO network of {classes} classes gave {rows.shape[1]} values for each box")
    result = {}
    for kind, numbers in kinds.items():
        if is_end_to_end:
            scores = np.where(np.isin(rows[:, 5].round(), list(numbers)), rows[:, 4], 0.0)
        else:
            scores = rows[:, [4 + n for n in numbers]].max(axis=1)
        kept = rows[keep := above_threshold(scores, floor)]
        boxes = kept[:, :4] if is_end_to_end else _to_corners(kept[:, :4])
        corners = None if ignore_extra or not extra else _confident_corners(kept[:, fixed:].reshape(len(kept), 4, -1))
        result[kind] = Candidates(boxes, scores[keep], corners=corners)
    return result


def _confident_corners(points: Floats) -> Floats:
    """Keypoints (N, 4, 2 or 3), the third number saying how sure each is -> (N, 4, 2), NaN where they are doubtful."""
    corners = np.array(points[:, :, :2], np.float64)
    if points.shape[2] == 3:
        corners[points[:, :, 2].mean(axis=1) < MIN_CONFIDENCE] = np.nan
    return corners


def _to_corners(boxes: Floats) -> Floats:
    half = boxes[:, 2:] / 2
    return np.hstack([boxes[:, :2] - half, boxes[:, :2] + half])


def cut_head(model: Any) -> bool:
    """Change an onnx.ModelProto: the maps of a YOLOv8 or 11 network become its outputs, for `decode_heads`.

    What is cut off is an export's very end, which computes coordinates in px from them. Decoding only the candidates is
    faster, bfloat16 does not round their coordinates, and an export for one size is no longer bound to it.

    Returns:
        Whether it is such a network; if not, nothing was changed.
    """
    import onnx

    properties = {p.key: p.value for p in model.metadata_props}
    task = properties.get("task", "detect")
    if task not in ("detect", "pose"):  # other heads have more maps, which would be lost
        return False
    count = len(class_names(properties))
    made_by = {o: n for n in model.graph.node for o in n.output}
    weights = {i.name: list(i.dims) for i in model.graph.initializer}
    flat = [n.input[0] for n in model.graph.node if n.op_type == "Reshape"]
    maps: dict[str, int] = {}  # name -> channels
    for name in flat:
        node = made_by.get(name)
        # Newer exports flatten each map, older ones (until 2023) box and score maps of a stride joined.
        parts = list(node.input) if node is not None and node.op_type == "Concat" else [name]
        for part in parts:
            convolution = made_by.get(part)
            if convolution is not None and convolution.op_type == "Conv" and convolution.input[1] in weights:
                channels, depth = weights[convolution.input[1]][:2]
                if (channels, depth) != (1, BINS):  # that is the expectation over the bins, which is cut off too
                    maps[part] = channels
    boxes = [m for m, channels in maps.items() if channels == 4 * BINS]
    scores = [m for m, channels in maps.items() if channels == count]
    points = [m for m, channels in maps.items() if channels in (8, 12) and task == "pose"]  # four of x, y (, how sure)
    levels = len(boxes)  # 3, and 4 in a network with a finest one of stride 4
    counts = (len(scores), len(points))
    if levels not in (3, 4) or counts != (levels, levels * (task == "pose")) or len(model.graph.output) != 1:
        return False
    del model.graph.output[:]
    for name in (*boxes, *scores, *points):
        shape = ["batch", maps[name], None, None]
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))
    needed = {o.name for o in model.graph.output}
    nodes: list[Any] = []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            nodes.insert(0, node)
            needed.update(node.input)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    del model.graph.value_info[:]
    return True


def decode_heads(
    outputs: Outputs,
    size: tuple[int, int],
    floor: float = MIN_THRESHOLD,
    *,
    kinds: Mapping[str, Collection[int]],
) -> dict[str, Candidates]:
    """The maps of `cut_head`'s network -> candidates of each kind, in the input's px.

    Box maps (1, 64, h, w): for left, top, right, bottom 16 logits, whose expected index is the distance from the cell's
    center in cells; score maps (1, classes, h, w): logits; corner maps (1, 8 or 12, h, w): half of the distance from
    the cell's top left in cells, and a logit of how sure it is.
    """
    maps = [m[0] for m in outputs.values()]
    levels = len({m.shape[1:] for m in maps})
    groups = [sorted(maps[i : i + levels], key=lambda m: -m.shape[1]) for i in range(0, len(maps), levels)]
    parts: dict[str, list[Candidates]] = {kind: [] for kind in kinds}
    for distances, logits, *marks in zip(*groups, strict=True):
        stride = size[0] // distances.shape[1]
        for kind, numbers in kinds.items():
            scores = expit(logits[list(numbers)].max(axis=0).reshape(-1))
            keep = above_threshold(scores, floor)
            y, x = np.divmod(keep, logits.shape[2])
            bins = distances.reshape(4, BINS, -1)[:, :, keep]
            bins = np.exp(bins - bins.max(axis=1, keepdims=True))
            sides = np.einsum("sbn,b->sn", bins, np.arange(BINS, dtype=np.float32)) / bins.sum(axis=1)
            left, top, right, bottom = sides
            boxes = np.stack([x + 0.5 - left, y + 0.5 - top, x + 0.5 + right, y + 0.5 + bottom], axis=1) * stride
            corners = None
            if marks:
                points = marks[0].reshape(4, -1, logits[0].size)[:, :, keep].transpose(2, 0, 1).astype(np.float64)
                points[:, :, :2] = (points[:, :, :2] * 2 + np.stack([x, y], axis=1)[:, None]) * stride
                points[:, :, 2:] = expit(points[:, :, 2:])
                corners = _confident_corners(points)
            parts[kind].append(Candidates(boxes, scores[keep], corners=corners))
    return {kind: _concatenate(some) for kind, some in parts.items()}


def _concatenate(some: Sequence[Candidates]) -> Candidates:
    corners = [c.corners for c in some if c.corners is not None]
    return Candidates(
        np.concatenate([c.boxes for c in some]),
        np.concatenate([c.scores for c in some]),
        corners=np.concatenate(corners) if corners else None,
    )
