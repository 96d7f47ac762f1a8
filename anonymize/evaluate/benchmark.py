"""Programs that hide faces and plates, side by side on the same photos: their time, their memory, and what they leak.

Each runs as a command in a process of its own, once with all photos and once with one, so that a photo's time is told
from the start's. `networks` is a preset's detectors alone, on photos that were decoded before.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from .. import images, masks, records, weights
from ..disk import AnyPath
from ..errors import AnonymizeError
from ..records import escape
from ..settings import Settings
from . import LEAK_COVERAGE, peers, whole_pixels
from .figures import Share
from .ground_truth import Annotations

PLATES = "fastanpr"  # a plate network in the form that ultralytics loads
OFFLINE = {"YOLO_AUTOINSTALL": "false", "YOLO_OFFLINE": "true"}


@dataclass(frozen=True)
class Program:
    """A program that takes a folder of photos and writes another one.

    Attributes:
        command: (photos, output) -> the words that run it.
        kinds: what it looks for. preset: of this program; "" for another one.
        is_real: False where its weights are drawn at random, so that only its time counts.
    """

    name: str
    command: Callable[[Path, Path], list[str]]
    kinds: tuple[str, ...]
    preset: str = ""
    is_real: bool = True


@dataclass
class Timing:
    """What was measured of one program; lists have an entry for each repetition.

    Attributes:
        seconds, cpu: of one photo, when it runs. start: seconds until then. megabytes: at most.
        networks, networks_cpu: seconds of one photo of its detectors alone.
        leaks: kind -> how many annotated ones lie open. area: the share of the photos that it hid.
        error: why there is nothing.
    """

    name: str
    kinds: tuple[str, ...]
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    start: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)
    networks: list[float] = field(default_factory=list)
    networks_cpu: list[float] = field(default_factory=list)
    leaks: dict[str, Share] = field(default_factory=dict)
    area: float | None = None
    error: str = ""

    def to_dict(self) -> dict[str, Any]:
        leaks = {kind: {"count": s.count, "of": s.of} for kind, s in self.leaks.items()}
        return {**self.__dict__, "kinds": list(self.kinds), "leaks": leaks}


def preset(name: str) -> Program:
    """One of this program's presets, as `run` runs it."""

    def command(folder: Path, output: Path) -> list[str]:
        return [sys.executable, "-m", "anonymize", "run", str(folder), str(output), "--preset", name, "--quiet"]

    return Program(name, command, ("face", "plate"), name)


def peer(name: str, kinds: tuple[str, ...], label: str, python: AnyPath = sys.executable) -> Program:
    """A function of `peers`, run by an interpreter that has its packages."""

    def command(folder: Path, output: Path) -> list[str]:
        more = [str(plates())] if name != "deface" else []
        return [str(python), str(Path(peers.__file__)), name, str(folder), str(output), *more]

    return Program(label, command, kinds)


def plates() -> Path:
    return weights.fetch(PLATES)


def installed() -> list[Program]:
    """The other programs that this environment has."""
    found = []
    if find_spec("deface"):
        found.append(peer("deface", ("face",), "deface"))
    if find_spec("ultralytics"):
        if find_spec("facenet_pytorch"):
            found.append(peer("loop", ("face", "plate"), "loop: YOLO, MTCNN"))
        found.append(peer("stream", ("plate",), "ultralytics stream"))
    return found


def measure(
    programs: Sequence[Program],
    photos: Mapping[str, Path],
    scratch: Path,
    repeats: int,
    annotations: Annotations | None = None,
    progress: Callable[[str], None] = print,
) -> list[Timing]:
    """Run each program `repeats` times, in turn, so that what else the machine does hits all alike.

    Args:
        photos: path in the annotations -> the file; JPEG and PNG, at least two.
        scratch: an empty folder.
    """
    names = {f"{i:05}{path.suffix.lower()}": (path, known) for i, (known, path) in enumerate(photos.items())}
    every, one = scratch / "all", scratch / "one"
    for folder, some in ((every, list(names)), (one, list(names)[:1])):
        folder.mkdir()
        for name in some:
            shutil.copyfile(names[name][0], folder / name)
    rows = [Timing(c.name, c.kinds) for c in programs]
    for n in range(repeats):
        for program, row in zip(programs, rows, strict=True):
            if row.error:
                continue
            progress(f"{n + 1}/{repeats} {program.name}")
            try:
                _repeat(program, row, every, one, scratch / "out", len(names))
                if not n and program.is_real:
                    truth = {name: known for name, (_, known) in names.items()}
                    _leaks(row, scratch / "out", every, truth, annotations)
            except (AnonymizeError, RuntimeError) as e:
                row.error = str(e)
    return rows


def _repeat(program: Program, row: Timing, every: Path, one: Path, output: Path, count: int) -> None:
    first = _run(program.command, one, output)
    whole = _run(program.command, every, output)
    row.seconds.append((whole[0] - first[0]) / (count - 1))
    row.cpu.append((whole[1] - first[1]) / (count - 1))
    row.start.append(first[0] - row.seconds[-1])
    row.megabytes.append(whole[2])
    if program.preset:
        command = [sys.executable, "-m", __name__, program.preset, str(every)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(" ".join(done.stderr.split()[-30:]))
        alone = json.loads(done.stdout.splitlines()[-1])
        row.networks.append(alone["seconds"])
        row.networks_cpu.append(alone["cpu"])


def _run(command: Callable[[Path, Path], list[str]], folder: Path, output: Path) -> tuple[float, float, float]:
    """Seconds, CPU seconds, and megabytes of a command; its output stays.

    Raises:
        RuntimeError: it fails.
    """
    shutil.rmtree(output, ignore_errors=True)
    words = command(folder, output)
    started = time.perf_counter()
    with subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env={**os.environ, **OFFLINE}
    ) as process:
        assert process.stderr is not None
        said = process.stderr.read()
        if not hasattr(os, "wait4"):  # Windows does not say
            code, cpu, megabytes = process.wait(), float("nan"), float("nan")
        else:
            _, status, used = os.wait4(process.pid, 0)
            code = process.returncode = os.waitstatus_to_exitcode(status)
            cpu = used.ru_utime + used.ru_stime
            megabytes = used.ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)
    if code:
        raise RuntimeError(f"exit code {code}: {' '.join(said.split()[-30:])}")
    return time.perf_counter() - started, cpu, megabytes


def _leaks(row: Timing, output: Path, folder: Path, names: Mapping[str, str], annotations: Annotations | None) -> None:
    """What the program left open, from what it says that it hid."""
    counts = {kind: [0, 0] for kind in row.kinds}
    areas = []
    for name, hidden in _hidden(output, folder, names):
        areas.append(float(hidden.mean()))
        known = annotations.photos.get(escape(names[name])) if annotations else None
        for truth in known.at(hidden.shape[1], hidden.shape[0]) if known else ():
            if truth.ignore or truth.kind not in counts:
                continue
            counts[truth.kind][0] += bool(hidden[whole_pixels(truth.box)].mean() < LEAK_COVERAGE)
            counts[truth.kind][1] += 1
    row.leaks = {kind: Share(*c) for kind, c in counts.items() if c[1]}
    row.area = statistics.fmean(areas)


def _hidden(output: Path, folder: Path, names: Iterable[str]) -> Iterable[tuple[str, NDArray[np.bool_]]]:
    """Each photo's name and the pixels that were hidden, (H, W)."""
    if (noted := output / peers.HIDDEN).exists():
        hidden = json.loads(noted.read_text())
        for name in names:
            photo = images.load(folder / name, Settings())
            mask = np.zeros((photo.height, photo.width), np.uint8)
            for shape, x1, y1, x2, y2 in hidden.get(name, ()):
                if shape == "ellipse":
                    axes = (abs(x2 - x1) // 2, abs(y2 - y1) // 2)
                    cv2.ellipse(mask, ((x1 + x2) // 2, (y1 + y2) // 2), axes, 0, 0, 360, 1, -1)
                else:
                    mask[y1:y2, x1:x2] = 1
            yield name, mask.astype(bool)
        return
    header, known = records.read(output / "records.jsonl")
    for name, record in known.items():
        yield name, masks.coverage(record.regions, header.settings, record.width, record.height)


def table(rows: Sequence[Timing]) -> str:
    """Medians, with the least and the most of the repetitions where there are several, as Markdown."""
    heads, kinds = _heads(rows)
    lines = ["| " + " | ".join(["", *heads]) + " |", "|" + "---|" * (len(heads) + 1)]
    for row in rows:
        cells = [row.error] + [""] * (len(heads) - 1) if row.error else _cells(row, kinds)
        lines.append(re.sub(" {2,}", " ", "| " + " | ".join([row.name, *cells]) + " |"))
    return "\n".join(lines)


def shown(rows: Sequence[Timing]) -> Group:
    """`table` for a terminal, also a narrow one: a column for each program, and below it those that failed."""
    heads, kinds = _heads(rows)
    whole = [row for row in rows if not row.error]
    out = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    out.add_column("")
    for row in whole:
        out.add_column(Text(row.name), justify="right", overflow="fold")
    for head, *cells in zip(heads, *(_cells(row, kinds) for row in whole), strict=True):
        out.add_row(head, *map(Text, cells))
    return Group(*([out] if whole else []), *(Text(f"{row.name}: {row.error}") for row in rows if row.error))


def _heads(rows: Sequence[Timing]) -> tuple[list[str], list[str]]:
    """What the figures are called, and the kinds that some program was measured on."""
    kinds = list(dict.fromkeys(kind for row in rows for kind in row.leaks))
    heads = ["photos per second", "CPU s per photo", "times its networks (CPU)", "peak MB", "start s"]
    return [*heads, *(f"{kind}s that leak" for kind in kinds), "hidden area"], kinds


def _cells(row: Timing, kinds: Sequence[str]) -> list[str]:
    """The figures of one program."""
    times, cpu = "–", ""
    if row.networks:
        times = _spread(_ratios(row.seconds, row.networks), "{:.2f}")
        cpu = f" ({_spread(_ratios(row.cpu, row.networks_cpu), '{:.2f}')})"
    speed = _spread(_ratios([1.0] * len(row.seconds), row.seconds), "{:.2f}")
    cells = [speed, _spread(row.cpu, "{:.2f}"), times + cpu]
    cells += [_spread(row.megabytes, "{:.0f}"), _spread(row.start, "{:.1f}")]
    cells += [f"{s.count} of {s.of}" if (s := row.leaks.get(kind)) else "–" for kind in kinds]
    return [*cells, "–" if row.area is None else f"{row.area:.1%}"]


def _ratios(some: Sequence[float], others: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(some, others, strict=True) if b]


def _spread(values: Sequence[float], form: str) -> str:
    # Without what is no measurement: on a busy machine one photo may take longer than several.
    if not (values := [v for v in values if v > 0]):
        return "–"
    middle = form.format(statistics.median(values))
    return f"{middle} ({form.format(min(values))}–{form.format(max(values))})" if len(values) > 1 else middle


def _networks(name: str, folder: Path) -> dict[str, float]:
    """Seconds and CPU seconds of a photo that a preset's detectors take, with nothing else at work: side by side, as
    `run` lets them.
    """
    from ..detectors.runtime import side_by_side
    from ..predictor import Predictor

    predictor = Predictor(Settings().with_preset(name))
    paths = peers.photos(folder)
    with side_by_side():
        predictor.predict_photo(images.load(paths[0], predictor.settings))  # loads and compiles
    photos = [images.load(path, predictor.settings) for path in paths[1:]]
    started, busy = time.perf_counter(), time.process_time()
    with side_by_side(), ThreadPoolExecutor(predictor.at_once) as threads:
        list(threads.map(predictor.predict_photo, photos))
    spent = {"seconds": time.perf_counter() - started, "cpu": time.process_time() - busy}
    return {key: value / max(1, len(photos)) for key, value in spent.items()}


if __name__ == "__main__":
    print(json.dumps(_networks(sys.argv[1], Path(sys.argv[2]))))
