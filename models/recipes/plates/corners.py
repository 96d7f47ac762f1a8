"""From a folder of photos to the corner network: crops, training, calibration, export, card.

    train(Path("photos"), Path("out")) leaves
        out/crops/              what it learns from, made once
        out/last.pt             a checkpoint; the same call goes on from it, on another machine too
        out/plates-corners.onnx what runs; plates-corners.pt its weights; card.md, registry.toml, held-out.png

Importing this module loads torch.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from anonymize.detectors.plate_corners import INPUT, MODEL, SURE
from anonymize.errors import AnnotationError, SettingsError, WeightsError
from anonymize.weights.convert import OPSET

from .corner_net import CornerNet, Options, batch_of, hidden, learn, off, place
from .crops import DRAWN, REAL, Crops, backgrounds, fingerprint, make, sheet

HELD_OUT = 12  # every so manieth photo is measured with, where no others are given
MEASURED = 3000  # crops that are measured with, of another seed
Tell = Callable[[str], None]


def _silent(_: str) -> None:
    pass


@dataclass(frozen=True)
class Trained:
    """What a training left, and its figures on photos that were held out."""

    onnx: Path
    card: Path
    figures: Mapping[str, float]


def train(
    photos: Path,
    output: Path,
    options: Options | None = None,
    *,
    held_out: Path | None = None,
    tell: Tell = _silent,
) -> Trained:
    """Train the corner network; a training that was stopped goes on from its last whole epoch.

    Args:
        photos: a folder of backgrounds. With YOLO labels (as `plates build` writes them) drawn plates hang where real
            ones are, and the real ones teach too: their corners have to fill the marked box.
        output: a folder of its own.
        held_out: a folder of photos to calibrate and measure with; None: every twelfth of `photos`.
        tell: told of each step, a line.

    Raises:
        AnnotationError: no photos, or labels that are none.
        SettingsError: output holds a training with other options, photos or labels.
    """
    options = options or Options()
    known = backgrounds(photos)
    if held_out is not None:
        learned, kept = known, backgrounds(held_out)
    else:
        learned, kept = [b for i, b in enumerate(known) if i % HELD_OUT], known[::HELD_OUT]
    if not learned:
        raise AnnotationError(f"{photos}: {len(known)} photos are too few; some are needed to measure with")
    output.mkdir(parents=True, exist_ok=True)
    last = output / "last.pt"
    made_of = fingerprint(learned)
    state = _read(last, options, made_of) if last.exists() else None
    device = _device(options.device)

    def gather(what: str, places: Any, of: str, count: int, seed: int) -> Crops:
        parts = []
        for part in make(places, of, output / "crops", count, seed):
            parts.append(part)
            tell(f"{what}: {sum(map(len, parts))} crops")
        return Crops.join(parts)

    measured = gather("held out", kept, fingerprint(kept), MEASURED, options.seed + 1_000_003)
    crops = gather("to learn from", learned, made_of, options.crops, options.seed)
    torch.manual_seed(options.seed)
    net = CornerNet()

    def epoch_done(number: int, saved: dict[str, Any], line: str) -> None:
        part = last.with_suffix(".part")
        torch.save({**saved, "options": asdict(options), "made_of": made_of}, part)
        os.replace(part, last)
        tell(f"epoch {number} of {options.epochs}: {line}")

    done = state["epochs"] if state else 0
    average = learn(net, crops, options, done=done, state=state, device=device, epoch_done=epoch_done)
    net.load_state_dict(average)
    return finish(net.cpu(), measured, output, options, f"{len(learned)} photos, {len(crops)} crops")


def _read(last: Path, options: Options, made_of: str) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(last, weights_only=True, map_location="cpu")
    except Exception as e:  # a pickle may fail in any way
        raise WeightsError(f"{last} is not a checkpoint of a corner network: {e}") from e
    changed = [k for k, v in asdict(options).items() if k != "device" and state["options"].get(k) != v]
    if changed:
        raise SettingsError(
            f"{last} was trained with another {changed[0]}, {state['options'].get(changed[0])}; "
            "go on with that, or choose another folder"
        )
    if state.get("made_of") != made_of:
        raise SettingsError(f"{last} was trained on other photos or labels; choose another folder for the output")
    return state


def _device(name: str) -> str:
    if name not in ("auto", "cpu", "cuda"):
        raise SettingsError(f"device is auto, cpu or cuda; received {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise SettingsError("device cuda: torch sees no GPU here")
    return "cuda" if name != "cpu" and torch.cuda.is_available() else "cpu"


def finish(net: CornerNet, measured: Crops, output: Path, options: Options, learned: str) -> Trained:
    """Calibrate how sure it is, export it, and describe it."""
    corners, logits = look(net, measured)
    slope, bias = calibrate(corners, logits, measured)
    network = export(net, output / f"{MODEL}.onnx", slope, bias)
    state = {k: v.half() if v.is_floating_point() else v for k, v in net.state_dict().items()}
    torch.save({"net": state}, output / f"{MODEL}.pt")
    figures = measure(corners, logits, measured, slope, bias)
    shown = np.where((_probability(logits, slope, bias) >= SURE)[:, None, None], corners, np.nan)
    from PIL import Image

    Image.fromarray(sheet(measured, shown, limit=96)).save(output / "held-out.png")
    digest = hashlib.sha256(network.read_bytes()).hexdigest()
    (output / "registry.toml").write_text(
        f'[{MODEL}]\ntask = "corners"\nfile = "{network.name}"\nsources = ["file:{network.name}"]\n'
        f'sha256 = "{digest}"\nbytes = {network.stat().st_size}\nlicense = "AGPL-3.0"\nsize = {INPUT[0]}\n'
        'classes = { plate = "plate" }\n',
        "utf-8",
    )
    rows = {
        "file": f"{network.name}, {network.stat().st_size / 1e6:.2f} MB, sha256 {digest}",
        "learned from": learned,
        "settings": ", ".join(f"{k} {v}" for k, v in asdict(options).items()),
        "with": f"torch {torch.__version__}, Python {platform.python_version()}",
        **{k: f"{v:.4f}" for k, v in figures.items()},
    }
    card = output / "card.md"
    table = "".join(f"| {k} | {v} |\n" for k, v in rows.items())
    card.write_text(f"## {MODEL}\n\nThe four corners of a plate.\n\n| | |\n|---|---|\n{table}", "utf-8")
    return Trained(network, card, figures)


def look(net: CornerNet, crops: Crops, batch: int = 100) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Corners (N, 4, 2), shares of the crop, and the logit (N,) of the corner that is least sure."""
    net.eval()
    corners, sure = [], []
    with torch.inference_mode():
        for start in range(0, len(crops), batch):
            some = batch_of(crops, np.arange(start, min(start + batch, len(crops))), "cpu")
            maps, logits = net(some.images)
            corners.append(place(maps))
            sure.append(logits.amin(1))
    return torch.cat(corners).double().numpy(), torch.cat(sure).double().numpy()


def _hidden(corners: NDArray[np.float64], crops: Crops) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Whether all four are off by so little that growing hides it (N,); mean distance in shares of the width (N,)."""
    found, told, pixels = (torch.from_numpy(np.asarray(a, np.float64)) for a in (corners, crops.corners, crops.pixels))
    by, size = off(found, told, pixels)
    distance = ((found - told) * pixels[:, None]).norm(dim=-1).mean(1) / size[:, 0]
    return hidden(by, size).all(1).numpy(), distance.numpy()


def _probability(logits: NDArray[np.float64], slope: float, bias: float) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-(slope * logits + bias)))


def calibrate(corners: NDArray[np.float64], logits: NDArray[np.float64], crops: Crops) -> tuple[float, float]:
    """Slope and bias that turn what `look` gave into the probability that all four corners are near enough (Platt)."""
    known = crops.kinds != REAL
    truth = (_hidden(corners, crops)[0] & (crops.kinds == DRAWN))[known].astype(np.float64)
    x = np.stack([logits[known], np.ones(known.sum())], 1)
    w = np.array([1.0, 0.0])
    for _ in range(50):  # Newton's method; a little weight keeps it finite where nothing is wrong
        p = 1 / (1 + np.exp(-x @ w))
        gradient = x.T @ (p - truth) + 1e-2 * (w - (1, 0))
        w = w - np.linalg.solve((x * (p * (1 - p))[:, None]).T @ x + 1e-2 * np.eye(2), gradient)
    return max(float(w[0]), 0.05), float(w[1])


def measure(
    corners: NDArray[np.float64], logits: NDArray[np.float64], crops: Crops, slope: float, bias: float
) -> dict[str, float]:
    """Figures of what `look` gave on crops that were held out."""
    right, distance = _hidden(corners, crops)
    p = _probability(logits, slope, bias)
    drawn, real, empty = (crops.kinds == k for k in (DRAWN, REAL, 2))
    sure = p >= SURE
    chosen = drawn & sure

    def of(values: NDArray[Any], which: NDArray[np.bool_], how: Callable[[Any], Any] = np.mean) -> float:
        return float(how(values[which])) if which.any() else float("nan")

    return {
        "drawn plates with corners": of(sure, drawn),
        "their mean corner error, share of the width": of(distance, chosen),
        "median": of(distance, chosen, np.median),
        "near enough to be hidden, of those with corners": of(right, chosen),
        "their mean probability": of(p, chosen),
        "real plates with corners": of(sure, real),
        "places without a plate that get corners": of(sure, empty),
    }


class _Exported(nn.Module):
    """The network with calibrated logits, as convolutions and pools only: what every runtime here knows."""

    def __init__(self, net: CornerNet, slope: float, bias: float) -> None:
        super().__init__()
        self.net, self.slope, self.bias = net, slope, bias

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        coarse, fine = self.net.features(x)
        pooled = (nn.functional.adaptive_avg_pool2d(coarse, 1), nn.functional.adaptive_max_pool2d(fine, 1))
        first, _, second = self.net.sure
        inner = torch.relu(nn.functional.conv2d(torch.cat(pooled, 1), first.weight[:, :, None, None], first.bias))
        weight, bias = second.weight * self.slope, second.bias * self.slope + self.bias
        return self.net.maps(fine), nn.functional.conv2d(inner, weight[:, :, None, None], bias)


def export(net: CornerNet, target: Path, slope: float = 1.0, bias: float = 0.0) -> Path:
    """The network as ONNX, any number of crops at once.

    Outputs: maps (N, 12, 12, 24) and logits (N, 4, 1, 1), calibrated; `detectors.plate_corners.decode` reads them.
    """
    import onnx

    net = net.float().eval()
    part = target.with_suffix(".part")
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's newer exporter needs one more package
        torch.onnx.export(
            _Exported(net, slope, bias).eval(),
            (torch.zeros(2, 3, INPUT[1], INPUT[0]),),
            str(part),
            input_names=["crops"],
            output_names=["maps", "sure"],
            dynamic_axes={name: {0: "n"} for name in ("crops", "maps", "sure")},
            opset_version=OPSET,
            dynamo=False,
        )
    model = onnx.load(part)
    for key, value in {"task": "corners", "calibration": json.dumps([round(slope, 4), round(bias, 4)])}.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.checker.check_model(model)
    onnx.save(model, str(target))
    part.unlink()
    return target
