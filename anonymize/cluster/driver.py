"""The driver of a cluster run: what is left to do, in shards, to Ray Data and back; it touches no photo itself."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import secrets
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from .. import images
from ..disk import AnyPath, to_json
from ..engine import RECORDS_NAME, Progress, Summary
from ..errors import AnonymizeError, ClusterError, PathError, RecordsError, SettingsError
from ..extras import extra
from ..outputs import SUMMARY_NAME
from ..predictor import Predictor
from ..records import Header, Record, escape, unescape
from ..records_file import RecordsFile
from ..settings import Settings
from . import shards
from .hold import hold
from .shards import Known, Row
from .stores import Store, is_url, overlap
from .worker import Item, Job, Ledger, Worker

SHARD = 64  # photos: what is done again when a worker dies
LOCAL_STORE = 256 << 20  # bytes that Ray keeps in memory where it is started here: names and counts, no photo

Shard = tuple[str, list[Item]]  # its name and its photos


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Which cluster, and how it is used.

    Attributes:
        address: as `ray.init` takes it; "auto": the one that runs here, else one that is started on this machine.
        cpus: of one worker. workers: at most so many; 0: as many as the cluster has room for.
        shard: photos that a worker takes at a time.
    """

    address: str = "auto"
    cpus: int = 1
    workers: int = 0
    shard: int = SHARD

    def __post_init__(self) -> None:
        for name, least in (("cpus", 1), ("workers", 0), ("shard", 1)):
            if getattr(self, name) < least:
                raise SettingsError(f"{name} is at least {least}; received {getattr(self, name)}")


def run(
    source: AnyPath,
    output: AnyPath,
    predictor: Predictor,
    cluster: Cluster,
    *,
    records_path: AnyPath | None = None,
    write_detections: bool = True,
    weights_dir: AnyPath | None = None,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> Summary:
    """Photos -> anonymized photos and records, on a Ray cluster. Called again, it goes on where it was killed.

    One run at a time on an output (`hold`).

    Args:
        source: what `engine.run` takes, or a URL: a folder or one file. Workers must see it under this name.
        output: a folder that all workers share, or a URL.
        predictor: its settings count; workers load their own detectors, which must be the same.
        records_path: a records file with people's decisions, which workers follow; brought up to date at the end.
            Default: OUTPUT/records.jsonl where the output is a folder, else none.
        weights_dir: where workers keep weights.

    Raises:
        PathError: no such input, or an output that would touch it. RecordsError: a file that is not records.
        SettingsError: no detector looks for what is to be hidden. ClusterError: no cluster, it failed, or another run
            writes to the output.
    """
    started = time.perf_counter()
    predictor.check_hides()
    target = Store(output)
    here, found, versions = find(source, predictor.settings, target)
    if records_path is None and target.is_local:
        records_path = Path(target.url) / RECORDS_NAME
    header = Header(escape(here.url), predictor.settings, predictor.detector_weights)
    job = Job(
        here.url,
        target.url,
        predictor.settings.to_dict(),
        predictor.detection_hash,
        header.to_dict(),
        write_detections,
        cluster.cpus,
        None if weights_dir is None else os.path.abspath(weights_dir),
    )
    with hold(target) as check:
        root, decided = _decided(records_path, header)
        plan = Plan.make(found, versions, target, decided, predictor, write_detections)
        target.remove(SUMMARY_NAME)  # a run that is killed has none
        summary = plan.summary
        for rows in _work(job, cluster, plan.cut(cluster.shard), stop):
            check()
            plan.take(rows)
            if progress:
                progress(summary)
        _finish(plan, target, records_path, root)
        summary.seconds = time.perf_counter() - started
        target.publish(SUMMARY_NAME, to_json(summary.to_file(predictor.settings, f"{target.url}/{shards.FOLDER}")))
    return summary


def find(source: AnyPath, settings: Settings, target: Store) -> tuple[Store, images.Found, dict[str, str]]:
    """Where the photos are, which, and their versions (path -> version).

    Raises:
        PathError: nothing is there, or the output would touch it.
    """
    if not is_url(source):
        found = images.find(source, settings, exclude=target.url if target.is_local else None)
        if target.is_local:
            images.check_output(found, target.url)
        here = Store(found.root)
        return here, found, {path: here.version(path) for path in found.paths}
    here = Store(source)
    if here.is_file():
        folder, _, name = here.url.rpartition("/")
        here = Store(folder)
        return here, images.Found(Path(folder), [name]), {name: here.version(name)}
    overlap(here, target)
    below = f"{target.url}/".removeprefix(f"{here.url}/") if target.url.startswith(f"{here.url}/") else None
    listed = {n: v for n, v in here.files().items() if below is None or not n.startswith(below)}
    if not listed:
        raise PathError(f"there is no file at {here.url!r}")
    photos, skipped = [], dict[str, int]()
    for name in sorted(listed, key=shards.order):
        extension = os.path.splitext(name)[1].lower().lstrip(".")
        if extension not in settings.image_extensions:
            skipped[extension] = skipped.get(extension, 0) + 1
        elif PurePosixPath(name).name.startswith("._") and here.read(name, start=0, end=4) == b"\0\5\x16\7":
            skipped["_*"] = skipped.get("_*", 0) + 1
        else:
            photos.append(name)
    return here, images.Found(Path(here.url), photos, dict(sorted(skipped.items()))), listed


@dataclasses.dataclass
class Plan:
    """What is to be done.

    Attributes:
        todo: photos to be done, in order. rows: path -> what is known of it, also of those that are done.
        known: what earlier runs did. summary: counts those that are done already.
    """

    todo: list[Item]
    rows: dict[str, Row]
    known: Known
    found: Sequence[str]
    summary: Summary

    @classmethod
    def make(
        cls,
        found: images.Found,
        versions: Mapping[str, str],
        target: Store,
        decided: Mapping[str, Record],
        predictor: Predictor,
        write_detections: bool,
    ) -> Plan:
        known, there = shards.known(target), target.files()
        detection, export = predictor.detection_hash, predictor.settings.export_hash()
        summary = Summary(photos=len(found.paths), skipped={escape(e): n for e, n in found.skipped.items()})
        todo, rows = [], {}
        for name in found.paths:
            path, last = escape(name), known.rows.get(escape(name))
            record = decided.get(path)
            if not _is_name(name):
                summary.failures[path] = "its name is no path within a folder, so no output can have it"
                continue
            if last and last.output and not last.error and last.source == versions.get(name):
                shows = record.approval_hash(predictor.settings) if record else last.shows
                is_there = there.get(name) == last.output and last.beside in (there.get(f"{name}.json"), "")
                is_whole = bool(last.beside) or not write_detections
                current = last.shows == shows and shows.endswith(f"-{export}") and last.detection == detection
                if current and is_there and is_whole:
                    rows[path] = last
                    summary.unchanged += 1
                    count(summary, last)
                    continue
            lies = "" if name not in there else "ours" if last and last.output else "other"
            line = json.dumps(record.to_dict()) if record else ""
            todo.append(Item(path, versions.get(name, ""), lies, line))
        return cls(todo, rows, known, found.paths, summary)

    def take(self, rows: Sequence[Row]) -> None:
        """Photos of a shard are done."""
        for row in rows:
            self.rows[row.path] = row
            count(self.summary, row)

    def cut(self, size: int) -> list[Shard]:
        """Shards. Their names are in the order of their photos, and new in each run."""
        run = f"{self.known.run + 1:05}-{secrets.token_hex(4)}"
        return [(f"{run}-{i // size:07}", self.todo[i : i + size]) for i in range(0, len(self.todo), size)]


def _is_name(name: str) -> bool:
    """Whether one file, and only one, has this name below a folder (keys of a bucket may be anything)."""
    return PurePosixPath(name).as_posix() == name and not name.startswith("/") and ".." not in name.split("/")


def _decided(path: AnyPath | None, header: Header) -> tuple[str | None, dict[str, Record]]:
    """Where a records file has its photos, where that is not where the cluster has them; what people decided in it.

    Raises:
        RecordsError: it belongs to another input.
    """
    if path is None or not Path(path).exists():
        return None, {}
    known = RecordsFile(path)
    root = known.header.root
    is_mounted = is_url(header.root) and not is_url(root)
    if root != header.root and not is_mounted:
        raise RecordsError(f"{path} belongs to another input, {root}")
    try:
        return root if is_mounted else None, known.decided()
    finally:
        known.close()


def count(summary: Summary, row: Row) -> None:
    """One photo into a run's summary."""
    if row.error:
        summary.failures[row.path] = row.error
    else:
        summary.add(row.path, **json.loads(row.counts))


def _finish(plan: Plan, target: Store, records_path: AnyPath | None, root: str | None) -> None:
    """When all shards are done: outputs are looked at once more; shards that say nothing any more go; the JSONL."""
    summary, there = plan.summary, target.files()
    summary.lose([p for p, row in plan.rows.items() if not row.error and there.get(unescape(p)) != row.output])
    summary.stopped = summary.done + len(summary.failures) < summary.photos
    looked_at = set(map(escape, plan.found))
    for path, row in plan.known.rows.items():
        if path not in looked_at and row.output and unescape(path) in there:
            summary.left_over[path] = "its photo is no longer in the input"
    for name in plan.known.superseded:
        target.remove(f"{shards.FOLDER}/{name}{shards.SUFFIX}")
    if records_path is not None and shards.names(target):
        shards.gather(target.url, records_path, root)


def _work(job: Job, cluster: Cluster, cut: Sequence[Shard], stop: threading.Event | None) -> Iterator[list[Row]]:
    """Shards through warm workers: the rows of each as it is done, in no order."""
    if not cut:
        return
    with _connected(cluster.address) as ray:
        rows = _dataset(ray, job, cluster, cut).iter_rows()
        try:
            for row in rows:
                yield [Row(**r) for r in json.loads(row["rows"])]
                if stop and stop.is_set():
                    return
        except ray.exceptions.RayError as e:
            cause = getattr(e, "cause", None) or e
            if isinstance(cause, AnonymizeError):
                raise cause from e
            raise ClusterError(f"the cluster failed: {str(cause).strip().splitlines()[-1]}") from e


def _dataset(ray: Any, job: Job, cluster: Cluster, cut: Sequence[Shard]) -> Any:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # Where the driver is, for the run ends with that node anyway.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    ledger = ray.remote(num_cpus=0, scheduling_strategy=here)(Ledger).remote()
    items = [{"shard": name, "items": json.dumps([dataclasses.asdict(i) for i in items])} for name, items in cut]
    room = max(1, int(ray.cluster_resources().get("CPU", 1)) // cluster.cpus)
    most = cluster.workers or None
    pool = ray.data.ActorPoolStrategy(
        min_size=1, initial_size=min(room, len(cut), most or room), max_size=most, max_tasks_in_flight_per_actor=2
    )
    return ray.data.from_items(items, override_num_blocks=len(items)).map(
        Worker,
        fn_constructor_args=(dataclasses.asdict(job), ledger),
        compute=pool,
        num_cpus=cluster.cpus,
        num_gpus=1 if job.settings["device"] == "cuda" else 0,
    )


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """Ray, connected. What was started here ends here; Ray says only what is wrong.

    Raises:
        ClusterError: no cluster at this address.
    """
    with extra("cluster", "--cluster"):
        import ray
        import ray.data
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    if ray.is_initialized():
        yield ray
        return
    quiet: dict[str, Any] = {"logging_level": logging.WARNING, "log_to_driver": False}
    try:
        ray.init(address=address, **quiet)
    except ConnectionError as e:
        if address != "auto":
            raise ClusterError(f"there is no Ray cluster at {address}: {e}") from e
        ray.init(address="local", include_dashboard=False, object_store_memory=LOCAL_STORE, **quiet)
    try:
        yield ray
    finally:
        ray.shutdown()
