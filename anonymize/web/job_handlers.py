"""What the batch tab does when something happens: values of components in, values for components out."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import gradio as gr

from ..errors import AnonymizeError
from .controls import FieldError, put_back, settings_from, values_of
from .job_view import audit_card, empty, order, pictures, progress, status_line, summary, threshold_table
from .jobs import Job
from .results import counts, explore, heights, scores, table, threshold_effect
from .sessions import new_id
from .site import Site, name_of, session_of
from .tab_photo import failure, show_with_controls
from .telling import message_of

Values = tuple[Any, ...]


def _skip(number: int) -> Values:
    return tuple(gr.skip() for _ in range(number))


def _find(request: gr.Request, id: str) -> Job:
    job: Job = session_of(request).get(Job, id)
    return job


def _only(text: str) -> Values:
    """For `tab_batch.Running`: a sentence, the rest as it was."""
    return status_line(text), *_skip(6)


@dataclass(frozen=True)
class JobHandlers:
    """The handlers. `id` is the batch that is shown, `values` are those of `Controls.all`.

    Attributes:
        site: the server's parts. photo_outputs: how many components show a photo and its settings in the first tab.
    """

    site: Site
    photo_outputs: int

    def _message(self, error: Exception) -> str:
        return message_of(error, self.site.policy.own_machine)

    def watch(self, job: Job) -> Values:
        """Values for `tab_batch.Running`."""
        busy, auditing = job.state in ("waiting", "running"), job.auditing
        is_free = not (busy or auditing)
        return (
            progress(job, self.site.jobs.before(job)),
            gr.update(interactive=is_free, variant="primary" if job.state == "empty" else "secondary"),
            gr.update(visible=busy, interactive=not job.stop.is_set()),
            gr.update(active=not is_free),
            audit_card(job),
            gr.update(interactive=is_free),
            gr.update(visible=bool(auditing), interactive=not (auditing and auditing.stop.is_set())),
        )

    def results(self, job: Job, which: str, of: str) -> Values:
        """Values for `tab_batch.Results`; while it runs, pictures of what is done."""
        if job.state in ("waiting", "running"):
            if not job.summary.done:
                return _skip(11)
            return gr.update(visible=True), pictures(job, which), *_skip(9)
        known, settings = job.records, job.settings
        return (
            gr.update(visible=bool(known)),
            pictures(job, which),
            table(known, settings, job.statuses()),
            scores(known, settings),
            heights(known, settings),
            threshold_table(explore(known, settings, of)),
            settings.kind(of).threshold,
            threshold_effect(known, settings, of, settings.kind(of).threshold),
            summary(job),
            gr.update(visible=bool(known)),
            told_by_sliders(job),
        )

    def restore(self, request: gr.Request) -> Values:
        """The page is opened: the batch of this visitor, as they left it. For `tab_batch.whole`."""
        jobs = [j for j in session_of(request).of_kind(Job) if j.state != "empty" or j.count]
        if not jobs:
            return _skip(7 + 11 + 3 + len(values_of(self.site.policy.defaults)))
        job = jobs[-1]
        with suppress(AnonymizeError, OSError):
            job.refresh()
        uploaded = {"id": job.id, "photos": job.count}
        page = *self.watch(job), *self.results(job, "all", "face"), job.id, uploaded
        return *page, job.settings.preset, *values_of(job.settings)

    def ready(self, event: gr.EventData) -> Values:
        """Photos came in. What came in last is what starts: a folder that was named earlier is forgotten."""
        data = event._data or {}
        return str(data.get("id") or ""), "", gr.update(variant="primary" if data.get("photos") else "secondary"), ""

    def name_folder(self, path: str) -> Any:
        """A folder was typed."""
        return gr.update(variant="primary" if path else "secondary")

    def clear(self, request: gr.Request, id: str) -> Values:
        """Other photos instead of more: what there was is stopped and deleted."""
        session_of(request).remove(id)
        off, hidden = gr.update(visible=False), gr.update(visible="hidden")  # unmounted, a plot would fail
        first = "", gr.update(interactive=True, variant="secondary"), off, gr.update(active=False), "", gr.skip(), off
        return *first, hidden, *_skip(7), empty(), off, {}, ""

    def check(self, request: gr.Request, id: str, *values: Any) -> Values:
        """Something was typed among the controls. For `Controls.typed`."""
        last = self.site.policy.defaults
        try:
            last = _find(request, id).settings if id else last
            settings_from(values, self.site.policy)
        except FieldError as e:
            return put_back(e, last)
        except AnonymizeError:
            pass  # said when it is started
        return put_back(None, last)

    def begin(self, request: gr.Request, id: str, path: str, *values: Any) -> Values:
        """Start the batch, or a new one of a folder."""
        try:
            session, policy = session_of(request), self.site.policy
            settings = settings_from(values, policy)
            if path and path.strip() and policy.own_machine:
                job = Job(new_id(), session.make_folder(), policy)
                job.use_folder(path)
                session.add(job)
            elif id:
                job = _find(request, id)
            else:
                return *_only("Choose some photos first."), id, gr.skip()
            self.site.jobs.start(job, settings)
            return *self.watch(job), job.id, gr.skip() if job.records else ""
        except (AnonymizeError, OSError) as e:
            return *_only(self._message(e)), id, gr.skip()

    def apply_again(self, request: gr.Request, id: str, *values: Any) -> Values:
        """Write the photos with other settings; detect again only where those find otherwise."""
        try:
            job, settings = _find(request, id), settings_from(values, self.site.policy)
            found_with = ("face_detector", "plate_detector", "iou_threshold")
            same = all(getattr(job.settings, n) == getattr(settings, n) for n in found_with)
            self.site.jobs.start(job, settings, again=same)
            return self.watch(job)
        except (AnonymizeError, OSError) as e:
            return _only(self._message(e))

    def tick(self, request: gr.Request, id: str, which: str, of: str) -> Values:
        """A second went by."""
        try:
            job = _find(request, id)
            now = self.watch(job)
            return *now, *(_skip(11) if job.auditing else self.results(job, which, of))  # they stay during an audit
        except (AnonymizeError, OSError) as e:
            stopped = gr.update(interactive=True), gr.update(visible=False), gr.update(active=False)
            return status_line(self._message(e)), *stopped, "", *_skip(1), gr.update(visible=False), *_skip(11)

    def halt(self, request: gr.Request, id: str) -> Values:
        """Stop after the photos in hand."""
        try:
            job = _find(request, id)
            job.stop.set()
            return self.watch(job)
        except (AnonymizeError, OSError) as e:
            return _only(self._message(e))

    def audit(self, request: gr.Request, id: str) -> Values:
        """Look for leaks in the clean photos."""
        try:
            job = _find(request, id)
            self.site.jobs.audit(job)
            return self.watch(job)
        except (AnonymizeError, OSError) as e:
            return *_skip(4), status_line(self._message(e)), *_skip(2)

    def cancel_audit(self, request: gr.Request, id: str) -> Values:
        """Stop looking after the photo in hand."""
        try:
            job = _find(request, id)
            if auditing := job.auditing:
                auditing.stop.set()
            return self.watch(job)
        except (AnonymizeError, OSError) as e:
            return *_skip(4), status_line(self._message(e)), *_skip(2)

    def show_only(self, request: gr.Request, id: str, which: str) -> Any:
        """Only photos of one status."""
        try:
            return pictures(_find(request, id), which)
        except (AnonymizeError, OSError) as e:
            return status_line(self._message(e))

    def explore_kind(self, request: gr.Request, id: str, of: str) -> Values:
        """Other thresholds of a kind."""
        try:
            job = _find(request, id)
        except AnonymizeError:
            return _skip(3)
        now = job.settings.kind(of).threshold
        frame = threshold_table(explore(job.records, job.settings, of))
        return frame, now, threshold_effect(job.records, job.settings, of, now)

    def move(self, request: gr.Request, id: str, of: str, to: float) -> Any:
        """One other threshold."""
        try:
            job = _find(request, id)
            return threshold_effect(job.records, job.settings, of, float(to))
        except (AnonymizeError, TypeError, ValueError):
            return gr.skip()

    def use(self, of: str, to: float, face: float, plate: float) -> tuple[float, float]:
        """That threshold among the controls."""
        return (to, plate) if of == "face" else (face, to)

    def correct(self, request: gr.Request, event: gr.EventData, id: str) -> Values:
        """A photo of the gallery was chosen: open it in the first tab."""
        try:
            return self._open(request, _find(request, id), int((event._data or {}).get("number", -1)))
        except (AnonymizeError, OSError, TypeError, ValueError) as e:
            return status_line(self._message(e)), *_skip(self.photo_outputs + 1)

    def walk(self, request: gr.Request, event: gr.EventData) -> Values:
        """The next photo of a batch, or the one before, in the gallery's order; or back to the gallery."""
        data = event._data or {}
        try:
            job, number, what = _find(request, str(data.get("id"))), int(data.get("number", -1)), data.get("what")
            if what not in ("next", "previous"):
                return "", gr.Tabs(selected="batch"), *_skip(self.photo_outputs)
            numbers = [i for i in order(job) if not job.records[i].error]
            at = numbers.index(number) + (1 if what == "next" else -1)
            if not 0 <= at < len(numbers):
                return "", gr.Tabs(selected="batch"), *_skip(self.photo_outputs)
            return self._open(request, job, numbers[at])
        except (AnonymizeError, OSError, TypeError, ValueError) as e:
            return "", gr.skip(), *failure(self._message(e)), *_skip(self.photo_outputs - 4)

    def _open(self, request: gr.Request, job: Job, number: int) -> Values:
        record = job.record(number)
        who, source = name_of(request, self.site.policy), job.source_of(record)
        session, settings = session_of(request), job.settings
        photo = self.site.pool.reopen(session, source, record, settings, who, job.corrections_writer(record))
        photo.batch = job.id, number
        return "", gr.Tabs(selected="photo"), *show_with_controls(photo, settings)

    def back(self, request: gr.Request, id: str, which: str) -> Values:
        """The tab is looked at again: photos may have been corrected meanwhile, here or in the review.

        Values for the gallery, the card, the sliders' counts, and the thresholds.
        """
        if not id:
            return _skip(5)
        try:
            job = _find(request, id)
            if not job.refresh():
                return _skip(5)
            face, plate = (job.settings.kind(k).threshold for k in ("face", "plate"))
            return pictures(job, which), summary(job), told_by_sliders(job), face, plate
        except (AnonymizeError, OSError) as e:
            return gr.skip(), status_line(self._message(e)), *_skip(3)


def told_by_sliders(job: Job) -> dict[str, Any]:
    """What the sliders of the thresholds say they would change: `results.counts`, and the thresholds now."""
    now = {kind: job.settings.kind(kind).threshold for kind in job.settings.kinds}
    return {"counts": counts(job.records, job.settings), "now": now}
