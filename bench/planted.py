"""What an audit finds: leaks of every kind, planted into exports, and alarms on clean exports.

    python -m bench.planted leaks PHOTOS --count 200          plants leaks, says which were not found
    python -m bench.planted clean PHOTOS --annotations A      exports with all that is marked hidden; says what alarms
    python -m bench.planted clean DATA --only bench/audit_photos.txt --preset fast --preset balanced --preset thorough

Without photos, `leaks` takes those of installed packages. Records (--records) save the detection. DATA has a folder for
each set of photos, with images/ and annotations.json; FILE of --only names photos in them, which chose nothing.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from anonymize import engine, records, telemetry
from anonymize.audit import Options, audit_folder
from anonymize.audit.rest_risk import wilson
from anonymize.evaluate import ground_truth
from anonymize.predictor import Predictor
from anonymize.records import Record, unescape
from anonymize.regions import Region, suppress
from anonymize.settings import Settings
from tests.support import planted

SURE = 0.95  # score of a detection that counts as real where nothing is marked
RECOGNIZABLE = {"face": 32.0, "plate": 20.0}  # px of the shorter side: what a planted miss shows


def installed_photos() -> Path:
    spec = find_spec("ultralytics")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "assets"


def detected(
    folder: Path, given: Path | None, home: Path, preset: str = "balanced"
) -> tuple[Path, dict[str, Record], Settings]:
    """Where the photos are, their records, and the settings."""
    path = given or home / "records.jsonl"
    if given is None:
        engine.detect(folder, path, Predictor(preset))
    header, known = records.read(path)
    settings = header.settings.replace(kinds=Settings().kinds)  # records may be older than the effects
    return Path(unescape(header.root)), {p: r for p, r in known.items() if not r.error}, settings


def with_truths(root: Path, known: dict[str, Record], annotations: Sequence[Path]) -> dict[str, Record]:
    """Records in which all that is marked is hidden, too, as a person would have drawn it."""
    out = dict(known)
    for source in annotations:
        below = source.parent.name
        mine = {p.split("/", 1)[-1]: p for p in known if p.split("/")[0] == below or len(annotations) == 1}
        folder = root / below if (root / below).is_dir() else root
        found = ground_truth.read(source, folder, list(mine))
        for name, photo in found.photos.items():
            if name not in mine:
                continue
            record = known[mine[name]]
            drawn = [Region(t.kind, t.box, 1.0, status="manual") for t in photo.truths]
            fresh = {r.id: r for r in (*record.regions, *drawn)}
            out[mine[name]] = record.replace(regions=tuple(fresh.values()))
    return out


def things(record: Record, settings: Settings) -> list[Region]:
    """Hidden regions, one a thing: those that are marked or sure first, the largest of them first."""
    found = [r.replace(score=1.0) if r.status == "manual" else r for r in record.hidden(settings)]
    single = [r.replace(status="auto", id="") for r in suppress(found, 0.2)]
    return sorted(single, key=lambda r: (r.score < SURE, -r.width * r.height))


def cases(root: Path, known: dict[str, Record], settings: Settings, sure: float) -> Iterator[tuple[Path, list[Region]]]:
    """Photos with something that is recognizable and real, over and over."""
    usable = [(root / unescape(p), things(r, settings)) for p, r in known.items()]
    usable = [
        (p, t)
        for p, t in usable
        if t and t[0].score >= sure and min(t[0].width, t[0].height) >= RECOGNIZABLE[t[0].kind]
    ]
    random.Random(0).shuffle(usable)
    if not usable:
        raise SystemExit("no photo shows a face or plate that is large enough")
    while True:
        yield from usable


def plant(args: argparse.Namespace, home: Path) -> int:
    root, known, settings = detected(args.photos or installed_photos(), args.records, home)
    known = with_truths(root, known, args.annotations)
    photos = cases(root, known, settings, 1.0 if args.annotations else SURE)
    kinds = [leak for leak in planted.LEAKS if args.check in ("", leak.check)]
    lost, planted_ = [], Counter[str]()
    for number in range(args.count):
        leak = kinds[number % len(kinds)]
        extension = leak.formats[number // len(kinds) % len(leak.formats)]
        photo, regions = next(photos)
        is_missed = leak.check == "recognizable"
        side = 10_000 if is_missed else planted.SIDE
        case = planted.make(home / str(number), photo, extension, regions, side=side, settings=settings)
        leak.plant(case)
        audit = case.audit(against=leak.needs_original, looking=is_missed, weights_dir=args.weights)
        planted_[leak.name] += 1
        if not planted.is_found(audit, leak):
            said = [f.to_dict() for p in audit.photos for f in p.findings]
            lost.append(leak.name)
            print(
                json.dumps({"not found": leak.name, "photo": str(photo), "format": extension, "said": said}), flush=True
            )
        else:
            scores = [f.score for p in audit.photos for f in p.findings if f.check == leak.check and f.score]
            print(f"{number + 1}: {leak.name} ({extension})", *scores[:1], file=sys.stderr, flush=True)
    print(f"{sum(planted_.values())} leaks of {len(planted_)} kinds planted, {len(lost)} not found: {Counter(lost)}")
    return bool(lost)


def named(data: Path, names: Path, home: Path) -> tuple[Path, list[Path]]:
    """The photos of a list, in a folder of their own, and their annotations."""
    paths = [line.strip() for line in names.read_text("utf-8").splitlines() if line.strip()]
    for path in paths:
        target = home / "photos" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(data / target.parent.name / "images" / target.name, target)
    return home / "photos", [data / d / "annotations.json" for d in sorted({p.split("/")[0] for p in paths})]


def clean(args: argparse.Namespace, home: Path) -> int:
    photos, annotations = named(args.photos, args.only, home) if args.only else (args.photos, args.annotations)
    failed = 0
    for preset in args.preset or ["balanced"]:
        (place := home / preset).mkdir()
        failed += _clean(args, photos, annotations, place, preset)
    return bool(failed)


def _clean(args: argparse.Namespace, photos: Path, annotations: Sequence[Path], home: Path, preset: str) -> int:
    root, known, settings = detected(photos, args.records, home, preset)
    known = with_truths(root, known, annotations)
    chosen = dict(list(known.items())[args.skip : args.skip + args.count if not args.only else None])
    header, _ = records.read(args.records or home / "records.jsonl")
    records.write(home / "clean.jsonl", replace(header, settings=settings), chosen.values())
    engine.export(home / "clean.jsonl", home / "out", settings)
    options = Options(is_moving=False, is_reporting=bool(args.report), report=args.report, weights_dir=args.weights)
    audit = audit_folder(
        home / "out", records_path=home / "clean.jsonl", against=root, options=options,
        progress=lambda a, n: print(f"{len(a.photos)}/{n}, {len(a.failed)} alarms", file=sys.stderr, flush=True),
    )  # fmt: skip
    for photo in audit.photos:
        if photo.error:
            print(json.dumps({"preset": preset, "photo": photo.path, "error": photo.error}, ensure_ascii=False))
        for finding in (f for f in photo.findings if f.level != "note"):
            print(json.dumps({"preset": preset, "photo": photo.path, **finding.to_dict()}, ensure_ascii=False))
    looks, alarms = sum(bool(p.of("look")) for p in audit.photos), len(audit.failed)
    low, high = wilson(alarms, len(audit.photos))
    print(f"{preset}: {len(audit.photos)} clean exports, {alarms} alarms ({low:.3f}–{high:.3f}), {looks} to look at")
    print(json.dumps({"checks": audit.checks, "skipped": audit.skipped}, ensure_ascii=False), flush=True)
    return alarms


def main() -> None:
    telemetry.disable()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["leaks", "clean"])
    parser.add_argument("photos", nargs="?", type=Path)
    parser.add_argument("--records", type=Path, help="detections of these photos")
    parser.add_argument("--annotations", type=Path, action="append", default=[], help="COCO file beside images/")
    parser.add_argument("--only", type=Path, metavar="FILE", help="clean: SET/NAME of the photos, a line each")
    parser.add_argument("--preset", action="append", help="clean: what exports them; may be given more than once")
    parser.add_argument("--count", type=int, default=210)
    parser.add_argument("--skip", type=int, default=0)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--report", type=Path)
    parser.add_argument("--check", default="", help="only leaks that this check has to find (recognizable, metadata …)")
    args = parser.parse_args()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as home:
        code = (plant if args.what == "leaks" else clean)(args, Path(home))
    print(f"{time.perf_counter() - started:.0f} s")
    sys.exit(code)


if __name__ == "__main__":
    main()
