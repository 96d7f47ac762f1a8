"""The certificate of an audit: what it says, and what `audit verify` makes of it and of the folder."""

from __future__ import annotations

import base64
import json
import os
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from anonymize import engine
from anonymize.audit import audit_folder, report_folder
from anonymize.audit.certificate import verify
from anonymize.cli import cli
from anonymize.detectors import FakeDetector
from anonymize.errors import AuditError
from anonymize.predictor import Predictor
from anonymize.settings import Settings
from tests.support import planted
from tests.support.planted import FACES, QUIET

pytestmark = pytest.mark.usefixtures("own_key")


def test_report_and_certificate_say_what_was_found_and_show_no_original(case: planted.Case, own_key: Path) -> None:
    audit = audit_folder(case.output, against=case.home / "in", options=QUIET)
    assert audit.ok
    place = report_folder(case.output)
    report = (place / "report.html").read_text("utf-8")
    assert "No leak was found in 1 photo." in report
    assert "Clips:" not in report  # there are none
    assert "src=" not in report.replace('src="data:', "")
    page = (place / "certificate.html").read_text("utf-8")
    assert "1 of 1 photos passed" in page
    assert "<img" not in page
    assert json.loads((place / "audit.json").read_text())["ok"] is True
    if os.name == "posix":
        assert stat.S_IMODE(own_key.stat().st_mode) == 0o600
    found = verify(place / "certificate.json")
    assert found.is_same
    said = found.statement["predicate"]
    assert said["photos"][0]["hidden"] == {"face": 2}
    assert said["photos"][0]["input"]["sha256"] != said["photos"][0]["output"]["sha256"]
    assert said["presets"] == ["balanced"]
    assert said["output"] == case.output.name
    assert f"<title>Audit of {case.output.name}</title>" in report
    assert said["photos"][0]["review"] == "no review"  # nobody was asked, so it reads like no rejection
    assert "<dt>preset</dt><dd>balanced</dd>" in page
    assert said["settings"][0]["face_detector"] == Settings().face_detector
    assert Settings().face_detector not in page  # a spec says nothing to whoever reads a certificate
    assert 0 <= said["rest risk"]["of a photo"]["low"] <= said["rest risk"]["of a photo"]["high"] <= 1


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            Settings().with_preset("fast").with_kind("face", threshold=0.3),
            "<dd>fast, with other thresholds</dd>",
        ),
        (Settings().replace(face_detector="centerface"), "<dt>face detector</dt><dd>centerface<"),
    ],
)
def test_a_certificate_names_the_preset_or_the_detectors(
    settings: Settings, said: str, tmp_path: Path, zidane: Path
) -> None:
    case = planted.make(tmp_path, zidane, "jpg", FACES, settings=settings)
    audit_folder(case.output, options=QUIET)
    assert said in (report_folder(case.output) / "certificate.html").read_text("utf-8")


def test_names_in_reports_are_text(tmp_path: Path, zidane: Path) -> None:
    case = planted.make(tmp_path, zidane, "jpg", FACES, name="<img src=x onerror=alert(1)>.jpg")
    planted.open_region(case)
    audit_folder(case.output, options=QUIET)
    for name in ("report.html", "certificate.html"):
        assert "<img src=x" not in (report_folder(case.output) / name).read_text("utf-8")


def test_a_certificate_that_lies_elsewhere_is_not_compared_with_what_lies_there(
    case: planted.Case, tmp_path: Path
) -> None:
    audit_folder(case.output, options=QUIET)
    (downloads := tmp_path / "downloads").mkdir()
    (downloads / "holiday.jpg").write_bytes(case.file.read_bytes())
    copy = downloads / "certificate.json"
    copy.write_bytes((report_folder(case.output) / "certificate.json").read_bytes())
    alone = CliRunner().invoke(cli, ["audit", "verify", str(copy)])
    assert alone.exit_code == 0, alone.output
    assert "not compared with any photos" in alone.output
    compared = CliRunner().invoke(cli, ["audit", "verify", str(copy), "--output", str(case.output)])
    assert compared.exit_code == 0, compared.output
    assert f"{case.output} holds exactly these" in compared.output
    shutil.copy(case.file, downloads)
    assert verify(copy).added == ["holiday.jpg"]  # the photos lie beside it


def test_changed_certificates_and_photos_do_not_hold(case: planted.Case, tmp_path: Path) -> None:
    audit_folder(case.output, options=QUIET)
    path = report_folder(case.output) / "certificate.json"
    whole = path.read_bytes()
    envelope = json.loads(whole)
    stated = json.loads(base64.b64decode(envelope["payload"]))
    stated["predicate"]["audit"]["passed"] = 99
    envelope["payload"] = base64.b64encode(json.dumps(stated).encode()).decode()
    for bad in (json.dumps(envelope), "{}", "[]", "no JSON", whole.decode().replace('"sig": "', '"sig": "AAAA')):
        path.write_text(bad)
        with pytest.raises(AuditError):
            verify(path)
    path.write_bytes(whole)

    ran = CliRunner().invoke(cli, ["audit", "key", "--key", str(tmp_path / "other.pem")])
    (tmp_path / "other.pub").write_text(ran.stdout)
    with pytest.raises(AuditError, match="another key"):
        verify(path, public=tmp_path / "other.pub")

    planted.open_region(case)
    (case.output / "more.jpg").write_bytes(case.file.read_bytes())
    found = verify(path)
    assert (found.changed, found.missing, found.added) == ([case.name], [], ["more.jpg"])
    result = CliRunner().invoke(cli, ["audit", "verify", str(path)])
    assert result.exit_code == 5
    assert f"changed: {case.name}" in result.output
    case.file.unlink()
    assert verify(path).missing == [case.name]


@pytest.mark.parametrize("name", ["@eaDir/orig.jpg", "#recycle/o.avi", "orig.dat", "sub/Thumbs.db"])
def test_files_that_came_after_the_certificate_are_not_of_it(case: planted.Case, name: str) -> None:
    audit_folder(case.output, options=QUIET)
    path = report_folder(case.output) / "certificate.json"
    (case.output / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    assert verify(path).is_same
    (case.output / name).parent.mkdir(exist_ok=True)
    shutil.copy(case.home / "in" / case.name, case.output / name)
    assert verify(path).added == [name]
    result = CliRunner().invoke(cli, ["audit", "verify", str(path)])
    assert result.exit_code == 5
    assert f"not in the certificate: {name}" in result.output
    assert "holds exactly these" not in result.output


def test_the_page_beside_the_photos_is_the_certificate_s_or_a_stranger(case: planted.Case) -> None:
    """It shows pictures to whoever opens it."""
    audit_folder(case.output, options=QUIET)
    place, page = report_folder(case.output), case.output / "certificate.html"
    shutil.copy(place / "certificate.html", page)
    assert verify(place / "certificate.json").is_same
    for data in (page.read_bytes() + b'<img src="data:image/jpeg;base64,', case.source.read_bytes()):
        page.write_bytes(data)
        assert verify(place / "certificate.json").added == ["certificate.html"]


@pytest.mark.skipif(os.name != "posix", reason="links and rights of POSIX")
def test_a_link_is_not_the_photo_that_was_certified(case: planted.Case, tmp_path: Path) -> None:
    """What it leads to can change at any time, or is not there."""
    audit_folder(case.output, options=QUIET)
    path = report_folder(case.output) / "certificate.json"
    case.file.rename(tmp_path / "elsewhere.jpg")
    for target in (tmp_path / "elsewhere.jpg", tmp_path / "nowhere.jpg", tmp_path):
        case.file.unlink(missing_ok=True)
        case.file.symlink_to(target)
        assert verify(path).changed == [case.name]


def test_of_a_folder_that_cannot_be_read_nothing_is_certified(
    case: planted.Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit_folder(case.output, options=QUIET)
    path = report_folder(case.output) / "certificate.json"
    (case.output / "private").mkdir()
    shutil.copy(case.source, case.output / "private")
    listed = os.scandir

    def scandir(folder: str) -> object:
        if os.path.basename(folder) == "private":
            raise PermissionError(13, "Permission denied", os.fspath(folder))
        return listed(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    result = CliRunner().invoke(cli, ["audit", "verify", str(path)])
    assert result.exit_code == 5, result.output
    assert "private cannot be read: Permission denied" in result.output
    with pytest.raises(AuditError, match="private cannot be read"):
        audit_folder(case.output, options=QUIET)


def test_a_certificate_of_an_audit_that_failed_says_so(case: planted.Case) -> None:
    arguments = ["audit", "verify", str(report_folder(case.output) / "certificate.json")]
    (case.output / "orig.dat").write_bytes(b"x")
    audit_folder(case.output, options=QUIET)
    (case.output / "orig.dat").unlink()
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 4
    assert "the audit had failed: other files: 1" in result.output
    assert "not done: Attack: a plate reader" in result.output
    planted.open_region(case)
    audit_folder(case.output, options=replace(QUIET, is_moving=False))
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 5
    assert f"not in the certificate: {case.name}" in result.output
    case.file.unlink()
    case.file.with_name(f"{case.name}.json").unlink()
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 4, result.output
    assert "the audit had failed: failed and still there: 1" in result.output


def test_a_folder_without_what_failed_is_what_was_certified(case: planted.Case, tmp_path: Path) -> None:
    shutil.copy(case.source, case.home / "in" / "passes.jpg")
    planted.open_region(case)
    assert engine.run(case.home / "in", case.output, Predictor(detectors=[FakeDetector(case.regions)])).ok
    planted.open_region(case)
    failed = case.file.read_bytes()
    audit = audit_folder(case.output, options=QUIET)
    assert [p.path for p in audit.failed] == [case.name]
    path = report_folder(case.output) / "certificate.json"
    result = CliRunner().invoke(cli, ["audit", "verify", str(path)])
    assert result.exit_code == 0, result.output
    assert "1 of 2 passed" in result.output
    assert "taken out before it was signed, because they failed: 1" in result.output

    copy = tmp_path / "elsewhere.json"  # nobody knows whether what failed lies with the photos that it is about
    copy.write_bytes(path.read_bytes())
    result = CliRunner().invoke(cli, ["audit", "verify", str(copy)])
    assert result.exit_code == 4
    assert "the audit had failed: failed and taken out: 1" in result.output

    case.file.write_bytes(failed)
    result = CliRunner().invoke(cli, ["audit", "verify", str(path)])
    assert result.exit_code == 5
    assert f"not in the certificate: {case.name}" in result.output
    case.file.unlink()
    (case.output / "passes.jpg").unlink()
    result = CliRunner().invoke(cli, ["audit", "verify", str(path)])
    assert result.exit_code == 5
    assert "missing: passes.jpg" in result.output


def test_a_key_that_others_may_read_is_refused(case: planted.Case, own_key: Path) -> None:
    audit_folder(case.output, options=QUIET)
    own_key.chmod(0o644)
    if os.name == "posix":
        with pytest.raises(AuditError, match="others may read"):
            audit_folder(case.output, options=QUIET)


@pytest.mark.parametrize("name", ["exports.jsonl", "clips.jsonl", "records.jsonl"])
@pytest.mark.parametrize("broken", [b"\xff\x00\nno JSON\n", b"[]\n{}\n", b'{"path": 1}\n{"path": 1}\n[\n'])
def test_a_folder_whose_records_cannot_be_read_is_not_what_was_certified(
    name: str, broken: bytes, case: planted.Case
) -> None:
    audit_folder(case.output, options=QUIET)
    (case.output / name).write_bytes(broken)
    result = CliRunner().invoke(cli, ["audit", "verify", str(report_folder(case.output) / "certificate.json")])
    assert result.exit_code == 5, result.output
    assert "is not what was certified" in result.output
    assert name in result.output
