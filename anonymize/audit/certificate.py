"""The certificate of an audit: what went out, how it was made and checked, who approved it; signed, without a picture.

It is an in-toto statement (v1) in a DSSE envelope, signed with Ed25519: anybody who has the public key can check it,
with this program or another one. An HTML page beside it says the same for people; what counts is the signed file.
"""

from __future__ import annotations

import base64
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from .. import disk
from ..errors import AuditError, RecordsError, SettingsError
from ..extras import extra
from ..records import Record, escape, unescape
from ..settings import Settings
from ..video.clip_records import ClipRecord
from . import keys, rest_risk
from .findings import CHECKS, Audit, PhotoAudit
from .folder import Folder
from .folder import read as read_output

CERTIFICATE_NAME, PAGE_NAME = "certificate.json", "certificate.html"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
_TAKEN_OUT = "failed and taken out"
STATEMENT, PREDICATE = "https://in-toto.io/Statement/v1", "urn:anonymize:audit:v1"


def write(audit: Audit, read: Folder, place: Path, key: Path | None = None) -> Path:
    """Sign what an audit says of the photos that passed, and write certificate and page into `place`.

    Raises:
        AuditError: the key cannot be used. MissingExtraError: cryptography is not installed.
    """
    private = keys.load(key)
    stated = statement(audit, read)
    payload = json.dumps(stated, ensure_ascii=False, separators=(",", ":")).encode()
    public = private.public_key().public_bytes_raw()
    envelope = {
        "payloadType": PAYLOAD_TYPE,
        "payload": base64.b64encode(payload).decode(),
        "signatures": [
            {
                "keyid": keys.fingerprint(public).replace(" ", ""),
                "sig": base64.b64encode(private.sign(encoding(PAYLOAD_TYPE, payload))).decode(),
                "publicKey": base64.b64encode(public).decode(),
            }
        ],
    }
    disk.write_json(place / CERTIFICATE_NAME, envelope)
    from . import report

    disk.write_whole(place / PAGE_NAME, report.render_certificate(stated, keys.fingerprint(public)).encode())
    return place / CERTIFICATE_NAME


def encoding(kind: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding, v1: what is signed."""
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)


def statement(audit: Audit, read: Folder) -> dict[str, Any]:
    """The in-toto statement: the photos that passed are its subjects; the predicate has all the rest."""
    passed = [_Passed.of(p, read) for p in audit.photos if p.ok]
    photos = [_photo(p) for p in passed]
    used = _settings(passed, read)
    rests = [p.rest for p in passed if p.rest]
    return {
        "_type": STATEMENT,
        "subject": [{"name": p.audit.path, "digest": {"sha256": p.audit.sha256}} for p in passed],
        "predicateType": PREDICATE,
        "predicate": {
            "program": {"name": "anonymize", "version": audit.version},
            "when": audit.when,
            "output": audit.name,
            "settings": [s.to_dict() for s in used],
            "presets": [_preset(s) for s in used],
            "detectors": _detectors(passed, read),
            "audit": {
                "checks": {about: audit.checks[c] for c, about in CHECKS.items() if c in audit.checks},
                "not done": {about: audit.skipped[c] for c, about in CHECKS.items() if c in audit.skipped},
                "detectors": audit.detectors,
                "photos": sum(not p.is_clip for p in audit.photos),
                "clips": sum(p.is_clip for p in audit.photos),
                "passed": len(passed),
                _TAKEN_OUT: sum(p.quarantined for p in audit.failed),
                "failed and still there": sum(not p.quarantined for p in audit.failed),
                "other files": len(audit.strays) + len(audit.thumbnails),
                "files of the operating system, without pictures": len(audit.of_system),
                "stopped": audit.stopped,
            },
            "people": _people(photos),
            "rest risk": {
                "of a photo": rest_risk.of_batch(rests).to_dict(),
                "photos": len(rests),
                "rests on": rest_risk.RESTS_ON,
            },
            "photos": photos,
        },
    }


class _Passed(NamedTuple):
    """A photo or clip that passed, its record, the settings that it was written with, and its risk; as far as known."""

    audit: PhotoAudit
    record: Record | ClipRecord | None
    settings: Settings | None
    rest: rest_risk.Rest | None

    @classmethod
    def of(cls, audit: PhotoAudit, read: Folder) -> _Passed:
        record = read.record(audit.path)
        own = read.settings_of(audit.path, record)
        # Nobody estimated a clip's risk.
        return cls(audit, record, own, rest_risk.of_photo(record, own) if isinstance(record, Record) and own else None)


def _settings(passed: list[_Passed], read: Folder) -> list[Settings]:
    """Each settings that something was written with; those of the folder where nothing says which."""
    used: list[Settings] = []
    for own in (p.settings for p in passed):
        if own and own not in used:
            used.append(own)
    return used or list(read.settings[:1])


def _preset(settings: Settings) -> str:
    """The name of the preset that searched, and whether it chose the thresholds, too; "" where it is none."""
    name = settings.preset
    is_whole = name and settings.with_preset(name).kinds == settings.kinds
    return name + ("" if is_whole else ", with other thresholds") if name else ""


def _detectors(passed: list[_Passed], read: Folder) -> dict[str, Any]:
    """Detector -> its weights, of all that searched these files."""
    found = dict(read.header.detectors) if read.header else {}
    for record in (p.record for p in passed if p.audit.is_clip):
        found |= record.detectors if record else {}
    return found


def _photo(passed: _Passed) -> dict[str, Any]:
    """A photo; or a clip, with its frames."""
    photo, record, settings, rest = passed
    out = {
        "name": photo.path,
        "input": {"sha256": photo.source_sha256},
        "output": {"sha256": photo.sha256},
        "hidden": dict(sorted(photo.hidden.items())),
        "review": _review(record, settings),
        "decisions": [_decision(d) for d in record.decisions] if record else [],
        "to look at": [f.text for f in photo.of("look")],
        "notes": [f.text for f in photo.of("note")],
        "rest risk": rest.to_dict() if rest else None,
    }
    return out | ({"frames": {"in it": photo.frames, "looked at": photo.looked_at}} if photo.is_clip else {})


def _review(record: Record | ClipRecord | None, settings: Settings | None) -> str:
    """What people said of it; an approval under other settings than those it was written with is of another picture."""
    if record is None:
        return "unknown"
    if settings and record.is_approved(settings):
        return "approved"
    return "not approved" if record.decisions or record.review != "pending" else "no review"


def _decision(decision: Mapping[str, Any]) -> dict[str, str]:
    """Who, when, what, on which region; a note's words may name people, so they stay in the records."""
    return {k: str(decision[k]) for k in ("who", "when", "what", "region", "track") if decision.get(k)}


def _people(photos: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Person -> what they decided -> how many times."""
    out: dict[str, dict[str, int]] = defaultdict(Counter)
    for decision in (d for photo in photos for d in photo["decisions"]):
        out[decision.get("who", "")][decision.get("what", "")] += 1
    return dict(out)


@dataclass
class Verified:
    """What a certificate is worth today.

    Attributes:
        statement: what was signed. fingerprint: of the key that signed. is_known_key: it is the one that was asked for.
        compared: the folder of photos that was compared with it; None: none was.
        changed, missing, added: photos of the output that differ from the certificate's; added are also the files there
            that nobody looked at.
    """

    statement: dict[str, Any]
    fingerprint: str
    is_known_key: bool
    compared: Path | None = None
    changed: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)

    @property
    def is_same(self) -> bool:
        return not (self.changed or self.missing or self.added)

    @property
    def taken_out(self) -> int:
        """How many photos and clips failed and left the output before the certificate was signed."""
        return int(self.statement["predicate"]["audit"].get(_TAKEN_OUT, 0))

    @property
    def faults(self) -> list[str]:
        """Why the audit that was certified had failed, in words; [] where it had not.

        What failed and was taken out is a fault only where no folder was compared: else it is known not to be there.
        """
        said = self.statement["predicate"]["audit"]
        counts = (*[_TAKEN_OUT] * (self.compared is None), "failed and still there", "other files")
        return [f"{name}: {said[name]}" for name in counts if said.get(name)] + ["stopped"] * bool(said.get("stopped"))


def verify(path: Path, output: Path | None = None, public: Path | None = None) -> Verified:
    """Check a certificate's signature, and the photos that it is about.

    Args:
        path: the certificate. output: the folder of photos; None: that of `NAME-audit/certificate.json`, `NAME`, or the
            certificate's own, where photos lie there.
        public: the PEM file of the key that should have signed; None: the one in the certificate, whose fingerprint the
            caller shows.

    Raises:
        AuditError: no certificate, signed by another key, or changed after it was signed; a folder whose records or
            memory cannot be read any more.
    """
    with extra("audit", "verifying a certificate"):
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    try:
        envelope = json.loads(path.read_bytes())
        payload = base64.b64decode(envelope["payload"], validate=True)
        (signature,) = envelope["signatures"]
        own = base64.b64decode(signature["publicKey"], validate=True)
        key = keys.load_public(public) if public else Ed25519PublicKey.from_public_bytes(own)
        key.verify(base64.b64decode(signature["sig"], validate=True), encoding(envelope["payloadType"], payload))
        stated = json.loads(payload)
        wanted = {str(s["name"]): str(s["digest"]["sha256"]) for s in stated["subject"]}
        if stated["predicateType"] != PREDICATE or envelope["payloadType"] != PAYLOAD_TYPE:
            raise AuditError(f"{path} is no certificate of an audit")
    except InvalidSignature as e:
        raise AuditError(f"{path} does not hold: it was changed after it was signed, or another key signed it") from e
    except OSError as e:
        raise AuditError(f"{path} cannot be read: {e.strerror or e}") from e
    except (ValueError, KeyError, TypeError, RecursionError) as e:
        raise AuditError(f"{path} is no certificate of an audit") from e
    out = Verified(stated, keys.fingerprint(key.public_bytes_raw()), public is not None)
    out.compared = output or _beside(path, wanted)
    if out.compared is not None:
        _compare(out, wanted, out.compared, path)
    return out


def _beside(path: Path, wanted: Iterable[str]) -> Path | None:
    """The folder of the photos, where it can be told from the certificate's place: a copy may lie anywhere."""
    place = path.absolute().parent
    if place.name.endswith("-audit"):
        beside = place.with_name(place.name.removesuffix("-audit"))
        return beside if beside.is_dir() else None
    return place if any((place / unescape(name)).is_file() for name in wanted) else None


def _compare(out: Verified, wanted: Mapping[str, str], output: Path, certificate: Path) -> None:
    try:
        there = read_output(output)
    except (RecordsError, SettingsError) as e:  # what was certified could be read
        raise AuditError(f"{output} is not what was certified: {e}") from e
    for name in (*there.photos, *there.clips):
        if name not in wanted:
            out.added.append(name)
        elif there.file(name).is_symlink() or disk.sha256(there.file(name)) != wanted[name]:
            out.changed.append(name)
    own = {certificate.absolute(), *([page] if _is_page(page := output.absolute() / PAGE_NAME, out) else [])}
    out.added += sorted(n for n in (*there.strays, *there.thumbnails) if there.file(n).absolute() not in own)
    out.missing += [escape(unescape(n)) for n in wanted if n not in {*there.photos, *there.clips}]


def _is_page(file: Path, of: Verified) -> bool:
    """Whether a file is the certificate for people: a page of this name can show anything."""
    from . import report

    if file.is_symlink() or not file.is_file():
        return False
    return file.read_bytes() == report.render_certificate(of.statement, of.fingerprint).encode()
