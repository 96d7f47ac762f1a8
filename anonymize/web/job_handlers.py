"""What the batch tab does when something happens: values of components in, values for components out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import gradio as gr

from ..errors import AnonymizeError
from .controls import FieldError, settings_from, values_of
from .elements import Values, prose, status_line
from .job_view import audit_card, order, pictures, progress, summary, threshold_table
from .jobs import Job
from .results import counts, explore, heights, scores, table, threshold_effect
from .sessions import new_id
from .site import Handler, Site, answered, name_of, session_of
from .tab_batch import BatchTab
from .tab_photo import PhotoTab


def _said_in(place: str) -> Handler:
    """What goes wrong is said in that component of the tab."""

    def failed(do: JobHandlers, error: Exception, *_: Any) -> Values:
        return {getattr(do.tab, place): status_line(do.site.message(error))}

    return failed


def _number(data: Mapping[str, Any]) -> int:
    """The number of a photo that an event names; -1, which no photo has, where it is none."""
    try:
        return int(data.get("number", -1))
    except (TypeError, ValueError):
        return -1


@dataclass(frozen=True)
class JobHandlers:
    """The handlers. `id` is the batch that is shown, `values` are those of `Controls.all`.

    Attributes:
        site: the server's parts. tab: this one. photo: the tab that shows a single photo. tabs: both are in them.
    """

    site: Site
    tab: BatchTab
    photo: PhotoTab
    tabs: gr.Tabs

    def watch(self, job: Job) -> Values:
        """For `BatchTab.running`."""
        tab, busy, auditing = self.tab, job.state in ("waiting", "running"), job.auditing
        is_free = not (busy or auditing)
        return {
            tab.progress: progress(job, self.site.jobs.before(job)),
            tab.start: gr.update(interactive=is_free, variant="primary" if job.state == "empty" else "secondary"),
            tab.stop: gr.update(visible=busy, interactive=not job.stop.is_set()),
            tab.timer: gr.update(active=not is_free),
            tab.again: gr.skip() if is_free else gr.update(visible=False),  # `results` and `differ` show it
            tab.audited: audit_card(job),
            tab.audit: gr.update(interactive=is_free),
            tab.cancel: gr.update(visible=bool(auditing), interactive=not (auditing and auditing.stop.is_set())),
        }

    def results(self, job: Job, which: str, of: str, values: Sequence[Any] = ()) -> Values:
        """What came of it; while it runs, pictures of what is done. Without `values` the controls show its settings."""
        tab, is_busy = self.tab, job.state in ("waiting", "running")
        if is_busy and not job.summary.done:
            return {}
        shown = {tab.results: gr.update(visible=is_busy or bool(job.records)), tab.gallery: pictures(job, which)}
        if is_busy:
            return shown
        known, settings = job.records, job.settings
        return {
            **shown,
            tab.photos: table(known, settings, job.statuses()),
            tab.scores: scores(known, settings),
            tab.heights: heights(known, settings),
            **self._explored(job, of),
            tab.card: summary(job),
            tab.again: self._apply_button(job, values or values_of(settings)),
            tab.counts: told_by_sliders(job),
        }

    def _apply_button(self, job: Job, values: Sequence[Any]) -> Any:
        """It is there where the photos do not show what the controls say: others were chosen, or not all were done."""
        try:
            policy = self.site.policy
            differs = settings_from(values, policy) != settings_from(values_of(job.settings), policy)
        except AnonymizeError:
            differs = True  # what is wrong is said when it is pressed
        is_free = job.state in ("done", "stopped", "failed") and not job.auditing
        return gr.update(visible=is_free and bool(job.records) and (differs or job.state != "done"))

    def _explored(self, job: Job, of: str) -> Values:
        now, thresholds = job.settings.kind(of).threshold, threshold_table(explore(job.records, job.settings, of))
        moved = threshold_effect(job.records, job.settings, of, now)
        return {self.tab.thresholds: thresholds, self.tab.probe: now, self.tab.moved: moved}

    def restore(self, request: gr.Request) -> Values:
        """The page is opened: the batch of this visitor, as they left it. For `BatchTab.whole`."""
        tab, jobs = self.tab, [j for j in session_of(request).of_kind(Job) if j.state != "empty" or j.count]
        if not jobs:
            return {tab.id: gr.skip()}
        job = jobs[-1]
        with suppress(AnonymizeError, OSError):
            job.refresh()
        own: Values = {tab.id: job.id, tab.upload: {"id": job.id, "photos": job.count}}
        return {**self.watch(job), **self.results(job, "all", "face"), **own, **tab.controls.show(job.settings)}

    def ready(self, event: gr.EventData) -> Values:
        """Photos came in. What came in last is what starts: a folder that was named earlier is forgotten."""
        tab, data = self.tab, event._data or {}
        start = gr.update(variant="primary" if data.get("photos") else "secondary")
        return {tab.id: str(data.get("id") or ""), tab.progress: "", tab.start: start, tab.folder: ""}

    def name_folder(self, path: str) -> Any:
        """A folder was typed."""
        return gr.update(variant="primary" if path else "secondary")

    def clear(self, request: gr.Request, id: str) -> Values:
        """Other photos instead of more: what there was is stopped and deleted."""
        session_of(request).remove(id)
        tab, off = self.tab, gr.update(visible=False)
        return {
            tab.start: gr.update(interactive=True, variant="secondary"),
            tab.timer: gr.update(active=False),
            tab.results: gr.update(visible="hidden"),  # unmounted, a plot would fail
            tab.card: prose("no-batch"),
            tab.counts: {},
            **dict.fromkeys((tab.stop, tab.cancel, tab.again), off),
            **dict.fromkeys((tab.progress, tab.audited, tab.id), ""),
        }

    def check(self, request: gr.Request, id: str, *values: Any) -> Values:
        """Something was typed among the controls. For `Controls.typed`."""
        last, put_back = self.site.policy.defaults, self.tab.controls.put_back
        try:
            last = session_of(request).get(Job, id).settings if id else last
            settings_from(values, self.site.policy)
        except FieldError as e:
            return put_back(e, last)
        except AnonymizeError:
            pass  # said when it is started
        return put_back(None, last)

    def differ(self, request: gr.Request, id: str, *values: Any) -> Values:
        """A person moved one of the controls."""
        try:
            return {self.tab.again: self._apply_button(session_of(request).get(Job, id), values)}
        except AnonymizeError:
            return {self.tab.again: gr.update(visible=False)}

    @answered(_said_in("progress"))
    def begin(self, request: gr.Request, id: str, path: str, *values: Any) -> Values:
        """Start the batch, or a new one of a folder."""
        session, policy = session_of(request), self.site.policy
        settings = settings_from(values, policy)
        if path and path.strip() and policy.own_machine:
            job = Job(new_id(), session.make_folder(), policy)
            job.use_folder(path)
            session.add(job)
        elif id:
            job = session.get(Job, id)
        else:
            return {self.tab.progress: status_line("Choose some photos first.")}
        self.site.jobs.start(job, settings)
        card = {} if job.records else {self.tab.card: ""}
        return {**self.watch(job), self.tab.id: job.id, **card}

    @answered(_said_in("progress"))
    def apply_again(self, request: gr.Request, id: str, *values: Any) -> Values:
        """Write the photos with other settings; detect again only where those find otherwise."""
        job, settings = session_of(request).get(Job, id), settings_from(values, self.site.policy)
        found_with = ("face_detector", "plate_detector", "iou_threshold")
        same = all(getattr(job.settings, n) == getattr(settings, n) for n in found_with)
        self.site.jobs.start(job, settings, again=same)
        return self.watch(job)

    def _stopped(self, error: Exception, *_: Any) -> Values:
        tab, off = self.tab, gr.update(visible=False)
        still: Values = {tab.start: gr.update(interactive=True), tab.timer: gr.update(active=False), tab.audited: ""}
        return {tab.progress: status_line(self.site.message(error)), **still, tab.stop: off, tab.cancel: off}

    @answered(_stopped)
    def tick(self, request: gr.Request, id: str, which: str, of: str, *values: Any) -> Values:
        """A second went by."""
        job = session_of(request).get(Job, id)
        now = self.watch(job)
        return now if job.auditing else {**now, **self.results(job, which, of, values)}  # they stay during an audit

    @answered(_said_in("progress"))
    def halt(self, request: gr.Request, id: str) -> Values:
        """Stop after the photos in hand."""
        job = session_of(request).get(Job, id)
        job.stop.set()
        return self.watch(job)

    @answered(_said_in("audited"))
    def audit(self, request: gr.Request, id: str) -> Values:
        """Look for leaks in the clean photos."""
        job = session_of(request).get(Job, id)
        self.site.jobs.audit(job)
        return self.watch(job)

    @answered(_said_in("audited"))
    def cancel_audit(self, request: gr.Request, id: str) -> Values:
        """Stop looking after the photo in hand."""
        job = session_of(request).get(Job, id)
        if auditing := job.auditing:
            auditing.stop.set()
        return self.watch(job)

    @answered(_said_in("gallery"))
    def show_only(self, request: gr.Request, id: str, which: str) -> Values:
        """Only photos of one status."""
        return {self.tab.gallery: pictures(session_of(request).get(Job, id), which)}

    @answered(_said_in("moved"))
    def explore_kind(self, request: gr.Request, id: str, of: str) -> Values:
        """Other thresholds of a kind."""
        return self._explored(session_of(request).get(Job, id), of)

    @answered(_said_in("moved"))
    def move(self, request: gr.Request, id: str, of: str, to: float) -> Values:
        """One other threshold."""
        job = session_of(request).get(Job, id)
        return {self.tab.moved: threshold_effect(job.records, job.settings, of, float(to))}

    def use(self, of: str, to: float) -> Values:
        """That threshold among the controls."""
        return {self.tab.controls.face if of == "face" else self.tab.controls.plate: to}

    @answered(_said_in("progress"))
    def correct(self, request: gr.Request, event: gr.EventData, id: str) -> Values:
        """A photo of the gallery was chosen: open it in the first tab."""
        return self._open(request, session_of(request).get(Job, id), _number(event._data or {}))

    def _not_walked(self, error: Exception, *_: Any) -> Values:
        return self.photo.fail(self.site.message(error))

    @answered(_not_walked)
    def walk(self, request: gr.Request, event: gr.EventData) -> Values:
        """The next photo of a batch, or the one before, in the gallery's order; or back to the gallery."""
        data = event._data or {}
        job, number, what = session_of(request).get(Job, str(data.get("id"))), _number(data), data.get("what")
        numbers = [i for i in order(job) if not job.records[i].error]
        if what in ("next", "previous") and number in numbers:
            at = numbers.index(number) + (1 if what == "next" else -1)
            if 0 <= at < len(numbers):
                return self._open(request, job, numbers[at])
        return {self.tab.progress: "", self.tabs: gr.Tabs(selected="batch")}

    def _open(self, request: gr.Request, job: Job, number: int) -> Values:
        record = job.record(number)
        source, writer = job.source_of(record), job.corrections_writer(record)
        settings = job.settings
        photo = self.site.pool.reopen(session_of(request), source, record, settings, name_of(request), writer)
        photo.batch = job.id, number
        selected = gr.Tabs(selected="photo")
        return {self.tab.progress: "", self.tabs: selected, **self.photo.show_whole(photo, settings)}

    @answered(_said_in("card"))
    def back(self, request: gr.Request, id: str, which: str, *values: Any) -> Values:
        """The tab is looked at again: photos may have been corrected meanwhile, here or in the review."""
        tab, job = self.tab, session_of(request).get(Job, id) if id else None
        if job is None or not job.refresh():
            return {tab.card: gr.skip()}
        face, plate = (job.settings.kind(k).threshold for k in ("face", "plate"))
        shown: Values = {tab.gallery: pictures(job, which), tab.card: summary(job), tab.counts: told_by_sliders(job)}
        again = self._apply_button(job, [face, plate, *values[2:]])
        shown |= {tab.again: again, tab.audited: audit_card(job)}
        return {**shown, tab.controls.face: face, tab.controls.plate: plate}


def told_by_sliders(job: Job) -> dict[str, Any]:
    """What the sliders of the thresholds say they would change: `results.counts`, and the thresholds now."""
    now = {kind: job.settings.kind(kind).threshold for kind in job.settings.kinds}
    return {"counts": counts(job.records, job.settings), "now": now}


def build(site: Site, photo: PhotoTab, tabs: gr.Tabs, others: Iterable[str] = ()) -> None:
    """Draw the tab and let it handle what happens; `others`: as of `BatchTab`."""
    tab = BatchTab(site.policy, others)
    _wire(JobHandlers(site, tab, photo, tabs))


def _wire(do: JobHandlers) -> None:
    tab, photo, tabs, controls = do.tab, do.photo, do.tabs, do.tab.controls
    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "queue": False}
    thresholds, all_ = [controls.face, controls.plate], controls.all
    # the run
    tab.upload.ready(do.ready, None, [tab.id, tab.progress, tab.start, tab.folder], **private)
    tab.upload.cleared(do.clear, [tab.id], [*tab.shown, tab.id], **private)
    tab.folder.input(do.name_folder, tab.folder, tab.start, **private)
    tab.start.click(do.begin, [tab.id, tab.folder, *all_], [*tab.running, tab.id, tab.card], **private)
    tab.again.click(do.apply_again, [tab.id, *all_], tab.running, **private)
    tab.stop.click(do.halt, [tab.id], tab.running, **private)
    tab.audit.click(do.audit, [tab.id], tab.running, **private)
    tab.cancel.click(do.cancel_audit, [tab.id], tab.running, **private)
    tab.timer.tick(do.tick, [tab.id, tab.status, tab.kind, *all_], tab.shown, **private)
    latest: dict[str, Any] = {"trigger_mode": "always_last", **private}
    for control in all_:
        event = control.release if control is controls.iou_threshold else control.input
        event(do.differ, [tab.id, *all_], tab.again, **latest)
    controls.preset_applied.then(do.differ, [tab.id, *all_], tab.again, **latest)
    for typed in (controls.fill, controls.face_detector, controls.plate_detector):
        typed.input(do.check, [tab.id, *all_], controls.typed, **private)
    gr.on(None, do.restore, None, tab.whole, **private)  # when the page is opened
    # its results
    opened = [tab.progress, tabs, *photo.whole]
    tab.gallery.chosen(do.correct, [tab.id], opened, **private)
    photo.viewer.walked(do.walk, None, opened, trigger_mode="multiple", **private)
    shown = [tab.gallery, tab.card, tab.counts, tab.again, tab.audited, *thresholds]
    tabs.select(do.back, [tab.id, tab.status, *all_], shown, **private)
    tab.status.change(do.show_only, [tab.id, tab.status], tab.gallery, **private)
    tab.kind.change(do.explore_kind, [tab.id, tab.kind], tab.explored, **private)
    tab.probe.input(do.move, [tab.id, tab.kind, tab.probe], tab.moved, trigger_mode="always_last", **private)
    used = tab.use.click(do.use, [tab.kind, tab.probe], thresholds, **private)
    used.then(do.differ, [tab.id, *all_], tab.again, **latest)
