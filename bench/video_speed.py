"""Frames a second of `video` against deface, and memory over long clips: python -m bench.video_speed CLIP

    python -m bench.video_speed CLIP [--frames 120] [--rounds 3]     speed, at 1280 x 720
    python -m bench.video_speed CLIP --minutes 10,60                 memory, with a detector that is a stub
    python -m bench.video_speed CLIP --minutes 10,60 --networks      and with the networks of `fast`

Speed: the clip is brought to 1280 x 720 and played forth and back, so that it has no cuts, to so many frames. deface
1.5.0 (faces only, its defaults) is installed into an environment of its own, with ONNX Runtime. All take turns, each in
a process of its own on two cores; networks are loaded and warm before the clock starts. Beside frames a second there is
the processor's time a frame, which a busy machine changes less.

Memory: the clip's frames are repeated for so many minutes; read are the highest resident memory of the process in
each tenth of its time. With --networks each 200th frame that is searched is seen by the networks, too: so they are in
memory, and an hour needs no day.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from fractions import Fraction
from pathlib import Path
from typing import Any

SIZE = (1280, 720)
CORES = (0, 1)
DEFACE = ("deface==1.5.0", "onnx==1.23.2", "onnxruntime==1.31.1")

THEIRS = """
import json, os, sys, time
from deface import deface
from deface.centerface import CenterFace
network = CenterFace(backend="onnxrt")
def work(source, target):
    deface.video_detect(ipath=source, opath=target, centerface=network, threshold=0.2, enable_preview=False, cam=False,
        nested=False, replacewith="blur", mask_scale=1.3, ellipse=True, draw_scores=False,
        ffmpeg_config={"codec": "libx264"}, replaceimg=None, keep_audio=False, mosaicsize=20)
"""
OURS = """
import json, os, sys, time
from pathlib import Path
from anonymize.predictor import Predictor
from anonymize.video import batch
predictor = Predictor("fast")
def work(source, target):
    every = sys.argv[4] if sys.argv[4] == "auto" else int(sys.argv[4])
    assert batch.run(source, Path(target).parent / "out", predictor, every=every).ok
"""
CLOCK = """
source, target, warm = sys.argv[1:4]
work(warm, target + ".warm.mp4")
def processor():
    t = os.times()
    return t.user + t.system + t.children_user + t.children_system
started, before = time.perf_counter(), processor()
work(source, target)
print(json.dumps([time.perf_counter() - started, processor() - before]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--frames", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--every", default="1,5,10,auto", help="of `video`, one after the other [1,5,10,auto]")
    parser.add_argument("--minutes", default="", help="measure memory instead, over clips of so many minutes")
    parser.add_argument("--networks", action="store_true", help="with --minutes: have the networks of `fast` in memory")
    parser.add_argument("--environment", type=Path, default=Path.home() / ".cache" / "anonymize-bench" / "deface")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if given.minutes:
            memory(given.clip, Path(folder), [float(m) for m in given.minutes.split(",")], given.networks)
        else:
            speed(given.clip, Path(folder), given)


# --- speed ---


def speed(clip: Path, folder: Path, given: argparse.Namespace) -> None:
    python = environment(given.environment)
    source, warm = folder / "source.mp4", folder / "warm.mp4"
    there_and_back(clip, source, given.frames)
    there_and_back(clip, warm, 3)
    runs = {"deface 1.5.0": (python, THEIRS, "")}
    runs |= {f"video --every {n}": (Path(sys.executable), OURS, n) for n in given.every.split(",")}
    took: dict[str, list[list[float]]] = {name: [] for name in runs}
    for number in range(given.rounds):
        for name, (program, code, every) in runs.items():
            target = folder / f"{number}-{name.split()[-1]}"
            target.mkdir()
            command = [str(program), "-c", code + CLOCK, str(source), str(target / "out.mp4"), str(warm), every]
            took[name].append(json.loads(on_two_cores(command).splitlines()[-1]))
            print(f"  round {number + 1}, {name}: {took[name][-1]}", file=sys.stderr, flush=True)
    theirs = [statistics.median(t[i] for t in took["deface 1.5.0"]) for i in (0, 1)]
    print(f"{'':20} frames/s  times deface's | processor's ms a frame  times less")
    for name, times in took.items():
        wall, processor = (statistics.median(t[i] for t in times) for i in (0, 1))
        print(
            f"{name:20} {given.frames / wall:8.1f}  {theirs[0] / wall:14.2f} | "
            f"{1000 * processor / given.frames:22.0f}  {theirs[1] / processor:10.2f}"
        )


def environment(folder: Path) -> Path:
    """The Python of an environment that has deface and nothing of ours."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *DEFACE], check=True)
    return python


def on_two_cores(command: list[str]) -> str:
    pin = (lambda: os.sched_setaffinity(0, CORES)) if hasattr(os, "sched_setaffinity") else None
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, preexec_fn=pin)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed")
    return done.stdout


def there_and_back(clip: Path, target: Path, frames: int) -> None:
    """So many frames of a clip at SIZE, forth, back and forth again."""
    import av

    with av.open(str(clip)) as container:
        shown = []
        for frame in container.decode(video=0):
            shown.append(frame.reformat(*SIZE, format="yuv420p"))
            if len(shown) == frames:
                break
    order = [*range(len(shown)), *range(len(shown) - 2, 0, -1)] or [0]
    with av.open(str(target), "w") as out:
        stream: Any = out.add_stream("libx264", rate=25, options={"crf": "18", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for index in range(frames):
            frame = shown[order[index % len(order)]]
            frame.pts, frame.time_base, frame.pict_type = index, Fraction(1, 25), 0
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


# --- memory ---

STUB = """
import sys
from anonymize.predictor import Predictor
from anonymize.regions import Region
from anonymize.video import batch
others = Predictor("fast").detectors if sys.argv[3] == "networks" else []
class Moving:
    name, weights, kinds = "moving", {}, frozenset({"face", "plate"})
    seen = 0
    def detect(self, images):
        out = []
        for image in images:
            for other in others if Moving.seen % 200 == 0 else []:
                other.detect([image])
            Moving.seen += 1
            x = Moving.seen * 3 % (image.shape[1] - 60)
            out.append([Region("face", (x, 40, x + 30, 80), 0.9), Region("plate", (x, 120, x + 50, 140), 0.9)])
        return out
assert batch.run(sys.argv[1], sys.argv[2], Predictor("fast", detectors=[Moving()]), every=5).ok
"""


def memory(clip: Path, folder: Path, minutes: list[float], has_networks: bool) -> None:
    peaks: list[float] = []
    print("minutes    frames  highest MB in each tenth of the run's time")
    for length in minutes:
        source = folder / f"{length:g}.mp4"
        frames = repeat(clip, source, length)
        given = [str(source), str(folder / f"out{length:g}"), "networks" if has_networks else "none"]
        process = subprocess.Popen([sys.executable, "-c", STUB, *given])
        seen: list[tuple[float, float]] = []
        while process.poll() is None:
            seen.append((time.monotonic(), resident(process.pid)))
            time.sleep(0.2)
        first, last = seen[0][0], seen[-1][0]
        tenths = [
            max((mb for t, mb in seen if int(9.999 * (t - first) / (last - first)) == i), default=0) for i in range(10)
        ]
        print(f"{length:7g} {frames:9}  {' '.join(f'{mb:.0f}' for mb in tenths)}", flush=True)
        peaks.append(max(tenths))
        if process.returncode:
            raise RuntimeError("video failed")
    print(f"highest: {max(peaks):.0f} MB; the longest over the shortest clip: {peaks[-1] / peaks[0] - 1:+.1%}")


def resident(pid: int) -> float:
    """Megabytes of memory of a process; Linux."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0.0)


def repeat(clip: Path, target: Path, minutes: float) -> int:
    """A clip's packets again and again, as one clip; how many frames."""
    import av

    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        packets = [(bytes(p), p.pts, p.dts, p.is_keyframe) for p in container.demux(stream) if p.size]
        end = max(p[1] for p in packets) + round(1 / (stream.average_rate * stream.time_base))
        count = 0
        with av.open(str(target), "w") as out:
            written = out.add_stream_from_template(stream)
            for turn in range(max(1, round(minutes * 60 / (end * stream.time_base)))):
                for data, pts, dts, is_key in packets:
                    packet = av.Packet(data)
                    packet.stream, packet.time_base, packet.is_keyframe = written, stream.time_base, is_key
                    packet.pts, packet.dts = pts + turn * end, dts + turn * end
                    out.mux(packet)
                    count += 1
    return count


if __name__ == "__main__":
    main()
