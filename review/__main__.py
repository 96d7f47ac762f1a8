"""`python -m review`: the queue, decisions and the gated export, without a window; or FiftyOne's App on loopback."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import click

from anonymize import engine
from anonymize.cli import Group, forgive_readers
from anonymize.cli.audit import AUDIT, audit_after
from anonymize.cli.options import FILES, HIDING, THRESHOLDS, WRITING, grouped, settings_of
from anonymize.cli.options import RECORDS as RECORDS_FILE
from anonymize.cli.run import NOTHING_TO_DO, preview_beside, report, review_command
from anonymize.corrections import gate, person
from anonymize.errors import RecordsError
from anonymize.risk import percent

from . import training_set
from .queue import Queue
from .store import ReviewStore

RECORDS = click.argument("records", type=RECORDS_FILE)
SETTINGS = grouped(THRESHOLDS, HIDING)
WHO = click.option("--who", default=person, help="Who decides [this account's name].")
PHOTOS = click.argument("photos", nargs=-1)


@click.group(
    cls=Group, default="serve", context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120}
)
def cli() -> None:
    """Find what was missed, correct it, and export only approved photos.

    \b
    python -m review RECORDS                     FiftyOne's App with the queue, on this machine only
    python -m review CLIPS                       the same of a folder that `video` wrote
    python -m review queue RECORDS               the riskiest photos first, with reasons
    python -m review approve RECORDS a.jpg       and flag, undo
    python -m review export RECORDS OUTPUT       only approved photos
    """


def _store(records: Path, given: dict[str, Any]) -> ReviewStore:
    """The store, with the review's settings changed by the options: what an approval binds to, and an export writes."""
    return ReviewStore(records, settings_of(given, ReviewStore(records).settings))


def _tell(done: int, of: int) -> None:
    """Of many photos the first look takes minutes."""
    if done and done % 10_000 == 0:
        click.echo(f"looked at {done:,} of {of:,} photos", err=True)


@cli.command()
@RECORDS
@click.option("--json", "as_json", is_flag=True, help="Print path, risk, and reasons as JSON.")
@click.option("--all", "everything", is_flag=True, help="Include approved and flagged photos, and those with errors.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Show at most N.")
@SETTINGS
def queue(records: Path, as_json: bool, everything: bool, limit: int | None, **given: Any) -> None:
    """List the photos to review, riskiest first, with reasons."""
    waiting = Queue(_store(records, given), _tell)
    items = waiting.items(0, limit) if everything else waiting.pending(limit)
    if as_json:
        rows = [{"path": i.path, "risk": round(i.risk, 6), "status": i.status, "reasons": i.reasons} for i in items]
        click.echo(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    for item in items:
        click.echo(f"{percent(item.risk):>5}  {item.path}" + (f"  [{item.status}]" if everything else ""))
        for reason in item.reasons:
            click.echo(f"      {reason}")
    if waiting.note:
        click.echo(waiting.note, err=True)
    click.echo(str(waiting.progress()))


@cli.command()
@RECORDS
@SETTINGS
def status(records: Path, **given: Any) -> None:
    """Show the progress of the review and the last decisions."""
    store = _store(records, given)
    click.echo(str(Queue(store, _tell).progress()))
    if gone := store.missing_photos():
        were = "photo was" if len(gone) == 1 else "photos were"
        click.echo(f"{len(gone)} {were} deleted from the input ({gone[0]} …); `forget` removes them from the records")
    # Sorted by time alone: a photo's decisions of the same millisecond stay in their order.
    last = sorted(((r.path, d) for r in store for d in r.decisions), key=lambda of: of[1]["when"])[-10:]
    for path, decision in last:
        note = f": {decision['note']}" if decision.get("note") else ""
        click.echo(f"{decision['when']}  {decision['who']}  {decision['what']}  {path}{note}")


def _add_decision(what: str, text: str) -> None:
    @cli.command(what, help=text)
    @RECORDS
    @PHOTOS
    @WHO
    @click.option("--note", default="", help="A note to store with it.")
    @SETTINGS
    def command(records: Path, photos: tuple[str, ...], who: str, note: str, **given: Any) -> None:
        store = _store(records, given)
        if not photos:
            raise RecordsError("name the photos, as the queue prints them")
        known = store.refresh()
        for photo in photos:  # all or none
            if photo not in known:
                raise RecordsError(f"{records} has no photo {photo!r}")
        for photo in photos:
            store.decide(photo, what, who=who, note=note)
            click.echo(f"{what}: {photo}")


@cli.command()
@RECORDS
@SETTINGS
def use(records: Path, **given: Any) -> None:
    """Choose thresholds and effects for this review. Photos approved under others become pending."""
    store = ReviewStore(records)
    store.use(settings_of(given, store.settings))
    for name, kind in store.settings.kinds.items():
        click.echo(f"{name}: from {kind.threshold:g}, {kind.effect}")
    click.echo(str(Queue(store).progress()))


_add_decision("approve", "Approve PHOTOS as they are now. A later change of regions or settings revokes it.")
_add_decision("flag", "Hold PHOTOS back until somebody looks at them.")
_add_decision("unflag", "Put flagged PHOTOS back into the queue.")
_add_decision("undo", "Take back your last decision on PHOTOS.")


@cli.command()
@RECORDS
@PHOTOS
def forget(records: Path, photos: tuple[str, ...]) -> None:
    """Remove photos that were deleted from the input, and their decisions. Without PHOTOS: all such photos."""
    for path in (found := ReviewStore(records).forget(photos)):
        click.echo(f"forgotten: {path}")
    if not found:
        click.echo("nothing to forget: all photos are in the input, or the input folder is missing")


@cli.command()
@RECORDS
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--allow-unreviewed", is_flag=True, help="Also export photos that nobody approved (never flagged ones).")
@SETTINGS
@WRITING
@AUDIT
@FILES
def export(
    records: Path, output: Path, allow_unreviewed: bool, no_write_detections: bool, preview: bool, **given: Any
) -> None:
    """Write the approved photos, anonymized, to OUTPUT. Photos that are up to date are not written again."""
    settings = settings_of(given, ReviewStore(records).settings)
    if allow_unreviewed:
        click.echo("WARNING: --allow-unreviewed exports photos that nobody approved", err=True)
    beside = preview_beside(output, preview)
    report(
        given,
        partial(
            engine.export,
            records,
            output,
            settings,
            gate=gate(settings, allow_unreviewed),
            write_detections=not no_write_detections,
            preview=beside,
        ),
        then=lambda: audit_after(output, given, records),
        review=review_command(records),
        output=output,
        preview=beside,
    )
    if allow_unreviewed:
        nobody = Queue(ReviewStore(records, settings), _tell).count("pending")
        click.echo(f"--allow-unreviewed: {nobody} of the photos were not approved by anybody")


@cli.command("dataset")
@RECORDS
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(["yolo", "coco"]), default="yolo", show_default=True)
@click.option("--val", type=click.FloatRange(0, 0.9), default=0.2, show_default=True, help="Share for validation.")
@click.option("--test", type=click.FloatRange(0, 0.9), default=0.0, show_default=True, help="Share for testing.")
@click.option("--allow-unreviewed", is_flag=True, help="Include unapproved photos; their regions are guesses.")
@SETTINGS
def dataset(
    records: Path, output: Path, form: str, val: float, test: float, allow_unreviewed: bool, **given: Any
) -> None:
    """Write reviewed photos and regions as a training data set with splits. It contains ORIGINAL photos."""
    counts = training_set.write(
        _store(records, given), output, form, val=val, test=test, allow_unreviewed=allow_unreviewed
    )
    if not any(counts[part] for part in ("train", "val", "test")):
        click.echo("no photo is approved, so no data set was written", err=True)
        click.get_current_context().exit(NOTHING_TO_DO)
    click.echo(", ".join(f"{n} {name}" for name, n in counts.items()))
    if not counts["train"]:
        click.echo("warning: there is nothing to train on: the photos are of few sequences; try --val 0", err=True)


@cli.command()
@click.argument("records", type=click.Path(exists=True, path_type=Path))
@click.option("--port", type=int, default=7861, show_default=True, help="Port on 127.0.0.1.")
@click.option("--annotations", type=click.Path(path_type=Path), help="Ground truth, to show misses and leaks.")
def serve(records: Path, port: int, annotations: Path | None) -> None:
    """Open RECORDS, or a folder of clips' records, in FiftyOne's App, on this machine only."""
    from .loopback import serve as run

    run(records, port, annotations)


if __name__ == "__main__":
    forgive_readers()
    cli(prog_name="python -m review")
