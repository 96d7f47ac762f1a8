"""How long faces and plates can be seen in drawn clips: detected frame by frame, and with tracks.

    python -m bench.video_scenes simulated --gaps 1000     detections are drawn, with drop-outs under half a second
    python -m bench.video_scenes detected --preset fast    a preset looks at drawn frames (tests/support/moving.py)

Each row: what hides; the share of the time in which faces and plates can be seen that they leak (95 %), in seconds;
flickers, which are leaks of less than half a second between frames that hide the same thing; the area that is hidden
outside of all true boxes. `auto` and `every n` fill the frames between those that are searched.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.random import Generator

from anonymize.evaluate.clip_truth import ClipAnnotations
from anonymize.evaluate.leak_seconds import ClipResult, VideoEvaluation, measure, summary
from anonymize.predictor import Predictor
from anonymize.regions import Region
from anonymize.settings import Settings
from anonymize.video.detect import Every, Search
from anonymize.video.motion import Motion
from anonymize.video.tracks import regions_at
from tests.support.found import make_tracks, regions_of
from tests.support.moving import Scene, scene

Found = Sequence[tuple[Region, ...] | None]
LONGEST = 14  # frames of a drop-out: at 30 frames a second, less than half a second
JITTER = 0.03  # of the size, standard deviation of a detected side
FALSE = 0.01  # false detections a frame


def simulated(drawn: Scene, rng: Generator) -> tuple[list[tuple[Region, ...]], int]:
    """Detections of a scene, as unsteady as detectors are, and how many gaps they have."""
    out: list[list[Region]] = [[] for _ in range(drawn.frames)]
    gaps = 0
    for track in drawn.truth().tracks:
        frames = [f for f in track.boxes if f not in track.ignored]
        sure = rng.uniform(0.2, 0.95)
        hidden_until, shown = -1, 0
        for f in frames:
            if f > hidden_until and shown > 2 and rng.random() < 0.12:
                hidden_until, shown = f + int(rng.integers(0, LONGEST)), 0
                gaps += hidden_until < frames[-1]
            x1, y1, x2, y2 = track.boxes[f]
            w, h = x2 - x1, y2 - y1
            moved = np.array(track.boxes[f]) + rng.normal(0, JITTER, 4) * (w, h, w, h)
            box = (*np.minimum(moved[:2], moved[2:] - 1), *moved[2:])
            if f > hidden_until:
                shown += 1
                score = float(np.clip(rng.normal(sure, 0.15), 0.21, 1))
                out[f].append(Region(track.kind, box, score))
            elif rng.random() < 0.3:
                out[f].append(Region(track.kind, box, float(rng.uniform(0.005, 0.14))))
    for regions in out:
        if rng.random() < FALSE:
            x, y = rng.uniform(0, drawn.width - 40), rng.uniform(0, drawn.height - 40)
            regions.append(Region("face", (x, y, x + 20, y + 26), float(rng.uniform(0.02, 0.5))))
    return [tuple(r) for r in out], gaps


def motion_of(drawn: Scene) -> Motion:
    """The camera's own path, which is known."""
    out = Motion.still(drawn.frames, drawn.width, drawn.height)
    out.shifts[1:] = -np.diff(drawn.camera, axis=0)[:, None, None]
    return out


def tracked(
    found: Iterable[tuple[Region, ...] | None], drawn: Scene, motion: Motion, settings: Settings
) -> Callable[[int], tuple[Region, ...]]:
    tracks = make_tracks(found, drawn.rate, motion)
    return lambda frame: regions_at(tracks, frame, settings)


def every(found: Found, n: int) -> Found:
    """Of every n-th frame, and the last."""
    return [r if i % n == 0 or i == len(found) - 1 else None for i, r in enumerate(found)]


def rows_of(
    drawn: Scene, found: Found, motion: Motion, settings: Settings, auto: Found | None
) -> Iterator[tuple[str, ClipResult]]:
    size = drawn.width, drawn.height, drawn.frames
    ways: dict[str, Callable[[int], Sequence[Region]]] = {"frame by frame": lambda f: found[f] or ()}
    ways["tracks"] = tracked(found, drawn, motion, settings)
    if auto is not None:
        ways["tracks, auto"] = tracked(auto, drawn, motion, settings)
    for n in (2, 3, 5):
        ways[f"tracks, every {n}"] = tracked(every(found, n), drawn, motion, settings)
    for name, regions in ways.items():
        yield name, measure("scene", regions, drawn.truth(), settings, size, drawn.rate)


def searched(drawn: Scene, predictor: Predictor, how: Every) -> tuple[Found, Motion]:
    searching = Search(predictor, drawn.width, drawn.height, drawn.rate, how)
    for rgb in drawn.draw():
        searching.add(rgb)
    found = searching.take()
    return regions_of(found), found.motion


def auto_of(found: Found, motion: Motion, drawn: Scene) -> Found:
    """What the automatic choice would have searched, from what every frame's search found."""

    class Known:
        settings, detection_hash = Settings(), ""
        at = 0

        def predict(self, batch: object, turns: object = None) -> list[tuple[Region, ...]]:
            return [found[int(batch[0][0, 0, 0]) * 256 + int(batch[0][0, 0, 1])] or ()]  # type: ignore[index]

        def turns_of(self, image: object) -> tuple[int, ...]:
            return (0,)

    searching = Search(Known(), drawn.width, drawn.height, drawn.rate, "auto")  # type: ignore[arg-type]
    for n, rgb in enumerate(drawn.draw()):
        rgb[0, 0, 0], rgb[0, 0, 1] = n // 256, n % 256
        searching.add(rgb)
    return regions_of(searching.take())


def line(name: str, of: VideoEvaluation, frames: str = "") -> str:
    cells = [name, frames]
    for kind in ("face", "plate"):
        if time := of.kinds.get(kind):
            share = of.leaks[kind]
            low, high = share.interval or (0.0, 1.0)
            cells += [f"{time.visible:.1f} of {time.seconds:.0f} s: {share.value or 0:.3f} ({low:.3f}–{high:.3f})"]
            cells += [str(time.flickers)]
    return "| " + " | ".join([*cells, f"{100 * (of.false_area.value or 0):.2f} %"]) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("simulated", "detected"))
    parser.add_argument("--gaps", type=int, default=1000)
    parser.add_argument("--scenes", type=int, default=6)
    parser.add_argument("--frames", type=int, default=90)
    parser.add_argument("--first", type=int, default=0, help="number of the first scene")
    parser.add_argument("--preset", default="fast")
    args = parser.parse_args()
    rng, settings = np.random.default_rng(0), Settings().with_preset(args.preset)
    predictor = Predictor(settings) if args.what == "detected" else None
    rows: dict[str, list[ClipResult]] = {}
    looked: dict[str, int] = {}
    gaps = seed = total = 0
    while gaps < args.gaps if predictor is None else seed < args.scenes:
        drawn = scene(args.first + seed, args.frames)
        if predictor is None:
            found, more = simulated(drawn, rng)
            motion, auto, gaps = motion_of(drawn), None, gaps + more
        else:
            found, motion = searched(drawn, predictor, 1)  # type: ignore[assignment]
            auto = auto_of(found, motion, drawn)
            looked["tracks, auto"] = looked.get("tracks, auto", 0) + sum(r is not None for r in auto)
        for name, result in rows_of(drawn, found, motion, settings, auto):
            rows.setdefault(name, []).append(result)
        seed, total = seed + 1, total + drawn.frames
    print(f"{seed} scenes, {total} frames" + (f", {gaps} gaps" if predictor is None else f", preset {args.preset}"))
    print("| hidden | frames searched | faces seen | flickers | plates seen | flickers | false area |")
    print("|---|---|---|---|---|---|---|")
    for name, results in rows.items():
        n = int(name.rpartition(" ")[2]) if "every" in name else 1
        share = looked.get(name, total / n) / total
        print(line(name, summary(results, ClipAnnotations({})), f"{share:.0%}"), flush=True)


if __name__ == "__main__":
    main()
