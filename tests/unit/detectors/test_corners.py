from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from anonymize import Predictor, Settings, weights
from anonymize.detectors import Detector, FakeDetector, Image, create
from anonymize.detectors.plate_corners import AT_ONCE, FILL, INPUT, Corners, WithCorners, cut, decode, load, window
from anonymize.errors import DetectionError
from anonymize.regions import Region
from anonymize.weights import registry

BOX = (60.0, 40.0, 100.0, 50.0)
PLACES = np.array([(0.25, 0.25), (0.75, 0.3), (0.75, 0.7), (0.25, 0.65)])  # of corners, in shares of the crop
SHAPE = (12, 24)


def maps(places: np.ndarray = PLACES) -> np.ndarray:
    """What a network says that is certain of these places: (1, 12, 12, 24)."""
    out = np.zeros((1, 12, *SHAPE), np.float32)
    for i, (x, y) in enumerate(places * SHAPE[::-1]):
        row, column = (int(np.clip(v, 0, n - 1)) for v, n in ((y, SHAPE[0]), (x, SHAPE[1])))
        out[0, i, row, column] = 60
        out[0, 4 + 2 * i, row, column], out[0, 5 + 2 * i, row, column] = x - column - 0.5, y - row - 0.5
    return out


class Says:
    """A network that says the same of every crop."""

    metadata: Mapping[str, str] = {}
    size = (INPUT[1], INPUT[0])

    def __init__(self, sure: float = 3.0, places: np.ndarray = PLACES) -> None:
        self.sure, self.places, self.seen = sure, places, [np.zeros(0)][:0]

    def __call__(self, batch: np.ndarray) -> Mapping[str, np.ndarray]:
        self.seen.append(batch)
        logits = np.full((len(batch), 4, 1, 1), 5.0, np.float32)
        logits[:, 2] = self.sure
        return {"maps": np.repeat(maps(self.places), len(batch), axis=0), "sure": logits}


def with_corners(*regions: Region, says: Says | None = None) -> WithCorners:
    return WithCorners(FakeDetector(regions, name="a"), Corners(says or Says(), {"net": "11"}))


@pytest.fixture
def photo() -> Image:
    """Each pixel says where it lies: (120, 200, 3)."""
    image = np.zeros((120, 200, 3), np.uint8)
    image[..., 0] = np.arange(120)[:, None]
    image[..., 1] = np.arange(200)
    return image


def plate(box: tuple[float, ...] = BOX, score: float = 0.8, **more: object) -> Region:
    return Region("plate", box, score, {"a": score}, **more)  # type: ignore[arg-type]


def test_the_window_is_the_box_and_what_is_around_it() -> None:
    assert window(BOX) == (50, 33, 110, 57)  # a quarter of 40 beside it, of (10 + 40) / 2 above and below


def test_a_crop_is_the_stretched_window_and_gray_beyond_the_photo(photo: Image) -> None:
    whole = cut(photo, (0, 0, 96, 48))
    assert np.array_equal(whole, photo[:48, :96])
    half = cut(photo, (-48, 0, 48, 48))
    assert np.array_equal(half[:, 48:], photo[:48, :48])
    assert (half[:, :48] == FILL).all()
    assert (cut(photo, (300, 300, 340, 310)) == FILL).all()
    assert cut(photo, (10, 10, 12, 11)).shape == (48, 96, 3)


def test_decoding_gives_the_places_and_the_least_sure_corner() -> None:
    outside = PLACES + (-0.3, 0.0)  # half a plate at the photo's edge
    found, sure = decode(Says(sure=0.0)(np.zeros((2, 3, 48, 96), np.float32)))
    assert found[1] == pytest.approx(PLACES, abs=1e-6)
    assert sure == pytest.approx([0.5, 0.5])
    found, _ = decode({"maps": maps(outside), "sure": np.zeros((1, 4, 1, 1), np.float32)})
    assert found[0] == pytest.approx(outside, abs=1e-6)


@pytest.mark.parametrize(
    "outputs",
    [
        {"maps": np.zeros((1, 8, 12, 24)), "sure": np.zeros((1, 4, 1, 1))},
        {"maps": np.zeros((2, 12, 12, 24)), "sure": np.zeros((1, 4, 1, 1))},
        {"maps": np.full((1, 12, 12, 24), np.nan), "sure": np.zeros((1, 4, 1, 1))},
        {"maps": np.zeros((1, 12, 12, 24)), "sure": np.full((1, 4, 1, 1), np.nan)},
    ],
)
def test_outputs_that_cannot_be_are_failures(outputs: Mapping[str, np.ndarray]) -> None:
    with pytest.raises(DetectionError):
        decode(outputs)


def test_a_plate_gets_corners_in_the_photos_pixels(photo: Image) -> None:
    says = Says()
    detector = with_corners(plate(), says=says)
    assert isinstance(detector, Detector)
    (found,) = detector.detect([photo])
    assert found[0].corners is not None
    assert np.array(found[0].corners) == pytest.approx(PLACES * (60, 24) + (50, 33), abs=1e-4)
    assert found == [plate(corners=found[0].corners)]  # box, score, votes and id stay
    assert says.seen[0].shape == (1, 3, 48, 96)
    assert 0 <= says.seen[0].min() <= says.seen[0].max() <= 1
    assert detector.weights == {"net": "11"}
    assert detector.name == "a"


def test_in_doubt_there_are_no_corners_and_the_region_stays(photo: Image) -> None:
    assert with_corners(plate(), says=Says(sure=-0.1)).detect([photo]) == [[plate()]]


def test_only_plates_without_corners_that_may_be_hidden_are_looked_at(photo: Image) -> None:
    own = ((0.0, 0.0), (9.0, 0.0), (9.0, 9.0), (0.0, 9.0))
    regions = [plate(score=0.01), Region("face", BOX, 0.9), plate(corners=own), Region("vehicle", BOX, 0.9)]
    says = Says()
    assert with_corners(*regions, says=says).detect([photo]) == [regions]
    assert says.seen == []


def test_all_plates_of_a_photo_are_looked_at_in_one_call(photo: Image) -> None:
    says = Says()
    many = [plate((x, 40.0, x + 10, 50.0)) for x in range(AT_ONCE + 2)]
    (found,) = with_corners(*many, says=says).detect([photo])
    assert [len(batch) for batch in says.seen] == [AT_ONCE, 2]
    assert len({r.corners for r in found}) == len(many)
    assert with_corners(plate()).detect([]) == []


def test_a_network_that_fails_is_a_failure_not_a_plate_without_corners(photo: Image) -> None:
    class Fails(Says):
        def __call__(self, batch: np.ndarray) -> Mapping[str, np.ndarray]:
            raise RuntimeError("out of memory")

    with pytest.raises(DetectionError, match="out of memory"):
        with_corners(plate(), says=Fails()).detect([photo])


def test_what_is_no_photo_is_refused() -> None:
    with pytest.raises(DetectionError):
        with_corners(plate()).detect([np.zeros((4, 4), np.uint8)])


def test_corners_are_looked_for_when_the_mask_follows_them_and_only_then(photo: Image) -> None:
    given = [FakeDetector([plate()], name="a")]
    quad = Predictor(Settings().with_kind("plate", mask="quad"), detectors=given)
    box = Predictor(Settings(), detectors=given)
    assert "plates-corners" in quad.detector_weights["a"]
    assert box.detector_weights == {"a": {}}
    assert quad.detection_hash != box.detection_hash  # what was found without corners is looked at again
    assert len(quad.predict([photo])[0]) == 1


def street() -> tuple[np.ndarray, np.ndarray]:
    """A drawn plate on a gray wall: RGB (200, 320, 3); its corners."""
    from models.recipes.plates.synth import LAYOUTS, draw_plate, paste, project

    rng = np.random.default_rng(4)
    wall = np.clip(rng.normal(70, 3, (200, 320, 3)), 0, 255).astype(np.uint8)
    corners = project(LAYOUTS[0].aspect, 0.3, 0.1, 0.35) * 28 + (160, 100)
    paste(wall, draw_plate(LAYOUTS[0], rng), corners, np.full(3, 235, np.float32), 0.5)
    return wall, corners


def test_the_projects_network_knows_a_turned_plates_corners() -> None:
    wall, corners = street()
    box = (*corners.min(0), *corners.max(0))
    ((found, sure),) = load(Settings()).find(wall, [box])
    width = np.linalg.norm(corners[1] - corners[0])
    assert np.linalg.norm(np.array(found) - corners, axis=1).mean() < 0.05 * width
    assert sure > 0.5


def test_the_projects_network_is_not_sure_of_what_is_no_plate() -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (120, 200, 3), np.uint8)
    flat = np.full((120, 200, 3), 120, np.uint8)
    find = load(Settings()).find
    assert all(sure < 0.5 for image in (noise, flat) for _, sure in find(image, [BOX, (5.0, 5.0, 60.0, 60.0)]))


@pytest.mark.parametrize("runtime", ["openvino f32", "openvino bf16", "onnxruntime f32"])
def test_every_runtime_says_what_torch_says(runtime: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from anonymize.detectors.runtime import open_network
    from models.recipes.plates.corner_net import CornerNet, place

    path = weights.verify("plates-corners")
    wall, corners = street()
    rng = np.random.default_rng(1)
    boxes = [(*corners.min(0) + rng.normal(0, 3, 2), *corners.max(0) + rng.normal(0, 3, 2)) for _ in range(5)]
    batch = np.stack([cut(wall, window(b)).transpose(2, 0, 1) for b in boxes]).astype(np.float32) / 255
    net = CornerNet()
    saved = torch.load(path.with_suffix(".pt"), weights_only=True)["net"]
    net.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in saved.items()})
    with torch.inference_mode():
        expected = place(net.eval()(torch.from_numpy(batch))[0]).numpy()
    monkeypatch.setenv("ANONYMIZE_RUNTIME", runtime.split()[0])
    monkeypatch.setenv("ANONYMIZE_PRECISION", runtime.split()[1])
    network = open_network(path, "cpu")
    found, sure = decode(network(batch))
    assert np.abs((found - expected) * INPUT).max() < 1.0
    one, again = decode(network(batch[:1]))
    assert np.abs((one[0] - found[0]) * INPUT).max() < 0.5  # alone or among others
    assert again[0] == pytest.approx(sure[0], abs=0.02)


def test_the_files_are_those_of_the_registry_and_of_the_card() -> None:
    entry = registry.model("plates-corners")
    folder = registry.registry_path().parent
    assert weights.verify("plates-corners") == folder / "plates-corners.onnx"
    assert entry.sha256 in (folder / "plates-corners.md").read_text("utf-8")
    assert entry.bytes < 1_100_000


def test_it_is_no_detector() -> None:
    from anonymize.errors import UnknownNameError

    with pytest.raises(UnknownNameError):
        create("plates-corners", Settings())
