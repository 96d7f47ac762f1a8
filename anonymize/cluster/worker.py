"""What runs on a cluster's nodes: a warm worker that takes shards of photos through the engine, and who died at what.

Ray gives a shard again whose worker died. The ledger, on the driver's node, knows which photos that worker had in hand:
each gets a strike. A shard with strikes is done photo by photo, so that only the guilty one gets more.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from .. import engine, images, records
from ..errors import SettingsError
from ..outputs import why
from ..predictor import Predictor
from ..records import Header, Record, escape, unescape
from ..settings import Settings
from . import shards
from .shards import Row
from .stores import Store

STRIKES = 3  # so many workers may die at a photo
TRANSFERS = 16  # photos that are fetched or published at the same time
_HOME = "anonymize-cluster-"  # and the process, before the name of a worker's temporary folder
POISON = f"{STRIKES} workers died at this photo; it may need more memory than they have"


@dataclass(frozen=True)
class Job:
    """What all shards of a run have in common; plain values, for they go to other machines.

    Attributes:
        settings: as `Settings.to_dict`. detection: the hash that every worker's detectors must give.
        header: of the records. cpus: of one worker. weights_dir: where workers keep weights.
    """

    source: str
    output: str
    settings: Mapping[str, Any]
    detection: str
    header: Mapping[str, Any]
    write_detections: bool
    cpus: int
    weights_dir: str | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """One photo of a shard.

    Attributes:
        path: escaped. version: in its store. there: what lies under its output's name, "" | "ours" | "other".
        record: what is known of it and was decided by people, as a JSON line, or "".
    """

    path: str
    version: str
    there: str = ""
    record: str = ""


def _sweep() -> None:
    """Remove what workers that died left on this node: it has originals."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_HOME}*"):
        owner = folder.name.removeprefix(_HOME).partition("-")[0]
        if owner.isdecimal() and not _is_alive(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


class Ledger:
    """Which photos each shard's worker has in hand, and how many workers died at a photo. A Ray actor."""

    def __init__(self) -> None:
        self._open: dict[str, list[str]] = {}
        self._strikes: Counter[str] = Counter()

    def take(self, shard: str, paths: list[str]) -> dict[str, int]:
        """A worker begins a shard; whoever had it before died. path -> strikes, of those that have some."""
        self._strikes.update(self._open.get(shard, ()))
        self._open[shard] = paths
        return {p: self._strikes[p] for p in paths if self._strikes[p]}

    def hold(self, shard: str, paths: list[str]) -> None:
        """Of this shard the worker has these in hand now."""
        self._open[shard] = paths


class Worker:
    """A warm actor: detectors are loaded at the first shard and stay."""

    def __init__(self, job: dict[str, Any], ledger: Any) -> None:
        _sweep()
        os.environ["ANONYMIZE_THREADS"] = str(job["cpus"])  # one a core group: workers do not fight for cores
        self.job, self._ledger = Job(**job), ledger
        self.settings = Settings.from_dict(self.job.settings).replace(jobs=self.job.cpus)
        self.predictor = Predictor(self.settings, weights_dir=self.job.weights_dir)
        self.header = Header.from_dict(self.job.header)
        self.source, self.output = Store(self.job.source), Store(self.job.output)

    def __call__(self, row: dict[str, str]) -> dict[str, str]:
        """{"shard": its name, "items": JSON} -> {"shard", "rows": JSON, without records}."""
        shard, items = row["shard"], [Item(**i) for i in json.loads(row["items"])]
        try:
            done = shards.read(self.output, shard, [n for n in shards.NAMES if n != "record"])[1]
        except FileNotFoundError:
            done = self._do(shard, items)
            shards.write(self.output, shard, self.header, done)
        return {"shard": shard, "rows": json.dumps([asdict(r) | {"record": ""} for r in done])}

    def _do(self, shard: str, items: Sequence[Item]) -> list[Row]:
        if (found := self.predictor.detection_hash) != self.job.detection:
            raise SettingsError(
                f"a worker detects otherwise ({found}, not {self.job.detection}): another version of it"
            )
        strikes = self._call("take", shard, [i.path for i in items])
        if not strikes:
            return self._rows(items)
        rows = []
        self._call("hold", shard, [])
        for item in items:
            if strikes.get(item.path, 0) >= STRIKES:
                rows += self._publish_all([(item, Record(item.path, error=POISON))], Path(os.devnull))
                continue
            self._call("hold", shard, [item.path])
            rows += self._rows([item])
            self._call("hold", shard, [])
        return rows

    def _call(self, what: str, *args: Any) -> Any:
        import ray

        return ray.get(getattr(self._ledger, what).remote(*args))

    def _rows(self, items: Sequence[Item]) -> list[Row]:
        """Photos through the engine, and out."""
        with tempfile.TemporaryDirectory(prefix=f"{_HOME}{os.getpid()}-") as name:
            home = Path(name)
            failed = {} if self.source.is_local else self._fetch(items, home / "in")
            root = Path(self.source.url) if self.source.is_local else home / "in"
            path, header = home / "records.jsonl", Header(escape(root), self.settings, self.header.detectors)
            earlier = [Record.from_dict(json.loads(i.record)) for i in items if i.record]
            records.write(path, header, earlier)
            found = images.Found(root, [unescape(i.path) for i in items])
            engine.run(
                found,
                home / "out",
                self.predictor,
                records_path=path,
                write_detections=self.job.write_detections,
            )
            done = records.read(path)[1]
            for item in items:
                if item.path in failed:
                    done[item.path] = done[item.path].replace(error=failed[item.path])
            return self._publish_all([(i, done[i.path]) for i in items], home / "out")

    def _fetch(self, items: Sequence[Item], folder: Path) -> dict[str, str]:
        """Photos from the store; path -> why it could not be had."""

        def fetch(item: Item) -> str:
            try:
                target = images.output_path(unescape(item.path), folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(self.source.read(unescape(item.path)))
            except FileNotFoundError:
                return "the file is not there"
            except Exception as e:
                return f"it could not be fetched: {why(e)}"
            return ""

        folder.mkdir()
        with ThreadPoolExecutor(TRANSFERS) as pool:
            answers = zip(items, pool.map(fetch, items), strict=True)
            return {item.path: error for item, error in answers if error}

    def _publish_all(self, done: Sequence[tuple[Item, Record]], folder: Path) -> list[Row]:
        with ThreadPoolExecutor(TRANSFERS) as pool:
            return list(pool.map(partial(self._publish, folder), done))

    def _publish(self, folder: Path, done: tuple[Item, Record]) -> Row:
        """One photo's output into the store, its detections before it; or, where it failed, nothing in its place."""
        item, record = done
        name, versions = unescape(record.path), []
        try:
            if record.error is None:
                file = images.output_path(name, folder)
                for suffix in (".json", "") if self.job.write_detections else ("",):
                    data = file.with_name(file.name + suffix).read_bytes()
                    versions.append(self.output.publish(name + suffix, data))
                return Row.of(record, self.settings, item.version, versions[-1], "".join(versions[:-1]))
        except Exception as e:
            record = record.replace(error=f"it could not be written: {why(e)}")
        if item.there == "other" and not versions:
            record = record.replace(error=f"{record.error}; the output has a file in its place, of another program")
        elif item.there or versions:
            try:
                self.output.remove(name)
                self.output.remove(f"{name}.json")
            except Exception as e:
                record = record.replace(error=f"{record.error}; an earlier output may still be there: {why(e)}")
        return Row.of(record, self.settings, item.version)
