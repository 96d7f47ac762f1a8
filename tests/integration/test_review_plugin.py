"""The plugin in anybody's own FiftyOne: without the review's server, linked or copied into a plugins folder.

One FiftyOne serves all tests here: it takes seconds to start.
"""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from anonymize import images, records
from anonymize.records import Header, Record
from anonymize.regions import Region
from anonymize.settings import Settings
from review.dataset import PLUGIN
from review.reviews import registry
from review.store import ReviewStore

SETTINGS = Settings().with_kind("face", threshold=0.5).with_kind("plate", threshold=0.25)
FACE = Region("face", (10, 10, 30, 34), 0.9, {"one": 0.9})
FAINT = Region("plate", (50, 50, 80, 60), 0.2, {"two": 0.2})
NAMES = (
    "accept",
    "reject",
    "add",
    "set_kind",
    "extend",
    "approve",
    "flag",
    "undo",
    "next",
    "save_edits",
    "preview",
    "export",
)


@pytest.fixture(scope="module")
def fo(fiftyone_home: Path) -> Iterator[Any]:
    """FiftyOne as a person has it: with a plugins folder of their own, that the plugin is linked into."""
    import fiftyone

    (fiftyone_home / "mine").mkdir()
    (fiftyone_home / "mine" / "review").symlink_to(PLUGIN)
    before, fiftyone.config.plugins_dir = fiftyone.config.plugins_dir, str(fiftyone_home / "mine")
    yield fiftyone
    fiftyone.config.plugins_dir = before


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Records of three photos."""
    root = tmp_path / "photos"
    root.mkdir()
    known = []
    for name in ("a.png", "b.png", "c.png"):
        Image.effect_noise((100, 80), 90).convert("RGB").save(root / name)
        known.append(Record(name, images.sha256(root / name), 100, 80, (FACE, FAINT), detectors={"one": {}}))
    records.write(tmp_path / "photos.jsonl", Header(str(root), SETTINGS), known)
    return tmp_path / "photos.jsonl"


class App:
    """What a person does in their App, with one photo open."""

    def __init__(self, fo: Any, path: Path) -> None:
        self.fo, self.path = fo, path
        self.name = self.run("open", records=str(path))["dataset"]

    def run(self, what: str, photo: str = "", label: str = "", **params: object) -> dict[str, Any]:
        ctx: dict[str, Any] = {"params": params}
        if hasattr(self, "name"):
            ctx["dataset"] = self.name
        if photo:
            ctx["current_sample"] = str(self.sample(photo)["_id"])
        if label:
            ctx["selected_labels"] = [{"sample_id": ctx["current_sample"], "label_id": label, "field": "hidden"}]
        told = self.fo.operators.execute_operator(f"@anonymize/review/{what}", ctx)
        self.notes = [
            c["params"].get("message")
            for c in told.executor.to_json()["requests"]
            if c["operator_uri"].endswith("notify")
        ]
        self.asked = [c["operator_uri"] for c in told.executor.to_json()["requests"]]
        return told.result

    def sample(self, photo: str) -> dict[str, Any]:
        return self.fo.load_dataset(self.name)._sample_collection.find_one({"photo": photo})

    def label(self, photo: str, region: str) -> str:
        sample = self.sample(photo)
        found = [x for f in ("hidden", "candidates") for x in sample[f]["detections"] if x.get("region") == region]
        return str(found[0]["_id"])

    def draw(self, photo: str, box: list[float]) -> None:
        """As the Annotate tab does: FiftyOne's database has it, and nobody else."""
        sample = self.fo.load_dataset(self.name).one(self.fo.ViewField("photo") == photo)
        sample.reload(hard=True)
        sample["hidden"].detections.append(self.fo.Detection(label="plate", bounding_box=box))
        sample.save()

    def record(self, photo: str) -> Record:
        return ReviewStore(self.path)[photo]  # as another process reads it


@pytest.fixture
def app(fo: Any, path: Path) -> App:
    return App(fo, path)


def test_every_operator_and_the_panel_are_listed(fo: Any):
    listed = {o.uri.removeprefix("@anonymize/review/"): o for o in fo.operators.list_operators(builtin=False)}
    assert set(listed) == {*NAMES, "open", "panel"}
    assert listed["panel"].config.label == "Review queue"


def test_decision_after_decision_reaches_the_records_and_the_sample(app: App):
    assert len(app.fo.load_dataset(app.name)) == 3
    app.run("reject", "a.png", app.label("a.png", FACE.id))
    assert [r.status for r in app.record("a.png").regions] == ["rejected", "auto"]
    # The sample follows at once: the next decision is about what the person sees, and not refused as out of date.
    assert {x["status"] for x in app.sample("a.png")["candidates"]["detections"]} == {"rejected", "auto"}
    app.run("accept", "a.png", app.label("a.png", FAINT.id))
    app.run("set_kind", "a.png", app.label("a.png", FAINT.id), kind="face")
    app.run("add", "a.png", kind="plate", x1=1, y1=2, x2=9, y2=6)
    app.run("approve", "a.png")
    record = app.record("a.png")
    assert [(r.kind, r.status) for r in record.regions] == [
        ("plate", "manual"),
        ("face", "rejected"),
        ("face", "accepted"),
    ]
    assert [d["what"] for d in record.decisions] == ["reject", "accept", "set-kind", "add", "approve"]
    assert (record.is_approved(SETTINGS), app.sample("a.png")["review"]) == (True, "approved")
    assert "1 of 3 approved" in app.notes[-1]
    app.run("undo", "a.png")
    app.run("flag", "a.png")
    assert (app.record("a.png").review, app.sample("a.png")["review"]) == ("flagged", "flagged")


def test_next_opens_a_photo_and_the_panel_tells_the_figures(app: App):
    app.run("flag", "a.png")
    found = app.run("next", "b.png")
    assert found["path"] == "c.png"
    assert "open_sample" in app.asked
    panel = app.fo.operators.execute_operator(
        "@anonymize/review/panel", {"dataset": app.name, "params": {"__method__": "on_load", "panel_id": "p"}}
    )
    (state,) = [
        c["params"]["state"] for c in panel.executor.to_json()["requests"] if "panel_state" in c["operator_uri"]
    ]
    assert "0 of 3 approved, 2 pending, 1 flagged" in json.dumps(state)


def test_the_panels_buttons_decide_on_the_open_photo_and_go_on(app: App):
    def press(method: str, photo: str) -> str:
        ctx = {"dataset": app.name, "params": {"__method__": method, "panel_id": "p"}}
        told = app.fo.operators.execute_operator(
            "@anonymize/review/panel", {**ctx, "current_sample": str(app.sample(photo)["_id"])}
        )
        return json.dumps(told.executor.to_json()["requests"])

    assert "open_sample" in press("approve_next", "a.png")
    assert "1 of 3 approved" in press("flag_next", "b.png")
    assert [app.record(name).review for name in ("a.png", "b.png")] == ["approved", "flagged"]
    press("undo", "b.png")
    assert app.record("b.png").review == "pending"
    ReviewStore(app.path).decide("c.png", "reject", who="bob", id=FACE.id)
    refused = press("approve_next", "c.png")  # it stays open, so that the person looks at it again
    assert "changed meanwhile" in refused
    assert "open_sample" not in refused


def test_what_was_drawn_is_saved_before_any_decision(app: App):
    app.draw("b.png", [0.5, 0.5, 0.1, 0.1])
    app.run("reject", "b.png", app.label("b.png", FACE.id))
    assert {r.box for r in app.record("b.png").regions if r.status == "manual"} == {(50, 40, 60, 48)}
    assert len(app.sample("b.png")["hidden"]["detections"]) == 1
    app.draw("c.png", [0.1, 0.1, 0.2, 0.1])
    app.run("save_edits")
    assert app.record("c.png").decisions[-1]["what"] == "add"
    assert app.notes[-1].startswith("changes of 1 photo saved")


def test_what_is_drawn_while_another_edit_is_saved_is_not_written_over(app: App):
    dataset = registry.open(app.path).dataset
    read = app.sample("a.png")
    app.draw("a.png", [0.5, 0.5, 0.1, 0.1])
    dataset._show("a.png", read)
    app.run("approve", "a.png")
    assert [d["what"] for d in app.record("a.png").decisions] == ["add", "approve"]


def test_a_plate_drawn_after_the_approval_keeps_its_photo_back(app: App):
    app.run("approve", "a.png")
    app.run("approve", "b.png")
    app.draw("a.png", [0.5, 0.1, 0.2, 0.1])
    assert app.run("export")["message"] == "1 photo exported, 2 withheld, 0 failed"
    assert {p.name for p in app.path.with_name("photos-approved").rglob("*.png")} == {"b.png"}


def test_the_preview_hides_what_the_export_hides(app: App):
    told = app.run("preview", "a.png")["image"]
    shown = Image.open(io.BytesIO(base64.b64decode(told.partition(",")[2])))
    was = Image.open(app.path.parent / "photos" / "a.png").convert("RGB")
    inside, outside = (12, 12, 28, 32), (60, 5, 95, 40)

    def rough(picture: Image.Image, box: tuple[int, int, int, int]) -> float:
        gray = picture.convert("L").crop(box)
        return max(gray.getdata()) - min(gray.getdata())

    assert rough(shown, inside) < rough(was, inside) / 3
    assert rough(shown, outside) > rough(was, outside) / 2


def test_the_preview_shows_every_form_of_photo_and_none_that_changed(fo: Any, tmp_path: Path):
    root = tmp_path / "forms"
    root.mkdir()
    Image.new("CMYK", (100, 80), (200, 20, 60, 10)).save(root / "a.jpg")
    Image.fromarray(np.full((80, 100), 40_000, np.uint16)).save(root / "b.png")
    known = [Record(p.name, images.sha256(p), 100, 80, (FACE,), detectors={"one": {}}) for p in sorted(root.iterdir())]
    records.write(tmp_path / "forms.jsonl", Header(str(root), SETTINGS), known)
    app = App(fo, tmp_path / "forms.jsonl")
    for name in ("a.jpg", "b.png"):
        told = app.run("preview", name)["image"]
        shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(told.partition(",")[2]))), int)
        assert np.abs(shown[70, 90] - images.load(root / name, SETTINGS).rgb[70, 90]).max() < 10, name
    Image.new("RGB", (100, 80), "red").save(root / "b.png")
    assert "changed after it was detected" in app.run("preview", "b.png")["error"]


def test_a_photo_that_changed_since_it_was_shown_is_refused_with_the_reason(app: App):
    ReviewStore(app.path).decide("a.png", "reject", who="bob", id=FACE.id)
    assert "changed meanwhile (last: reject by bob" in app.run("approve", "a.png")["error"]
    assert app.record("a.png").review == "pending"


def test_an_approval_is_of_the_thresholds_that_the_sample_shows(app: App):
    """Somebody chose others in the Review tab, or with `use`: the App shows what was hidden before."""
    ReviewStore(app.path).use(SETTINGS.with_kind("face", threshold=0.95))
    assert "thresholds or effects changed meanwhile" in app.run("approve", "a.png")["error"]
    assert app.record("a.png").decisions == ()
    assert any("reload_dataset" in asked for asked in app.asked)
    assert app.sample("a.png")["hidden"]["detections"] == []  # "look at it again"
    app.run("approve", "a.png")
    assert app.record("a.png").is_approved(SETTINGS.with_kind("face", threshold=0.95))
    ReviewStore(app.path).use(SETTINGS)
    app.draw("b.png", [0.5, 0.5, 0.1, 0.1])  # saving it is not looking at the others
    assert "thresholds or effects changed meanwhile" in app.run("approve", "b.png")["error"]
    assert [d["what"] for d in app.record("b.png").decisions] == ["add"]
    app.run("approve", "b.png")
    assert app.record("b.png").is_approved(SETTINGS)


def test_ground_truth_stays_when_the_plugin_opens_the_records(app: App, tmp_path: Path):
    from anonymize.evaluate.ground_truth import Annotations, Photo, Truth
    from review.dataset import ReviewDataset
    from review.queue import Queue

    truth = Annotations({"a.png": Photo((Truth("face", (10, 10, 30, 34)), Truth("plate", (50, 50, 80, 60))))})
    other = path_of(tmp_path / "other", app.path)
    ReviewDataset(Queue(ReviewStore(other)), truth)
    app = App(app.fo, other)
    assert (app.sample("a.png")["eval_tp"], app.sample("a.png")["eval_fn"], app.sample("a.png")["leaks"]) == (1, 1, 1)
    app.run("accept", "a.png", app.label("a.png", FAINT.id))
    assert (app.sample("a.png")["eval_tp"], app.sample("a.png")["eval_fn"], app.sample("a.png")["leaks"]) == (2, 0, 0)


def path_of(folder: Path, source: Path) -> Path:
    folder.mkdir()
    return Path(shutil.copy(source, folder))


def test_errors_say_what_to_do(app: App, fo: Any):
    assert "select a region first" in app.run("accept", "a.png")["error"]
    assert "open or select a photo first" in app.run("approve")["error"]
    assert "give the full path" in app.run("open", records="photos.jsonl")["error"]
    assert "cannot read records" in app.run("open", records=str(app.path.with_name("none.jsonl")))["error"]
    moved = app.path.rename(app.path.with_name("moved.jsonl"))
    for what in ("approve", "next", "preview"):
        assert "photos.jsonl are not there any more" in app.run(what, "a.png")["error"]
    moved.rename(app.path)
    (app.path.parent / "photos" / "a.png").unlink()
    assert "a.png" in app.run("preview", "a.png")["error"]
    copy = fo.load_dataset(app.name).clone("a copy")
    kept = app.name
    app.name = copy.name
    assert f"decide in the dataset {kept}" in app.run("approve", "a.png")["error"]
    app.name = fo.Dataset("somebody's holidays", overwrite=True).name
    assert "no review made this dataset" in app.run("next")["error"]
    fo.delete_dataset("a copy")


ELSEWHERE = """
import sys
if {bare}: sys.modules["anonymize"] = sys.modules["review"] = None  # not installed in this Python
import fiftyone as fo
ours = [o for o in fo.operators.list_operators(builtin=False)]
print("LISTED", sorted(o.name for o in ours))
if {bare}:
    told = fo.operators.execute_operator("@anonymize/review/open", dict(dataset=None, params=dict()))
    print("TOLD", told.result["error"].replace(chr(10), " "))
"""


@pytest.mark.parametrize("is_linked", [True, False])
def test_from_another_folder(fiftyone_home: Path, tmp_path: Path, is_linked: bool):
    """A link finds the project that it leads to; a copy without the package says what to install where."""
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    if is_linked:
        (plugins / "review").symlink_to(PLUGIN)
    else:
        shutil.copytree(PLUGIN, plugins / "review")
    code = ELSEWHERE.format(bare=not is_linked)
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"FIFTYONE_PLUGINS_DIR": str(plugins)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    if is_linked:
        assert f"LISTED {sorted([*NAMES, 'open', 'panel'])}" in done.stdout
    else:
        assert "LISTED ['open', 'panel']" in done.stdout
        assert f"{sys.executable} -m pip install" in done.stdout
