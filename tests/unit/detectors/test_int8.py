"""Networks in 8-bit integers answer nearly as those in float32 do, and on every processor the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from anonymize import weights
from anonymize.detectors import create, int8
from anonymize.regions import boxes, iou
from anonymize.settings import Settings
from anonymize.weights.registry import registry, registry_path

ov = pytest.importorskip("openvino")
pytestmark = pytest.mark.skipif(
    not int8.ranges_of(weights.onnx("street")), reason="networks run as they are on this processor"
)
CONTENT = json.loads(registry_path().with_name("int8.json").read_text("utf-8"))


def two_branches() -> tuple[object, dict[str, int8.Range]]:
    """A convolution whose output goes on split and joined, to a second one."""
    from openvino import opset13 as op

    random = np.random.default_rng(3)
    given = op.parameter([1, 3, -1, -1], np.float32, name="given")

    def convolution(source: object, name: str, out: int, depth: int) -> object:
        made = op.convolution(
            source,
            op.constant(random.normal(size=(out, depth, 3, 3)).astype(np.float32)),
            [1, 1],
            [1, 1],
            [1, 1],
            [1, 1],
        )
        made.set_friendly_name(name)
        return made

    first = convolution(given, "first", 4, 3)
    low, high = op.split(op.relu(first), op.constant(np.int64(1)), 2).outputs()
    second = convolution(low, "second", 2, 2)
    third = convolution(op.concat([high, op.relu(second)], 1), "third", 2, 4)
    ranges = {
        name: int8.Range(0.0, high, np.full(channels, mean, np.float32))
        for name, high, channels, mean in (("first", 1.0, 3, 0.5), ("second", 9.0, 2, 1.5), ("third", 30.0, 4, 3.0))
    }
    return ov.Model([third], [given], "two"), ranges


def answers(model: object, image: np.ndarray) -> np.ndarray:
    return ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([image])[0]


def test_a_quantized_network_answers_nearly_the_same() -> None:
    image = np.random.default_rng(1).random((1, 3, 40, 56)).astype(np.float32)
    exact, ranges = two_branches()
    quantized, _ = two_branches()
    int8.quantize(quantized, ranges)
    expected = answers(exact, image)
    got = answers(quantized, image)
    assert not np.array_equal(got, expected)
    assert np.abs(got - expected).mean() < 0.05 * np.abs(expected).mean()


def test_what_rounded_weights_add_to_the_mean_is_taken_off() -> None:
    """Where each channel of the input is its mean, nothing but the rounding of the input remains."""
    image = np.full((1, 3, 40, 40), 0.5, np.float32)
    got = {}
    for mean in (0.0, 0.5):
        model, _ = two_branches()
        int8.quantize(model, {"first": int8.Range(0.0, 1.0, np.full(3, mean, np.float32))})
        got[mean] = answers(model, image)
    expected = answers(two_branches()[0], image)
    errors = {mean: np.abs(one - expected)[..., 5:-5, 5:-5].mean() for mean, one in got.items()}
    assert errors[0.5] < 0.5 * errors[0.0]


def test_what_is_joined_has_one_range() -> None:
    model, ranges = two_branches()
    int8.quantize(model, ranges)
    ends = {
        float(node.input_value(2).get_node().get_data().max())
        for node in model.get_ops()
        if node.get_type_name() == "FakeQuantize" and node.input_value(0).get_node().get_type_name() == "Relu"
    }
    assert ends == {30.0}  # the split half and the second's output meet in the third


def test_a_name_that_a_part_of_the_network_lacks_is_left_out() -> None:
    model, ranges = two_branches()
    before = answers(model, np.ones((1, 3, 8, 8), np.float32))
    int8.quantize(model, {"elsewhere": ranges["first"]})
    assert np.array_equal(answers(model, np.ones((1, 3, 8, 8), np.float32)), before)


@pytest.mark.weights
@pytest.mark.parametrize("name", CONTENT)
def test_the_ranges_are_those_of_the_networks_of_now(name: str) -> None:
    path = weights.onnx(name)
    assert CONTENT[name]["sha256"] == registry()[name].sha256
    ranges = int8.ranges_of(path)
    nodes = int8.convolutions(ov.Core().read_model(path))
    assert set(ranges) <= set(nodes)
    assert len(ranges) >= 0.6 * len(nodes)
    assert all(r.low <= 0 < r.high and np.isfinite(r.mean).all() for r in ranges.values())


@pytest.mark.weights
@pytest.mark.parametrize(("name", "least"), [("street@1280", 0.3), ("coco@640", 0.3)])
def test_what_is_clear_stays_clear(monkeypatch: pytest.MonkeyPatch, bus: Path, name: str, least: float) -> None:
    photo, found = cv2.cvtColor(cv2.imread(str(bus)), cv2.COLOR_BGR2RGB), {}
    for precision in ("f32", "int8"):
        monkeypatch.setenv("ANONYMIZE_PRECISION", precision)
        (found[precision],) = create(name, Settings()).detect([photo])
    clear = [r for r in found["f32"] if r.score >= least]
    assert len(clear) >= 2
    for region in clear:
        same = [r for r in found["int8"] if r.kind == region.kind]
        overlaps = iou(boxes([region]), boxes(same))[0]
        assert overlaps.max() > 0.85
        assert same[int(overlaps.argmax())].score == pytest.approx(region.score, abs=0.12)


@pytest.mark.weights
def test_processors_without_vnni_say_the_same(bus: Path, tmp_path: Path) -> None:
    """They add two products in 16 bits: sums that overflow would lose faces without a word."""
    program = f"""
import json, cv2
from anonymize.detectors import create
from anonymize.settings import Settings
image = cv2.imread({str(bus)!r})[..., ::-1].copy()
found = create("street@640", Settings()).detect([image])[0]
print(json.dumps([[r.kind, r.score, *r.box] for r in found if r.score >= 0.05]))
"""
    rows = []
    for processor in ("AVX2", "AVX512_CORE_VNNI"):
        environment = {**os.environ, "ANONYMIZE_PRECISION": "int8", "ONEDNN_MAX_CPU_ISA": processor}
        out = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=300
        )
        rows.append(json.loads(out.stdout.splitlines()[-1]))
    assert len(rows[0]) == len(rows[1]) >= 3
    for one, other in zip(*rows, strict=True):
        assert one[0] == other[0]
        assert one[1:] == pytest.approx(other[1:], abs=0.5)
        assert one[1] == pytest.approx(other[1], abs=0.02)
