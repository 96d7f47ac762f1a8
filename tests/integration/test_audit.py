"""Audits of whole exports: planted leaks are found, clean exports raise no alarm; quarantine, report, certificate."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from anonymize import engine, images, records
from anonymize.audit import Options, audit_folder, report_folder, second_look
from anonymize.audit.quarantine import release
from anonymize.cli import cli
from anonymize.corrections import approve
from anonymize.detectors import FakeDetector
from anonymize.errors import AuditError, PathError
from anonymize.predictor import Predictor
from anonymize.regions import Region
from anonymize.settings import Settings
from tests.support import planted
from tests.support.planted import FACES, QUIET

pytestmark = pytest.mark.usefixtures("own_key")
CASES = [(leak, leak.formats[i % len(leak.formats)]) for i, leak in enumerate(planted.LEAKS)]


@pytest.mark.parametrize(
    ("leak", "extension"),
    [c for c in CASES if c[0].check != "recognizable"],
    ids=[f"{c[0].name}-{c[1]}" for c in CASES][1:],
)
def test_planted_leaks_are_found_and_clean_exports_are_not(
    leak: planted.Leak, extension: str, tmp_path: Path, zidane: Path
) -> None:
    case = planted.make(tmp_path, zidane, extension, FACES)
    assert not [f for p in case.audit(against=leak.needs_original).photos for f in p.findings]
    leak.plant(case)
    audit = case.audit(against=leak.needs_original)
    assert planted.is_found(audit, leak)
    assert audit.ok == (leak.level != "leak")


@pytest.mark.weights
@pytest.mark.parametrize("turns", [1, 2])
def test_open_faces_of_a_photo_that_lies_otherwise_are_leaks(zidane: Path, turns: int) -> None:
    looker = second_look.choose(["street"], Settings())
    rgb = np.ascontiguousarray(np.rot90(np.asarray(Image.open(zidane).convert("RGB")), turns))
    untouched = np.zeros(rgb.shape[:2], np.float32)
    found = second_look.findings(images.from_array(rgb), looker, None, untouched, Settings())
    assert sum(f.level == "leak" and f.kind == "face" for f in found) == 2


def test_what_detectors_missed_is_found_by_others(case: planted.Case) -> None:
    planted.missed(case)
    found = FakeDetector([case.open.replace(score=0.97)], name="other")
    looker = second_look.Looker((found,), {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(second_look, "choose", lambda *_, **__: looker)
        audit = case.audit(looking=True)
    assert planted.is_found(audit, planted.LEAKS[0])


def test_the_comparison_with_the_original_passes_what_was_exported(tmp_path: Path, zidane: Path) -> None:
    for extension in planted.FORMATS:
        case = planted.make(tmp_path / extension, zidane, extension, FACES)
        assert not [f for p in case.audit(against=True).photos for f in p.findings], extension


def quarantined(case: planted.Case) -> Path:
    return report_folder(case.output) / "quarantine" / case.name


def test_photos_that_fail_leave_the_output_and_come_back_when_released(case: planted.Case) -> None:
    bytes_ = case.file.read_bytes()
    planted.open_region(case)
    leaking = case.file.read_bytes()
    audit = audit_folder(case.output, options=QUIET)
    assert [p.quarantined for p in audit.photos] == [True]
    assert not case.file.exists()
    assert quarantined(case).read_bytes() == leaking
    _, known = records.read(case.output / "records.jsonl")
    assert known[case.name].review == "flagged"
    assert "not hidden" in known[case.name].decisions[-1]["note"]

    # A rerun does not take it for done, and does not write the same photo again.
    again = engine.run(case.home / "in", case.output, Predictor(detectors=[FakeDetector(case.regions)]))
    assert not again.ok
    assert "quarantine" in again.failures[case.name]
    assert not case.file.exists()

    result = CliRunner().invoke(cli, ["audit", "release", str(case.output)])
    assert result.exit_code == 0, result.output
    assert case.file.read_bytes() == leaking
    assert not quarantined(case).exists()
    assert leaking != bytes_


def test_a_killed_audit_is_finished_by_the_next_one(case: planted.Case, monkeypatch: pytest.MonkeyPatch) -> None:
    from anonymize.audit import quarantine

    planted.open_region(case)
    with monkeypatch.context() as patch:
        patch.setattr(quarantine, "_move", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            audit_folder(case.output, options=QUIET)
    assert case.file.exists()
    assert not audit_folder(case.output, options=QUIET).ok
    assert not case.file.exists()
    again = engine.run(case.home / "in", case.output, Predictor(detectors=[FakeDetector(case.regions)]))
    assert "quarantine" in again.failures[case.name]


def test_a_corrected_photo_is_written_again(case: planted.Case) -> None:
    planted.open_region(case)
    audit_folder(case.output, options=QUIET)
    path = case.output / "records.jsonl"
    header, known = records.read(path)
    more = Region("face", (5, 5, 40, 40), status="manual")
    records.write(path, header, [r.replace(regions=(*r.regions, more)) for r in known.values()])
    done = engine.export(path, case.output)
    assert done.ok, done.failures
    assert case.file.exists()
    assert audit_folder(case.output, options=QUIET).ok
    said = f"{case.name} was written anew since it failed; what is in quarantine is older and stays: delete"
    with pytest.raises(AuditError, match=said):
        release(case.output, [case.name], place=report_folder(case.output) / "quarantine")
    with pytest.raises(AuditError, match="other is not in quarantine"):
        release(case.output, ["other"], place=report_folder(case.output) / "quarantine")
    result = CliRunner().invoke(cli, ["audit", "release", str(case.output)])
    assert (result.exit_code, "nothing is in quarantine" in result.output) == (0, False)
    assert f"{said} {quarantined(case)}\n" in result.output
    # It fails again: the copy that was exported last comes back, not the older one.
    older = quarantined(case).read_bytes()
    planted.open_region(case)
    leaking = case.file.read_bytes()
    audit_folder(case.output, options=QUIET)
    assert release(case.output, place=report_folder(case.output) / "quarantine") == [case.name]
    assert case.file.read_bytes() == leaking
    assert quarantined(case).read_bytes() == older


def test_what_was_changed_since_the_export_is_written_again(case: planted.Case) -> None:
    planted.original_in_place(case)
    assert not audit_folder(case.output, options=QUIET).ok
    assert not case.file.exists()
    said = CliRunner().invoke(cli, ["audit", "release", str(case.output)]).output
    assert said == (
        f"{case.name} was not as it was exported when it failed, so it stays in quarantine: export it again, "
        f"delete {quarantined(case)}\n"
    )
    again = engine.run(case.home / "in", case.output, Predictor(detectors=[FakeDetector(case.regions)]))
    assert again.ok, again.failures
    assert audit_folder(case.output, options=QUIET).ok


def test_the_command_line_names_what_failed(case: planted.Case) -> None:
    arguments = ["audit", str(case.output), "--no-detect", "--no-attack", "--quiet"]
    clean = CliRunner().invoke(cli, arguments)
    assert clean.exit_code == 0, clean.output
    assert "1 photo, 0 failed" in clean.output
    (case.output / "b.gif").write_bytes(case.source.read_bytes())
    stray = CliRunner().invoke(cli, arguments)
    assert stray.exit_code == 4
    assert "not this program's: b.gif" in stray.output
    (case.output / "b.gif").unlink()
    planted.half_open(case)
    failed = CliRunner().invoke(cli, [*arguments, "--no-quarantine", "--json"])
    assert failed.exit_code == 4
    assert json.loads(failed.stdout)["photos"][0]["ok"] is False
    assert case.file.exists()
    failed = CliRunner().invoke(cli, arguments)
    assert failed.exit_code == 4
    assert "(now in quarantine)" in failed.output


def test_the_command_line_names_what_to_look_at(case: planted.Case) -> None:
    names = [f"AB-{n}23-CD.jpg" for n in range(1, 8)]  # reads like a plate
    for name in names:
        shutil.copy(case.source, case.home / "in" / name)
    ran = engine.run(case.home / "in", case.output, Predictor(detectors=[FakeDetector(case.regions)]))
    assert ran.ok
    said = CliRunner().invoke(cli, ["audit", str(case.output), "--no-detect", "--no-attack", "--quiet"])
    assert said.exit_code == 0, said.output
    assert "8 photos, 0 failed, 7 to look at" in said.output
    assert f"to look at: {', '.join(names[:5])}, and 2 more: look at each" in said.output


def test_runs_audit_what_they_wrote_when_asked(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    monkeypatch.setattr(second_look, "choose", lambda *_, **__: second_look.Looker((), {"none": "test"}))
    monkeypatch.setattr("anonymize.audit.load_reader", lambda *_: (_ for _ in ()).throw(AuditError("no weights here")))
    arguments = ["run", str(folder), str(tmp_path / "out"), "--face-detector", "tests.support.cli:Faces"]
    result = CliRunner().invoke(cli, [*arguments, "--plate-detector", "none", "--audit", "--quiet"])
    assert result.exit_code == 0, result.output
    assert "4 photos, 0 failed" in result.output
    assert "not done: Attack: a plate reader: no weights here" in result.output
    assert (tmp_path / "out-audit" / "certificate.json").is_file()


def test_nothing_is_reported_into_the_output_or_the_input(case: planted.Case) -> None:
    for place in (case.output / "report", case.home / "in"):
        with pytest.raises(PathError):
            audit_folder(case.output, against=case.home / "in", options=Options(report=place))
    for missing in ({"output": case.home / "nothing"}, {"output": case.output, "against": case.home / "nothing"}):
        with pytest.raises(PathError):
            audit_folder(**missing)


def test_originals_are_never_moved(case: planted.Case) -> None:
    """Somebody audits the wrong folder: nothing there says that this program wrote it."""
    arguments = ["audit", str(case.home / "in"), "--no-detect", "--no-attack", "--quiet"]
    Image.new("RGB", (40, 30)).save(
        case.home / "in" / "gps.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0", comment=b"home"
    )
    before = sorted(p.name for p in (case.home / "in").iterdir())
    said = CliRunner().invoke(cli, arguments)
    assert said.exit_code == 4
    assert "nothing was moved" in said.output
    assert sorted(p.name for p in (case.home / "in").iterdir()) == before


def test_what_could_not_be_compared_is_not_certified(case: planted.Case, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    audit = audit_folder(case.output, against=tmp_path / "empty", options=QUIET)
    assert "unchanged" not in audit.checks
    assert audit.skipped["unchanged"] == "only 0 of 1 files could be compared with an original"


def test_the_summary_of_a_detection_beside_its_records_is_ours(case: planted.Case) -> None:
    (case.output / "records.summary.json").write_text('{"photos": 1}')
    assert not audit_folder(case.output, options=QUIET).strays


def test_a_folder_without_records_is_audited_as_far_as_it_can_be(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    Image.new("RGB", (40, 30), "teal").save(tmp_path / "out" / "a.jpg")
    audit = audit_folder(tmp_path / "out", options=QUIET)
    assert audit.ok
    assert "destroyed" in audit.skipped
    assert Settings().kinds  # its defaults are taken


def test_what_the_detection_left_open_is_to_be_looked_at_until_a_person_approved_it(case: planted.Case) -> None:
    faint = [Region("face", (22 * n, 2, 22 * n + 20, 24), 0.145, {"a": 0.145, "b": 0.6}) for n in range(6)]
    kept = case.output / "records.jsonl"
    header, known = records.read(kept)
    regions = (*known[case.name].regions, *faint)
    with records.Writer(kept, header) as writer:
        writer.write(known[case.name].replace(regions=regions))
    assert engine.export(kept, case.output).ok
    audit = case.audit()
    assert audit.ok
    assert [(f.check, f.level, f.kind) for f in audit.photos[0].findings] == [("open", "look", "face")] * 3
    assert "scores 0.145, the threshold is 0.2" in audit.photos[0].findings[0].text
    assert audit.to_look_at == [case.name]
    found = FakeDetector([f.replace(score=0.5) for f in faint], name="other")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(second_look, "choose", lambda *_, **__: second_look.Looker((found,), {}))
        seen = case.audit(looking=True).photos[0].findings
    assert {f.check for f in seen} == {"recognizable"}  # a place is told once
    with records.Writer(kept, header) as writer:
        writer.write(approve(records.read(kept)[1][case.name], who="ana", settings=header.settings))
    assert case.audit().photos[0].findings == []


@pytest.mark.parametrize("memory", ["exports.jsonl", "clips.jsonl"])
@pytest.mark.parametrize("torn", [b"", b'{"path": "a'])
def test_a_memory_without_a_line_says_that_no_export_wrote_what_lies_there(
    memory: str, torn: bytes, tmp_path: Path, zidane: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / memory).write_bytes(torn)
    shutil.copy(zidane, tmp_path / "out")
    audit = audit_folder(tmp_path / "out", options=QUIET)
    assert [f.text for f in audit.photos[0].of("leak")] == ["no export of this program wrote it"]
    assert "memory" in audit.checks
    assert (tmp_path / "out" / zidane.name).exists()  # it may be an original: it is not moved
