"""audit: look at an output as an attacker would; verify a certificate; take photos out of quarantine; the key."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import Group
from .options import PATH, QUIET, VERBOSE, WEIGHTS, grouped
from .progress import bar, fetching

if TYPE_CHECKING:
    from ..audit import Audit, Options

LEAKS, NOT_VALID = 4, 5  # exit codes
KEY = click.option("--key", type=PATH, help="Private key to sign with, PEM [the user's own; made at the first use].")
AGAINST = click.option("--against", type=PATH, help="Folder of the originals, to compare with.")
RECORDS = click.option(
    "--records", "records_path", type=PATH, help="Records file, or folder of clips' records [of OUTPUT]."
)
REPORT = click.option("--report", type=PATH, help="Folder for report, certificate and quarantine [OUTPUT-audit].")


@click.group(cls=Group, default="folder")
def audit() -> None:
    """Look for what is still recognizable in an output; certify what passed.

    \b
    python -m anonymize audit OUTPUT                    find leaks, move them to quarantine, sign a certificate
    python -m anonymize audit OUTPUT --against PHOTOS   compare with the originals, too
    python -m anonymize audit verify CERTIFICATE        check a certificate and its photos

    Exit codes: 0 nothing found, 4 a photo or clip failed or another file lies there, 5 a certificate does not hold.

    `verify`: 0 also where what failed was taken out and the folder holds exactly what passed; 4 where something that
    failed, or another file, lay there still when the certificate was signed, or something failed and no folder was
    found to compare with.
    """


@audit.command()
@click.argument("output", type=PATH)
@RECORDS
@AGAINST
@click.option("--detector", "detectors", multiple=True, metavar="NAME", help="Detector that looks again [unused ones].")
@click.option("--no-detect", is_flag=True, help="Do not look again with other networks.")
@click.option("--no-attack", is_flag=True, help="Do not try to read plates or to recognize faces.")
@click.option("--quarantine/--no-quarantine", default=True, help="Move what fails out of OUTPUT [yes].")
@click.option("--frames", type=click.IntRange(1), default=60, help="Frames of a clip that are looked at, at most [60].")
@REPORT
@KEY
@click.option("--json", "as_json", is_flag=True, help="Print all findings as JSON.")
@QUIET
@WEIGHTS
@VERBOSE
def folder(
    output: Path,
    records_path: Path | None,
    against: Path | None,
    no_detect: bool,
    no_attack: bool,
    quarantine: bool,
    as_json: bool,
    quiet: bool,
    **given: Any,
) -> None:
    """Audit OUTPUT, a folder that `run`, `export` or `video` wrote (the word `folder` may be left out)."""
    import json

    from ..audit import Options

    options = Options(is_looking=not no_detect, is_attacking=not no_attack, is_moving=quarantine, **given)
    done = run_audit(output, options, records_path=records_path, against=against, quiet=quiet or as_json)
    if as_json:
        click.echo(json.dumps(done.to_dict(), indent=1, ensure_ascii=False))
    else:
        say(done, options)
    if not done.ok:
        click.get_current_context().exit(LEAKS)
    if not done.photos:
        click.echo("there was no photo and no clip in the output", err=True)
        click.get_current_context().exit(3)


def run_audit(
    output: Path,
    options: Options,
    *,
    records_path: Path | None = None,
    against: Path | None = None,
    quiet: bool = False,
) -> Audit:
    """`audit_folder` with a progress bar."""
    from ..audit import audit_folder

    with bar("n/m", "left", "{task.fields[failed]}", quiet=quiet) as shown, fetching() as progress:
        task = shown.add_task("audit", total=None, failed="")

        def tell(audit: Audit, total: int) -> None:
            failed = f"[red]{len(audit.failed)} failed[/red]" if audit.failed else ""
            shown.update(task, total=total, completed=len(audit.photos), failed=failed)

        return audit_folder(
            output, records_path=records_path, against=against, options=options, progress=tell, fetching=progress
        )


def say(audit: Audit, options: Options) -> None:
    """What was found: a line for each photo that failed, and where the report is."""
    from ..audit import SYSTEM, THUMBNAILS, report_folder
    from ..records import first_of

    for photo in audit.failed:
        where = " (now in quarantine)" if photo.quarantined else ""
        click.echo(f"failed: {photo.path}: {photo.why}{where}", err=True)
    if options.is_moving and any(not p.quarantined for p in audit.failed):
        click.echo("nothing was moved: without exports.jsonl or clips.jsonl these may be originals", err=True)
    for path in audit.strays:
        click.echo(f"not this program's: {path}: nobody looked at it; move it away", err=True)
    for why, paths in ((THUMBNAILS, audit.thumbnails), (SYSTEM, audit.of_system)):
        for path in paths:
            click.echo(f"of the operating system: {path}: {why}", err=True)
    looks = audit.to_look_at
    click.echo(f"{audit.counted}, {len(audit.failed)} failed, {len(looks)} to look at")
    if looks:
        click.echo(f"to look at: {first_of(looks)}: {audit.to_do}")
    if said := audit.checks.get("clips"):
        click.echo(said)
    for checks, reason in audit.not_done:
        click.echo(f"not done: {checks}: {reason}")
    if options.is_reporting:
        click.echo(f"report: {(options.report or report_folder(audit.output)) / 'report.html'}")


@audit.command()
@click.argument("certificate", type=PATH)
@click.option("--output", type=PATH, help="Folder of the photos [beside the certificate's].")
@click.option("--public-key", type=PATH, help="PEM file of the key that should have signed.")
@VERBOSE
def verify(certificate: Path, output: Path | None, public_key: Path | None) -> None:
    """Check CERTIFICATE: its signature, and whether the folder holds exactly the photos and clips that passed."""
    from ..audit.certificate import verify as check
    from ..errors import AuditError

    try:
        found = check(certificate, output, public_key)
    except AuditError as e:
        click.echo(f"error: {e}", err=True)
        click.get_current_context().exit(NOT_VALID)
    known = "the key that was given" if found.is_known_key else "anybody can sign, so compare this fingerprint"
    click.echo(f"signed by {found.fingerprint}: {known}")
    audit_ = found.statement["predicate"]["audit"]
    files = audit_["photos"] + audit_.get("clips", 0)
    click.echo(f"{found.statement['predicate']['when']}: {audit_['passed']} of {files} passed")
    if found.taken_out and found.compared is not None:
        click.echo(f"taken out before it was signed, because they failed: {found.taken_out}")
    for fault in found.faults:
        click.echo(f"the audit had failed: {fault}", err=True)
    for about, why in audit_["not done"].items():
        click.echo(f"not done: {about}: {why}")
    lists = ("changed", found.changed), ("missing", found.missing), ("not in the certificate", found.added)
    for what, paths in lists:
        for path in paths:
            click.echo(f"{what}: {path}", err=True)
    if found.compared is None:
        click.echo("not compared with any photos: name their folder with --output", err=True)
    elif found.is_same:
        click.echo(f"{found.compared} holds exactly these")
    if not found.is_same:
        click.get_current_context().exit(NOT_VALID)
    if found.faults:
        click.get_current_context().exit(LEAKS)


@audit.command()
@click.argument("output", type=PATH)
@click.argument("photos", nargs=-1)
@RECORDS
@REPORT
@VERBOSE
def release(output: Path, photos: tuple[str, ...], records_path: Path | None, report: Path | None) -> None:
    """Move PHOTOS, or clips, back from quarantine into OUTPUT (without PHOTOS: all)."""
    from ..audit import QUARANTINE, report_folder
    from ..audit.quarantine import release as back
    from ..audit.quarantine import staying

    where: dict[str, Any] = {"place": (report or report_folder(output)) / QUARANTINE, "records_path": records_path}
    for path in (found := back(output, photos, **where)):
        click.echo(f"released: {path}")
    stays = [] if photos else staying(output, **where)
    for why in stays:
        click.echo(why, err=True)
    if not found and not stays:
        click.echo("nothing is in quarantine")


@audit.command("key")
@KEY
@VERBOSE
def key_(key: Path | None) -> None:
    """Print the public key, PEM, for those who verify; its fingerprint goes to stderr."""
    from ..audit import keys

    public = keys.load(key).public_key()
    click.echo(keys.pem(public), nl=False)
    click.echo(f"{keys.fingerprint(public.public_bytes_raw())} ({key or keys.key_path()})", err=True)


AUDIT = grouped(
    click.option("--audit", "is_audited", is_flag=True, help="Audit the output afterward (see `audit`)."),
    KEY,
)


def audit_after(output: Path, given: dict[str, Any], records_path: Path | None = None) -> int:
    """The audit after a run or an export, with the originals, where it was asked for: an exit code."""
    from .. import records
    from ..engine import RECORDS_NAME

    if not given.pop("is_audited", False):
        return 0
    records_path = records_path or output / RECORDS_NAME
    against = Path(records.unescape(records.read(records_path)[0].root))
    return audit_now(output, given, records_path, against)


def audit_now(output: Path, given: dict[str, Any], records_path: Path | None, against: Path) -> int:
    """An audit of what was just written, with the originals: an exit code."""
    from ..audit import Options

    options = Options(key=given.pop("key", None))
    quiet = given.get("quiet", False)
    done = run_audit(output, options, records_path=records_path, against=against, quiet=quiet)
    say(done, options)
    return 0 if done.ok else LEAKS
