"""What the page says of a clip: the player's value, its tracks, a frame for the picture editor, the card beside it."""

from __future__ import annotations

import html
from typing import Any

import numpy as np
from PIL import Image as Pil

from ..corrections import find, in_order
from ..preview import to_jpeg
from ..regions import Box, Region
from ..settings import Settings
from ..thresholds import lowest
from ..video.clip_records import ClipRecord
from ..video.moments import Moment, moments
from ..video.passes import INCOMPLETE
from ..video.tracks import Track
from .clip_audit import card
from .clip_session import ClipSession
from .elements import BUTTON, bullets, download, editor_region, link, prose, score
from .job_view import duration
from .photo_session import OTHER, QUALITY
from .photo_view import DECIDED, reversible
from .results import NAMES, at_places, count_text, warning_list

_MOST_SHOWN = 400  # tracks
_SHOWN_FROM = 0.05  # score of what is not hidden, and risk of a moment
_MOST_MOMENTS = 30
_THUMB = 112  # px
_LONG = 10.0  # s; of what is shorter, tenths are said


def clock(seconds: float) -> str:
    """3.2 -> 0:03, 3723 -> 1:02:03."""
    minutes, s = divmod(int(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02}:{s:02}" if hours else f"{m}:{s:02}"


def span(first: float, last: float) -> str:
    """From when to when, with tenths of a second where it is short: 0:03.2–0:03.9."""
    if last - first >= _LONG:
        return f"{clock(first)}–{clock(last)}"
    begin, end = (f"{clock(s)}.{int(10 * s) % 10}" for s in (first + 1e-6, last + 1e-6))
    return begin if begin == end else f"{begin}–{end}"


# --- the player's value ---


def view(clip: ClipSession | None, others: list[ClipSession], before: int = 0) -> dict[str, Any]:
    """What the player needs, JSON-ready.

    Args:
        clip: the one that is shown. others: all of this visitor. before: jobs in front of it.
    """
    listed = [{"id": c.id, "name": c.name, "said": _short(c), "busy": c.is_busy} for c in others]
    if clip is None:
        return {"id": "", "clips": listed}
    with clip.lock:
        whole = clip.clean is not None
        searched = clip.record is not None and clip.preview is not None
        base = f"videos/{clip.id}"
        return {
            "id": clip.id,
            "name": clip.name,
            "clips": listed,
            "state": clip.state,
            "said": status_text(clip, before),
            "done": _share(clip),
            "problem": f"{clip.name}: {clip.problem}" if clip.problem else "",
            "width": clip.clip.width,
            "height": clip.clip.height,
            "frames": clip.record.frames if clip.record else 0,
            "before": f"{base}/before.mp4" if searched else "",
            "clean": f"{base}/watch?shows={clip.shows}" if whole else "",
            "shows": clip.shows,
            "audits": whole and clip.policy.own_machine,
            "version": _version(clip),
            "undo": clip.can_undo,
            "counts": counts(clip.record, clip.settings) if clip.record else {},
        }


def _version(clip: ClipSession) -> str:
    """Changes with what the tracks and frames show."""
    if clip.record is None:
        return ""
    return f"{clip.shows}-{clip.record.approval_hash(clip.settings)}-{len(clip.record.decisions)}"


def _short(clip: ClipSession) -> str:
    if clip.is_busy and (share := _share(clip)) is not None:
        return f"{100 * share:.0f} %"
    return {"done": "clean", "failed": "failed", "stopped": "stopped", "waiting": "waiting"}.get(clip.state, clip.state)


def _share(clip: ClipSession) -> float | None:
    """How much of this step is done, 0 to 1; None where nobody knows."""
    if not clip.is_busy or clip.step is None or not clip.step_frames:
        return None
    return min(1.0, clip.step.frame / clip.step_frames)


def status_text(clip: ClipSession, before: int = 0) -> str:
    """What is being done, in a line."""
    if clip.state == "waiting":
        return f"Waiting: {before} other jobs come first." if before > 1 else "It starts in a moment."
    if clip.state == "auditing":
        if clip.step is None:
            return "Looking for leaks. This takes a minute or two."
        return f"Looking for leaks · {clip.step.frame} of {clip.step_frames} frames looked at"
    if clip.state in ("searching", "writing"):
        words = ["Searching for faces and plates" if clip.state == "searching" else "Writing the clean clip"]
        if clip.step is not None and clip.step.name == "follow":
            return "Following what was found through the clip · then it is written"
        if clip.step is not None and clip.step.frame:
            words.append(f"{clip.step.frame} of {clip.frames or '?'} frames")
        if (left := clip.seconds_left) is not None:
            words.append(f"{duration(left)} left")
        if clip.state == "searching":
            words.append("then it is written")
        return " · ".join(words)
    if clip.state == "stopped":
        if clip.record is None:
            return "Stopped before all of it was searched."
        return "The clean clip is not written as it is chosen now."
    return ""


def counts(record: ClipRecord, settings: Settings) -> dict[str, list[int]]:
    """For each kind, how many things are hidden with its slider at each of PLACES (as `results.counts`).

    Tracks of one thing are known as such among those that are hidden now; to the left of the slider each counts.
    """
    out, twins = {}, {t.id for t in record.hidden(settings)} - {t.id for t in record.distinct(settings)}
    for kind in settings.kinds:
        low = lowest(settings, kind)
        tracks = [t for t in record.tracks if t.kind == kind and t.is_hidden(low) and t.id not in twins]
        out[kind] = at_places([t.score if t.status == "auto" else np.inf for t in tracks])
    return out


# --- tracks and frames ---


def shown_tracks(record: ClipRecord, settings: Settings) -> list[Track]:
    """Those that are hidden or decided on, and of the others the likelier ones; in order of time."""
    decided = [t for t in record.tracks if t.status != "auto" or t.is_hidden(settings)]
    known = {t.id for t in decided}
    others = [t for t in record.tracks if t.id not in known and t.kind in settings.kinds and t.score >= _SHOWN_FROM]
    best = sorted(others, key=lambda t: -t.score)[: max(0, _MOST_SHOWN - len(decided))]
    return sorted([*decided, *best], key=lambda t: (t.first, t.id))


def track_list(clip: ClipSession) -> dict[str, Any]:
    """What the page lists of a clip, JSON-ready: its frames' times, how many are hidden, tracks, where to look."""
    with clip.lock:
        record, settings, preview = clip.found, clip.settings, clip.original()
        tracks = shown_tracks(record, settings)
    seconds = np.array(preview.times, np.float64) * float(preview.time_base)
    return {
        "times": _times(seconds),
        "hidden": len(record.distinct(settings)),
        "tracks": [
            {
                "id": t.id,
                "kind": t.kind,
                "first": t.first,
                "last": t.last,
                "best": best_frame(t),
                "time": span(seconds[t.first], seconds[t.last]),
                "score": round(t.score, 4),
                "status": t.status,
                "hidden": t.is_hidden(settings),
            }
            for t in tracks
        ],
        "look": [
            {
                "track": m.track,
                "frame": m.frame,
                "time": span(seconds[m.frame], seconds[m.frame]),
                "text": moment_text(m, record),
            }
            for m in _of_each_track(moments(record, settings))[:_MOST_MOMENTS]
            if m.p >= _SHOWN_FROM
        ],
    }


def _of_each_track(found: list[Moment]) -> list[Moment]:
    """The riskiest moment of each track: who looks there can look at the rest of it, too."""
    return list({m.track: m for m in reversed(found)}.values())[::-1]


def moment_text(moment: Moment, record: ClipRecord) -> str:
    """Why to look at a moment, in the page's words."""
    one = NAMES.get(moment.kind, (moment.kind,))[0]
    if moment.sign == "candidate":
        return f"Possible {one} not hidden, score {score(find(record, moment.track).score)}"
    if moment.sign == "filled":
        return f"{one.capitalize()} not found for a while: is it where it is hidden?"
    return f"{one.capitalize()} {moment.sign} in the middle of the picture"


def _times(seconds: np.ndarray) -> Any:
    """When each frame is shown: a list, or for even times the first and the step."""
    step = (seconds[-1] - seconds[0]) / max(1, len(seconds) - 1)
    even = seconds[0] + step * np.arange(len(seconds))
    if np.abs(seconds - even).max() < max(step / 4, 1e-3):
        return {"first": float(seconds[0]), "step": float(step)}
    return [round(float(s), 4) for s in seconds]


def best_frame(track: Track) -> int:
    """Where it is seen best; of a drawn one, the first."""
    return track.first + int(np.argmax(track.scores))


def why(track: Track, frame: int, settings: Settings) -> str:
    """Why a track is hidden or not, and whence its box in a frame, in a sentence or two."""
    one = NAMES.get(track.kind, (track.kind,))[0]
    hides = track.is_hidden(settings)
    from_ = f"{settings.kind(track.kind).threshold:g}"
    if track.status != "auto":
        said = DECIDED[track.status]
    elif hides:
        said = f"Score {score(track.score)} at best, so hidden in all its frames (from {from_})."
    else:
        said = f"Possible {one}, score {score(track.score)} at best. Hidden from {from_}."
    here = {
        "filled": " Nothing was found in this frame: it goes on from those before and after.",
        "extended": " Not found in this frame: it reaches a little beyond those where it was.",
    }
    return said + (here.get(track.source(frame), "") if frame in track.frames else "")


def _region(track: Track, box: Box, settings: Settings, text: str) -> dict[str, Any]:
    """A track in a frame as the picture editor shows it."""
    hides = track.is_hidden(settings)
    region = Region(track.kind, box, track.score, status=track.status, id=track.id)
    state = track.status if track.status != "auto" else "hidden" if hides else "suspect"
    return {**editor_region(region, settings, text), "hidden": hides, "state": state}


def frame_view(clip: ClipSession, frame: int, track: str = "") -> dict[str, Any]:
    """What the picture editor needs of a frame (as `photo_view.view`).

    Args:
        track: shown at its nearest end where it does not run, so that it can be extended to this frame.
    """
    with clip.lock:
        record, settings = clip.found, clip.settings
        clip.original()
        tracks, version = shown_tracks(record, settings), _version(clip)
    places = [(t, box) for t in tracks if (box := t.box(frame)) is not None]
    regions = [_region(t, box, settings, why(t, frame, settings)) for t, box in places]
    chosen = next((t for t in tracks if t.id == track), None)
    if chosen is not None and frame not in chosen.frames:
        at = chosen.first if frame < chosen.first else chosen.last
        ends = "begins later" if frame < chosen.first else "ended before"
        text = f"It {ends} this frame. Move the box to where it is now, and it is hidden from there to here."
        box = chosen.box(at)
        assert box is not None
        regions.append({**_region(chosen, box, settings, text), "hidden": False, "state": "suspect", "far": True})
    base = f"videos/{clip.id}/frames/{frame}"
    return {
        "id": clip.id,
        "frame": frame,
        "width": record.width,
        "height": record.height,
        "before": f"{base}-original.jpg",
        "after": f"{base}-clean.jpg?v={version}",
        "version": version,
        "undo": clip.can_undo,
        "kinds": [*settings.kinds, OTHER],
        "regions": regions,
    }


def thumbnail(clip: ClipSession, id: str) -> bytes:
    """A track where it is seen best, JPEG bytes: of the original, for its owner's eyes.

    Raises:
        StaleDecisionError: there is no such track. GoneError: it was not searched yet.
    """
    with clip.lock:
        record, preview = clip.found, clip.original()
    track = find(record, id)
    frame = best_frame(track)
    rgb = preview.still(frame)
    factor = rgb.shape[1] / record.width
    x1, y1, x2, y2 = in_order(tuple(track.found_box(frame).tolist()))
    side = max(x2 - x1, y2 - y1, 16 / factor) * 1.6 * factor
    x, y = (x1 + x2) / 2 * factor, (y1 + y2) / 2 * factor
    cut = Pil.fromarray(rgb).crop(tuple(round(v) for v in (x - side / 2, y - side / 2, x + side / 2, y + side / 2)))
    cut.thumbnail((_THUMB, _THUMB))
    return to_jpeg(cut, QUALITY)


# --- the card ---


def summary(clip: ClipSession | None) -> str:
    """What is hidden, the downloads, what to beware of, what stays behind."""
    if clip is None:
        return prose("no-clip")
    record, settings = clip.record, clip.settings
    if record is None:
        return (
            f'<div class="az-card az-result"><h2>{html.escape(clip.name)}</h2><p>Nothing to download yet: '
            "the clip is searched first.</p></div>"
        )
    found = record.count_hidden(settings)
    parts = [f"<h2>{html.escape(count_text(found).capitalize())} hidden</h2>"]
    parts.append("<p class='az-small'>Each is counted once, for all its frames.</p>")
    if not found:
        parts.append(
            "<p class='az-note'>Nothing is hidden at these settings. Look at the clip: if it shows a face or a plate, "
            "move a slider to the left, or draw a box (Correct).</p>"
        )
    missing = [w.removeprefix(INCOMPLETE) for w in record.warnings if w.startswith(INCOMPLETE)]
    parts.append(
        warning_list(f"Part of the clip could not be read, and is not in the clean one: {w}." for w in missing)
    )
    parts += [_downloads(clip), _audited(clip), reversible(settings), _left_out(clip)]
    return f'<div class="az-card az-result">{"".join(parts)}</div>'


def _downloads(clip: ClipSession) -> str:
    base, text = f"videos/{clip.id}", "Download the clean clip"
    with clip.lock:
        is_whole, shows = clip.clean is not None, clip.shows
    button = download(f"{base}/clean?shows={shows}", text)
    if not is_whole:
        button = f'<p><a class="{BUTTON} off" role="link" aria-disabled="true">{text}</a></p>'
        button += "<p class='az-small'>Not yet: it is written first, as it is chosen now.</p>"
    return (
        f'{button}<p class="az-small">{link(f"{base}/record", "Download the record")}: where '
        "faces and plates are, with scores and decisions. It says more than the clean clip does: do not publish it.</p>"
    )


def _audited(clip: ClipSession) -> str:
    """What an audit of what is shown found."""
    found = clip.audited
    return "" if found is None or found.shows != clip.shows else card(found, f"videos/{clip.id}/audit.zip")


def _left_out(clip: ClipSession) -> str:
    """What of the file is not in the clean one."""
    left = [*clip.clip.dropped, "title, place, device, and other metadata"]
    if clip.encoding.audio == "drop" and clip.clip.audio:
        left.append("sound")
    has_sound = clip.clip.audio and clip.encoding.audio != "drop"
    sound = "<p class='az-small'>The sound is kept as it is: voices are not changed.</p>" if has_sound else ""
    return f'{sound}<details class="az-removed"><summary>Left out of the file</summary>{bullets(left)}</details>'
