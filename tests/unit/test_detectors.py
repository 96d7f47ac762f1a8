"""Names -> detectors; and, marked `weights`, the real networks on ultralytics' two photos."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from anonymize import weights
from anonymize.detectors import Detector, FakeDetector, create
from anonymize.detectors.factory import BACK_ENDS
from anonymize.detectors.spec import names
from anonymize.errors import DetectionError, SettingsError, UnknownNameError, UntrustedWeightsError, WeightsError
from anonymize.regions import Region, boxes, iou
from anonymize.settings import MIN_THRESHOLD, Settings
from anonymize.weights.registry import model, registry

S = Settings(device="cpu")


def test_importing_the_package_loads_no_back_end() -> None:
    heavy = ("torch", "cv2", "openvino", "onnxruntime", "onnx", "ultralytics", "facenet_pytorch")
    code = f"import sys, anonymize.detectors; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_back_end_is_of_a_model_in_the_registry_and_all_others_are_yolo_networks() -> None:
    assert set(BACK_ENDS) <= set(names())
    assert all(set(registry()[n].classes.values()) != {"face"} for n in set(names()) - set(BACK_ENDS))


@pytest.mark.parametrize("name", ["", "retinaface", "RetinaFace-mobilenet", "yolo", "safelicensing@", "@640", "none"])
def test_other_names_are_refused_with_the_valid_ones(name: str) -> None:
    with pytest.raises(SettingsError) as e:
        create(name, S)
    if "@" not in name:
        assert isinstance(e.value, UnknownNameError)
        for valid in (*names(), "two-stage:NAME", "yolo:PATH", "package.module:Class"):
            assert valid in str(e.value)


@pytest.mark.parametrize("side", ["0", "31", "100", "-640", "640.0", "8224", "big", "٦٤٠"])
def test_a_long_side_is_a_multiple_of_32(side: str) -> None:
    with pytest.raises(SettingsError, match="multiple of 32"):
        create(f"safelicensing@{side}", S)


class Own(FakeDetector):
    def __init__(self) -> None:
        super().__init__([Region("face", (0, 0, 1, 1))], name="own")


class Needy(FakeDetector):
    def __init__(self, what: str) -> None:
        raise AssertionError(what)


not_a_detector = dict


def test_a_persons_own_class() -> None:
    made = create(f"{__name__}:Own", S)
    assert made.name == "own"
    assert isinstance(made, Detector)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no.such.module:Class", "No module named"),
        (f"{__name__}:Nothing", "Nothing"),
        (f"{__name__}:Needy", "what"),
        (f"{__name__}:not_a_detector", "is not a detector"),
    ],
)
def test_a_persons_own_class_that_cannot_be(name: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        create(name, S)


def test_a_pickle_from_elsewhere_needs_trust(tmp_path: Path) -> None:
    path = tmp_path / "own.pt"
    path.write_bytes(b"a pickle")
    for name in (f"yolo:{path}", f"yolo:{path}@640", f"two-stage:yolo:{path}"):
        with pytest.raises(UntrustedWeightsError, match="--trust"):
            create(name, S, weights_dir=tmp_path)


def test_own_weights_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="not there"):
        create(f"yolo:{tmp_path}/none.onnx", S)


# ---- real weights

FACES = {  # x, y inside each face that anybody sees
    "zidane": [(985, 190), (610, 340)],
    "bus": [(287, 448), (135, 444)],
}
IMAGE = np.zeros((64, 64, 3), np.uint8)


@pytest.fixture(scope="module")
def made() -> Callable[[str], Detector]:
    """Detectors by name, each loaded once."""
    known: dict[str, Detector] = {}

    def get(name: str) -> Detector:
        if name not in known:
            known[name] = create(name, S)
        return known[name]

    return get


def rgb(path: Path) -> np.ndarray:
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def centers_hit(found: list[Region], centers: list[tuple[int, int]]) -> list[bool]:
    return [any(r.box[0] < x < r.box[2] and r.box[1] < y < r.box[3] for r in found) for x, y in centers]


@pytest.mark.weights
@pytest.mark.parametrize("name", ["retinaface-mobilenet", "centerface", "mtcnn", "retinaface-mobilenet@640"])
def test_faces_are_found_where_they_are(made: Callable[[str], Detector], name: str, zidane: Path, bus: Path) -> None:
    detector = made(name)
    found = detector.detect([rgb(zidane), rgb(bus)])
    for regions, centers in zip(found, (FACES["zidane"], FACES["bus"]), strict=True):
        sure = [r for r in regions if r.score >= (0.9 if name == "mtcnn" else 0.6)]
        assert len(sure) == 2
        assert centers_hit(sure, centers) == [True, True]
        assert all(r.kind == "face" and set(r.detector_scores) == {detector.name} for r in regions)
        assert regions[-1].score < 0.3  # candidates are kept far below any threshold
        assert regions[-1].score >= MIN_THRESHOLD
        for r in sure:
            assert r.landmarks is not None
            (left, left_y), (right, _), (nose, nose_y), *_ = r.landmarks
            assert left < right
            assert nose_y > left_y
            assert r.box[0] < nose < r.box[2]
    base = name.partition("@")[0]
    assert detector.weights == {base: model(base).sha256}


@pytest.mark.weights
@pytest.mark.parametrize("name", ["retinaface-mobilenet", "centerface", "mtcnn", "safelicensing", "coco", "two-stage"])
@pytest.mark.parametrize("shape", [(1, 1), (10, 15), (5, 2000), (2000, 5), (12, 12), (31, 33), (1500, 30)])
def test_odd_sizes_are_looked_at(made: Callable[[str], Detector], name: str, shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 255, (*shape, 3), dtype=np.uint8)
    (found,) = made(name).detect([image])
    for r in found:
        assert 0 <= r.box[0] < r.box[2] <= shape[1]
        assert 0 <= r.box[1] < r.box[3] <= shape[0]


@pytest.mark.weights
@pytest.mark.parametrize("name", ["retinaface-mobilenet", "mtcnn", "coco"])
def test_what_is_no_rgb_image_is_refused(made: Callable[[str], Detector], name: str) -> None:
    for wrong in (IMAGE[..., 0], IMAGE.astype(np.float32), IMAGE[..., :2], None):
        with pytest.raises(DetectionError, match="an image is"):
            made(name).detect([IMAGE, wrong])  # type: ignore[list-item]


@pytest.mark.weights
def test_two_stages_name_their_sizes(made: Callable[[str], Detector]) -> None:
    assert made("two-stage").name == "two-stage:safelicensing@320"
    assert create("two-stage:safelicensing@96", S).name == "two-stage:safelicensing@96"
    assert made("two-stage").weights == {n: model(n).sha256 for n in ("coco", "safelicensing")}


@pytest.mark.weights
def test_vehicles_and_persons_and_nothing_else(made: Callable[[str], Detector], bus: Path) -> None:
    (found,) = made("coco").detect([rgb(bus)])
    sure = [r for r in found if r.score > 0.5]
    assert sorted(r.kind for r in sure) == ["person", "person", "person", "vehicle"]
    assert {r.kind for r in found} == {"person", "vehicle"}


def compare_with_ultralytics(photo: Path, theirs: Path, ours: Detector, table: dict[str, str], least: float) -> int:
    """Each box that ultralytics finds is ours, within 1 px and 0.01; the number of them."""
    from ultralytics import YOLO

    side = int(ours.name.partition("@")[2])
    (result,) = YOLO(str(theirs), task="detect").predict(
        str(photo), imgsz=side, conf=least, iou=S.iou_threshold, device="cpu", verbose=False
    )
    (found,) = ours.detect([rgb(photo)])
    count = 0
    for *box, score, number in result.boxes.data.tolist():
        name = result.names[int(number)]
        if name not in table:
            continue
        same = [r for r in found if r.kind == table[name]]
        best = same[int(iou(np.array([box]), boxes(same)).argmax())]
        np.testing.assert_allclose(best.box, box, atol=1.0)
        assert best.detector_scores[ours.name] == pytest.approx(score, abs=0.01)
        count += 1
    return count


@pytest.mark.weights
def test_boxes_equal_those_of_ultralytics_on_the_same_export(
    monkeypatch: pytest.MonkeyPatch, bus: Path, zidane: Path
) -> None:
    """The COCO network was exported for 640 × 640: both pad to that square."""
    from anonymize.detectors import yolo

    monkeypatch.setenv("ANONYMIZE_PRECISION", "f32")
    table = {"person": "person", "bus": "vehicle", "car": "vehicle"}
    path = weights.onnx("coco")
    square = yolo.load("coco", path, S, None, {}, classes=table)
    assert compare_with_ultralytics(bus, path, square, table, 0.25) >= 4
    assert compare_with_ultralytics(zidane, path, square, table, 0.25) >= 2


@pytest.mark.weights
def test_boxes_equal_those_of_ultralytics_through_torch(
    monkeypatch: pytest.MonkeyPatch, bus: Path, zidane: Path
) -> None:
    """The original .pt, any size: both pad to the same rectangle. No plate is in sight; faint false finds will do."""
    monkeypatch.setenv("ANONYMIZE_PRECISION", "f32")
    table = {"License_Plate": "plate"}
    original = weights.fetch("fastanpr")
    for side in (640, 960):
        ours = create(f"fastanpr@{side}", S)
        assert sum(compare_with_ultralytics(p, original, ours, table, 0.01) for p in (bus, zidane)) >= 1


@pytest.mark.weights
def test_bfloat16_moves_no_box_far(monkeypatch: pytest.MonkeyPatch, bus: Path) -> None:
    photo = rgb(bus)
    for name, least in (("retinaface-mobilenet", 0.5), ("centerface", 0.3), ("coco@1280", 0.5)):
        found = {}
        for precision in ("f32", "bf16"):
            monkeypatch.setenv("ANONYMIZE_PRECISION", precision)
            (found[precision],) = create(name, S).detect([photo])
        for r in (r for r in found["f32"] if r.score >= least):
            other = max((o for o in found["bf16"] if o.kind == r.kind), key=lambda o: iou(boxes([o]), boxes([r]))[0, 0])
            assert iou(boxes([other]), boxes([r]))[0, 0] > 0.9
            assert other.score == pytest.approx(r.score, abs=0.1)
