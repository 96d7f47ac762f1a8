"""What an audit found as one HTML page that needs nothing else, with pictures of what failed; and the certificate's."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .. import images
from ..errors import AnonymizeError
from ..extras import extra
from ..preview import shrink, to_jpeg
from ..records import unescape
from ..settings import Settings
from . import clips
from .findings import CHECKS, Audit, Finding, PhotoAudit
from .folder import Folder

if TYPE_CHECKING:
    from jinja2 import Environment

PICTURES = 60  # photos that are shown; a page of more would be too large to open
SIDE, CROP, QUALITY = 560, 160, 80  # px of a photo's longer side and of a finding's crop; JPEG quality
PLACES = 12  # of one photo or clip that are shown: crops of a photo, frames of a clip
CLIP_SIDE = 400  # px of the longer side of a clip's frame: a clip has several
_RED, _AMBER = (214, 40, 57), (224, 138, 0)  # RGB


@cache
def _environment() -> Environment:
    with extra("audit", "the audit's report"):
        import jinja2
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    made.filters["percent"] = lambda share: f"{100 * share:.1f} %"
    made.filters["weights"] = lambda detectors: sorted({pair for w in detectors.values() for pair in w.items()})
    made.filters["when"] = lambda text: text.replace("T", " ").replace("+00:00", " UTC")
    return made


def render(audit: Audit, read: Folder, quarantine: Path) -> str:
    """The report: it shows what is still recognizable, so it is not to be published."""
    told = [p for p in audit.photos if p.findings or p.error]
    photos = sorted(told, key=lambda p: (p.ok, not p.of("look"), p.urgency))
    shown = [_Shown(p, *(_pictures(p, read, quarantine) if i < PICTURES else ())) for i, p in enumerate(photos)]
    return _environment().get_template("report.html").render(
        audit=audit, checks=_checks(audit), photos=shown, pictures=PICTURES, to_do=audit.to_do,
    )  # fmt: skip


def _checks(audit: Audit) -> list[dict[str, Any]]:
    """Each check: what it is about, how it was done or why not, and what it found."""
    out = []
    for name, about in CHECKS.items():
        found = [f for p in audit.photos for f in p.findings if f.check == name]
        leaks, looks = (sum(f.level == level for f in found) for level in ("leak", "look"))
        state = "failed" if leaks else "skipped" if name not in audit.checks else "passed"
        said = audit.checks.get(name) or audit.skipped.get(name, "")
        if not (said or found):  # it is not about what lies there: there are no clips
            continue
        out.append({"about": about, "said": said, "leaks": leaks, "looks": looks, "state": state})
    return out


class _Shown:
    """A photo or clip as the report shows it.

    Attributes:
        pictures: of it; what is found in a clip's frame stands with its picture.
        listed: findings that stand in a list, since no picture says them. more: places without a picture.
    """

    def __init__(self, photo: PhotoAudit, *pictures: dict[str, Any]) -> None:
        self.photo, self.pictures = photo, pictures
        said = [f for p in pictures for f in p["findings"]] if photo.is_clip else []
        self.listed = [f for f in photo.findings if f not in said]
        self.more = max(0, len(_places(photo)) - PLACES) if pictures else 0


def _places(photo: PhotoAudit) -> list[Finding]:
    """What is found in one place of a photo, or in one frame of a clip."""
    return [f for f in photo.findings if f.level != "note" and (f.box or f.frame is not None)]


def _pictures(photo: PhotoAudit, read: Folder, quarantine: Path) -> list[dict[str, Any]]:
    """A photo with its findings drawn, and a crop of each; of a clip, each frame with one; as far as it can be read."""
    file = quarantine / unescape(photo.path) if photo.quarantined else read.file(photo.path)
    places = _places(photo)
    out: list[dict[str, Any]] = []
    with suppress(AnonymizeError, OSError):
        if not photo.is_clip:
            return [_picture(images.load(file, Settings(max_megapixels=1000.0)).rgb, places, SIDE)]
        of_frame: dict[int, list[Finding]] = {}
        for finding in places[:PLACES]:
            of_frame.setdefault(finding.frame or 0, []).append(finding)
        for frame in clips.pictures(file, of_frame or (0,)):
            picture = _picture(frame.rgb, of_frame.get(frame.index, []), CLIP_SIDE)
            out.append({**picture, "at": f"{frame.seconds:.1f} s, frame {frame.index}"})
    return out


def _picture(rgb: NDArray[np.uint8], found: list[Finding], side: int) -> dict[str, Any]:
    boxed = [f for f in found if f.box]
    crops = [{"src": _crop(rgb, f), "text": f.text} for f in boxed[:PLACES]]
    small, share = shrink(rgb, side)
    small = small.copy()  # what is drawn on
    for finding in reversed(boxed):
        x1, y1, x2, y2 = (round(v * share) for v in finding.box or ())
        cv2.rectangle(small, (x1, y1), (x2, y2), _RED if finding.level == "leak" else _AMBER, 2)
    return {"src": _data(small), "width": small.shape[1], "height": small.shape[0], "crops": crops, "findings": found}


def _crop(rgb: NDArray[np.uint8], finding: Finding) -> str:
    x1, y1, x2, y2 = finding.box or (0, 0, 1, 1)
    grow = 0.4 * max(x2 - x1, y2 - y1, 16)
    height, width = rgb.shape[:2]
    left, top = max(0, int(x1 - grow)), max(0, int(y1 - grow))
    piece = rgb[top : min(height, int(y2 + grow) + 1), left : min(width, int(x2 + grow) + 1)]
    share = CROP / max(piece.shape[0], 1)
    size = (max(1, min(3 * CROP, round(piece.shape[1] * share))), CROP)
    return _data(cv2.resize(piece, size, interpolation=cv2.INTER_AREA if share < 1 else cv2.INTER_CUBIC))


def _data(rgb: NDArray[np.uint8]) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(to_jpeg(rgb, QUALITY)).decode()


def render_certificate(statement: Mapping[str, Any], fingerprint: str) -> str:
    """The certificate for people; it says what was signed, and no more."""
    return (
        _environment()
        .get_template("certificate.html")
        .render(said=statement["predicate"], subjects=statement["subject"], fingerprint=fingerprint)
    )
