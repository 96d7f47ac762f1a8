"""run, detect, export: photos in, records, anonymized photos out."""

from __future__ import annotations

import os
import shlex
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import PathError, SettingsError
from . import options
from .audit import AUDIT, audit_after
from .progress import bar, hidden_text, print_counts

if TYPE_CHECKING:
    from ..engine import Summary
    from ..sequence import Followed
    from ..settings import Settings

MOST_NAMED = 5  # photos that are worth a look; the whole list is the review's
NOTHING_TO_DO = 3  # exit code; 0: all done, 1: a failure, 2: wrong options or paths, 130: stopped


@click.command()
@click.argument("source")
@click.option("--records", "records_path", required=True, type=options.PATH, help="Records file to write or continue.")
@options.DRY_RUN
@options.SEQUENCE
@options.DETECTOR_OPTIONS
@options.THRESHOLDS
@options.SEARCHING
@options.FILES
def detect(source: str, records_path: Path, dry_run: bool, is_sequence: bool, **given: Any) -> None:
    """Find faces and plates in SOURCE (a photo, a folder, a glob or a .txt list) and write records."""
    from .. import engine, sequence

    predictor = options.predictor_of(options.settings_of(given), given)
    how: Callable[..., Summary] = partial(sequence.detect, followed=_say_followed) if is_sequence else engine.detect
    work = partial(how, source, records_path, predictor, dry_run=dry_run)
    report(given, work, review="" if dry_run else review_command(records_path))


@click.command()
@click.argument("records_path", metavar="RECORDS", type=options.RECORDS)
@click.argument("output", type=options.PATH)
@options.SEQUENCE
@options.THRESHOLDS
@options.HIDING
@options.WRITING
@AUDIT
@options.FILES
def export(
    records_path: Path, output: Path, is_sequence: bool, no_write_detections: bool, preview: bool, **given: Any
) -> None:
    """Write anonymized photos to OUTPUT from RECORDS, without detecting again.

    Settings start from those of the detection; options change them.
    """
    from .. import engine, sequence
    from ..records_file import RecordsFile

    settings = warn(options.settings_of(given, RecordsFile(records_path).header.settings))
    if is_sequence:
        _say_followed(sequence.follow_file(records_path))
    writing: dict[str, Any] = {"write_detections": not no_write_detections, "preview": preview_beside(output, preview)}
    work = partial(engine.export, records_path, output, settings, **writing)
    then = partial(audit_after, output, given, records_path)
    report(given, work, then=then, review=review_command(records_path), output=output, preview=writing["preview"])


@click.command()
@click.argument("source")
@click.argument("output")
@click.option("--records", "records_path", type=options.PATH, help="Records file [OUTPUT/records.jsonl].")
@options.DRY_RUN
@options.SEQUENCE
@options.CLUSTER
@options.DETECTOR_OPTIONS
@options.THRESHOLDS
@options.HIDING
@options.WRITING
@AUDIT
@options.SEARCHING
@options.FILES
def run(
    source: str,
    output: str,
    records_path: Path | None,
    dry_run: bool,
    is_sequence: bool,
    no_write_detections: bool,
    preview: bool,
    **given: Any,
) -> None:
    """Find and hide: photos of SOURCE (a photo, a folder, a glob or a .txt list) in, anonymized photos in OUTPUT.

    Run the same command again to continue a stopped run. With --cluster, SOURCE and OUTPUT may be URLs (s3://…).
    """
    from .. import engine, sequence

    if given["cluster"] is not None:
        unread = {"--dry-run": dry_run, "--preview": preview, "--audit": given["is_audited"], "--trust": given["trust"]}
        for name, is_given in (unread | {"--sequence": is_sequence}).items():
            if is_given:
                raise SettingsError(f"{name} does nothing with --cluster; leave it out")
        _run_on_cluster(source, output, records_path, not no_write_detections, given)
        return
    for place in (source, output):
        if "://" in place and not os.path.lexists(place):
            raise PathError(f"{place} is a URL; only runs with --cluster read and write those")
    folder = Path(output)
    predictor = options.predictor_of(warn(options.settings_of(given)), given)
    writing: dict[str, Any] = {"write_detections": not no_write_detections, "preview": preview_beside(folder, preview)}
    how = sequence.run if is_sequence else engine.run
    work = partial(how, source, folder, predictor, records_path=records_path, dry_run=dry_run, **writing)
    then = None if dry_run else lambda: audit_after(folder, given, records_path)
    review = review_command(records_path or folder / engine.RECORDS_NAME)
    places: dict[str, Any] = {} if dry_run else {"review": review, "output": folder, "preview": writing["preview"]}
    report(given, work, then=then, **places)


def _say_followed(done: Followed) -> None:
    click.echo(f"sequence: {done.regions} regions in {done.photos} photos got the score of a neighbor", err=True)


def _run_on_cluster(
    source: str, output: str, records_path: Path | None, write_detections: bool, given: dict[str, Any]
) -> None:
    from ..cluster import Cluster
    from ..cluster import run as run_there

    cluster = Cluster(given["cluster"], given["cluster_cpus"], given["cluster_workers"], given["cluster_shard"])
    places: dict[str, Any] = {"records_path": records_path, "weights_dir": given["weights_dir"]}
    predictor = options.predictor_of(warn(options.settings_of(given)), given)
    # Without a file of its own, the records lie in the output's shards, which the review does not read.
    gather = f"python -m anonymize gather {shlex.quote(output)} RECORDS && {review_command('RECORDS')}"
    work = partial(run_there, source, output, predictor, cluster, write_detections=write_detections, **places)
    report(given, work, review=review_command(records_path) if records_path else gather, output=output)


@click.command()
@click.argument("output")
@click.argument("records_path", metavar="RECORDS", type=options.PATH)
@click.option("--root", type=options.PATH, help="Where this machine sees the photos (a mounted bucket).")
@options.VERBOSE
def gather(output: str, records_path: Path, root: Path | None) -> None:
    """Make one records file of the Parquet shards in OUTPUT, which a cluster run wrote, for review and export.

    Run it again after the next cluster run. What people decided in RECORDS stays.
    """
    from ..cluster import gather as work

    click.echo(f"{records_path}: {work(output, records_path, root)} photos")


def preview_beside(output: Path, wanted: bool) -> Path | None:
    """Where previews go: beside the output, never inside it, because a preview's left half is the original."""
    return Path(f"{os.path.abspath(output)}-preview") if wanted else None


def warn(settings: Settings) -> Settings:
    """Say once, also where records ask for it, what otherwise every photo would say."""
    if settings.allow_weak:
        click.echo("warning: allow_weak is set: what is hidden can be recovered from the output", err=True)
        warnings.filterwarnings("ignore", "allow_weak")
    return settings


def report(
    given: dict[str, Any],
    work: Callable[..., Summary],
    *,
    is_part: bool = False,
    then: Callable[[], int] | None = None,
    review: str = "",
    output: Path | str | None = None,
    preview: Path | None = None,
) -> None:
    """Run with a progress bar, print the summary table, exit 1 when a photo failed and 3 when nothing came out.

    Args:
        work: the run. is_part: of a larger command, it prints failures only, and that command goes on.
        then: follows, whatever failed; its exit code counts where nothing did.
        review: the command that lists the photos that are worth a look, or "".
        output: where the clean photos are, or None. preview: where the pictures beside them are, or None.
    """
    from rich.markup import escape

    columns = "n/m", "{task.fields[rate]:.1f}/s", "left", "{task.fields[found]}"
    with bar(*columns, quiet=given.get("quiet", False)) as shown:
        task = shown.add_task("photos", total=None, rate=0.0, found="")

        def progress(s: Summary) -> None:
            done = s.done + len(s.failures) + len(s.withheld) + len(s.gone)
            seconds = shown.tasks[0].elapsed or 0.0
            found = escape(hidden_text(s.hidden))
            failed = f" · [red]{len(s.failures)} failed[/red]" if s.failures else ""
            shown.update(task, total=s.photos, completed=done, rate=done / max(seconds, 1e-6), found=found + failed)

        summary = work(progress=progress)

    if not is_part:
        from ..video.batch import EXTENSIONS

        of_photos = {"withheld": len(summary.withheld), "no longer in the input": len(summary.gone)}
        of_photos["worth a look"] = summary.worth_a_look
        print_counts("photos", summary.photos, summary, of_photos)
        say_other_command(summary.skipped, EXTENSIONS, "clip", "video")
        _say_not_read(summary.skipped)
    _say_what_failed(summary)
    if is_part:
        return
    if summary.done and output:
        click.echo(f"the clean photos are in {output}; JSON files there say what was found, keep these back", err=True)
        if preview:
            click.echo(f"the previews in {preview} show the originals, too; keep these back", err=True)
    _say_what_to_look_at(summary, review)
    code = then() if then and summary.photos else 0
    if not summary.ok:
        click.echo(f"{len(summary.failures)} of {summary.photos} photos failed and have no output", err=True)
        click.get_current_context().exit(1)
    if not summary.done:
        none = "there was no photo to do (--image-extensions says which files are photos)"
        click.echo("no photo was written: see above" if summary.photos else none, err=True)
        click.get_current_context().exit(NOTHING_TO_DO)
    if code:
        click.get_current_context().exit(code)


def say_other_command(skipped: Mapping[str, int], extensions: Iterable[str], what: str, command: str) -> None:
    """Name the command for files that this one skips: clips among the photos of `run`, photos among clips."""
    if number := sum(skipped.get(e, 0) for e in extensions):
        click.echo(f"skipped {what}s: {number}; the command {command} takes them", err=True)


def _say_not_read(skipped: Mapping[str, int]) -> None:
    """Name pictures of kinds that cannot be read: they are photos to the one who put them there."""
    from ..images.formats import NOT_READ, RAW

    if kinds := [f"{skipped[e]} .{e}" for e in (*NOT_READ, *RAW) if skipped.get(e)]:
        text = "these kinds are not read, and have no clean copy; save them as JPEG or PNG"
        click.echo(f"skipped pictures: {', '.join(kinds)}; {text}", err=True)


def say_reasons(said: str, of: Mapping[str, str]) -> None:
    """A line for each reason (path -> reason), with the first paths."""
    from ..records import first_of

    for reason in dict.fromkeys(of.values()):
        paths = [path for path, why in of.items() if why == reason]
        click.echo(f"{said}, {len(paths)}, {reason}: {first_of(paths)}", err=True)


def _say_what_to_look_at(summary: Summary, review: str) -> None:
    """The photos in which something may have been missed, the riskiest first: a list in which a person should begin."""
    if not summary.worth_a_look:
        return
    from ..risk import percent

    click.echo("worth a look, because something may have been missed, the riskiest first:", err=True)
    named = summary.riskiest[:MOST_NAMED]
    for photo in named:
        click.echo(f"  {percent(photo['risk'])}  {photo['path']}: {photo['why']}", err=True)
    if more := summary.worth_a_look - len(named):
        click.echo(f"  … and {more} more", err=True)
    if review:
        click.echo(f"  all of them, with every reason: {review}", err=True)


def review_command(records_path: Path | str) -> str:
    """The command that lists what is worth a look in these records."""
    return f"python -m review queue {shlex.quote(str(records_path))}"


def _say_what_failed(summary: Summary) -> None:
    if summary.gone:
        from ..records import first_of

        gone = f"{first_of(summary.gone)} (`python -m review forget` removes them)"
        click.echo(f"no longer in the input, so not written: {gone}", err=True)
    for text in summary.warning_texts():
        click.echo(f"warning: {text}", err=True)
    if summary.not_hidden:
        click.echo("         (--hide KIND hides them)", err=True)
    say_reasons("left in the output by an earlier run", summary.left_over)
    say_reasons("withheld", summary.withheld)
    for path, reason in summary.failures.items():
        click.echo(f"failed: {path}: {reason}", err=True)
