"""The web app, `python app.py`: ONE server, the page at /, the API at /api/v1, one security layer around all of it."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Before Gradio is imported. Importing anonymize, below, switches off what counts and reports.
os.environ.update(
    GRADIO_RUN_HISTORY="False",
    GRADIO_MCP_SERVER="False",
    GRADIO_SSR_MODE="False",
    HF_HUB_OFFLINE="1",
)

from anonymize.errors import AnonymizeError, SettingsError
from anonymize.time_limit import note_exit_code
from anonymize.web.data_folder import data_folder, stopped_by_signals
from anonymize.web.openid import Provider, names_in, of_space
from anonymize.web.policy import LOOPBACK, Policy, for_public, read_keys
from anonymize.web.root_path import check
from anonymize.web.users import read_users

if TYPE_CHECKING:
    from anonymize.web.detector_pool import DetectorPool
    from anonymize.web.sessions import Session
    from review.tab_handlers import Source


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Hide every face and license plate in photos, in a web browser.")
    space = bool(os.environ.get("SPACE_ID"))
    add = parser.add_argument
    add("--host", default="0.0.0.0" if space else "127.0.0.1", help="address to listen on [%(default)s]")
    add("--port", type=int, default=7860, help="port to listen on [%(default)s]")
    add(
        "--public",
        action="store_true",
        default=space,
        help="a demo for anybody: no folder paths, no own models, rate and size limits",
    )
    add(
        "--auth",
        type=Path,
        metavar="FILE",
        help="users, as `python -m anonymize.web.users add NAME` writes them; needed when others can reach the server",
    )
    add(
        "--openid",
        metavar="ISSUER",
        help="where users sign in instead (https://login.example.org); the client's secret: $ANONYMIZE_OPENID_SECRET",
    )
    add("--openid-client", metavar="ID", default="", help="this server's client id there")
    add(
        "--openid-users",
        metavar="NAMES",
        default=os.environ.get("ANONYMIZE_OPENID_USERS", ""),
        help="with --openid: who may come in, as ana@example.org,*@example.org [$ANONYMIZE_OPENID_USERS]",
    )
    add("--root-path", metavar="PATH", default="", help="where a proxy in front shows this server: /photos [/]")
    add("--proxy", metavar="ADDRESS", help="trust X-Forwarded-For and -Proto only from this TLS proxy in front")
    add("--api-keys", type=Path, metavar="FILE", help="keys for /api/v1, one a line")
    add(
        "--data",
        type=Path,
        metavar="DIR",
        help="where visitors' photos are kept while they are here [the system's temporary folder]",
    )
    add("--weights", type=Path, metavar="DIR", help="folder of weights [the user's cache]")
    add(
        "--review",
        type=Path,
        action="append",
        default=[],
        metavar="RECORDS",
        help="a records file, or a folder of clips' records, that everybody here may review (with --public: a file, "
        "only to look at, instead of the sample)",
    )
    add(
        "--reviewers",
        metavar="NAMES",
        default="",
        help="with --auth: who of them may open FiftyOne at /review, as ana,bob [nobody]",
    )
    add("--trust", action="store_true", help="load pickled weights (.pt) of your own; they can run any code")
    return parser.parse_args(arguments)


def policy(given: argparse.Namespace) -> Policy:
    """What the options allow.

    Raises:
        SettingsError: reachable by others without login or --public; options that exclude each other; a bad file.
    """
    if given.public and given.trust:
        raise SettingsError("--public and --trust exclude each other: visitors may not bring weights that run code")
    if given.public and given.reviewers:
        raise SettingsError("--public and --reviewers exclude each other: a public demo has no FiftyOne")
    names, openid = names_in(given.openid_users), of_space(given.openid_users)
    if given.openid:
        openid = Provider(given.openid, given.openid_client, os.environ.get("ANONYMIZE_OPENID_SECRET", ""), names)
    who: dict[str, Any] = {"users": read_users(given.auth) if given.auth else {}, "openid": openid}
    who["api_keys"] = read_keys(given.api_keys) if given.api_keys else ()
    if given.public:
        return for_public(given.host, space=bool(os.environ.get("SPACE_ID")), **who)
    return Policy(host=given.host, reviewers=frozenset(names_in(given.reviewers)), **who)


def sources_of(rules: Policy, shared: list[Path], session: Session) -> list[Source]:
    """What a visitor may open in Review: what is shared, and their own batches.

    FiftyOne's App shows one state to all, so only the batches of the person at this machine have no owner.
    """
    from anonymize.engine import RECORDS_NAME
    from anonymize.web.job_view import photos
    from anonymize.web.jobs import Job
    from review import tab_handlers

    owner = None if rules.own_machine else session.key
    own = []
    for n, job in enumerate(sorted(session.of_kind(Job), key=lambda b: b.made), 1):
        # While one is worked on it grows, and nobody else may write to its records.
        is_ready = job.state not in ("waiting", "running")
        label = f"Batch {n}: {photos(len(job.records))}" if is_ready else f"Batch {n}"
        if not is_ready or job.records:
            place = job.output / RECORDS_NAME
            own.append(tab_handlers.Source(job.id, label, place, owner, is_temporary=True, is_ready=is_ready))
    stems = Counter(path.stem for path in shared)
    labels = [p.stem if stems[p.stem] == 1 else f"{p.absolute().parent.name}/{p.stem}" for p in shared]
    return [*(tab_handlers.shared(path, label) for label, path in zip(labels, shared, strict=True)), *own]


def review_parts(rules: Policy, shared: list[Path]) -> dict[str, Any]:
    """The review's mount and tab, and what they may know of a visitor: `web` and `review` do not know each other."""
    from anonymize.web.elements import element
    from anonymize.web.site import name_of, session_of, user_of
    from review.guarded.server import ReviewServer
    from review.reviews import User, registry
    from review.tab_handlers import ReviewHandlers

    def who(request: Any) -> User:
        return User(session_of(request).key, name_of(request), rules.may_review(user_of(request)))

    for path in shared:
        if path.is_dir():
            registry.open_clips(path)
        else:
            registry.open(path)
    shared[:] = [path for path in shared if not path.is_dir()]  # in place: `sample` adds to it later
    handlers = ReviewHandlers(
        registry,
        who,
        lambda request: sources_of(rules, shared, session_of(request)),
        own_machine=rules.own_machine,
        read_only=rules.public,
    )
    server = ReviewServer(registry, who=who, read_only=rules.public, handlers=handlers)
    return {"mounts": {"/review": server}, "tabs": {"Review": partial(element, "review", elem_id="rv")}}


@contextlib.contextmanager
def sample(pool: DetectorPool, folder: Path, shared: list[Path]) -> Iterator[None]:
    """While the server runs, a public demo's Review has a sample; it is made beside, because it takes some seconds."""
    from review.reviews import registry
    from review.sample import make

    stop = threading.Event()

    def work() -> None:
        try:
            path = make(folder, pool.predictor(pool.defaults), stop)
            registry.open(path)
            shared.append(path)
        except (AnonymizeError, OSError) as e:
            if not stop.is_set():
                print(f"error: no sample for Review: {e}", file=sys.stderr)

    thread = threading.Thread(target=work, name="sample", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)


def main(arguments: list[str] | None = None) -> int:
    given = options(arguments)
    try:
        rules = policy(given)
        root_path = check(given.root_path) if given.root_path.strip("/") else ""
    except AnonymizeError as e:
        print(f"error: {e}", file=sys.stderr)
        return 1
    with stopped_by_signals(), data_folder(given.data) as data:
        os.environ["GRADIO_TEMP_DIR"] = str(data / "gradio")

        from anonymize.cli.progress import fetching
        from anonymize.web.application import assemble
        from anonymize.web.detector_pool import DetectorPool
        from anonymize.web.serving import serve
        from review.reviews import registry

        pool = DetectorPool(rules.defaults, weights_dir=given.weights, trust=given.trust, fetching=fetching)
        shows_sample = given.public and not given.review
        try:
            app = assemble(rules, pool, data, root_path=root_path, **review_parts(rules, given.review))
        except AnonymizeError as e:  # --review names no records file
            print(f"error: {e}", file=sys.stderr)
            return 1
        shown = "127.0.0.1" if given.host in LOOPBACK else given.host
        address = f"http://{shown}:{given.port}{root_path}"
        print(f"anonymize is at {address}  (Ctrl+C stops it)", flush=True)
        for clips in registry.clips:
            print(f"Clips to review: {address}/review/open?name={clips.name}", flush=True)
        with sample(pool, data / "sample", given.review) if shows_sample else contextlib.nullcontext():
            serve(app, given.host, given.port, given.proxy, root_path)
    return 0


if __name__ == "__main__":
    with note_exit_code():
        sys.exit(main())
