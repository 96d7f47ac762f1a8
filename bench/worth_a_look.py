"""How many photos are worth a look at which risk, and how many leaks lie in them. `python -m bench.worth_a_look --help`

IMAGES and ANNOTATIONS as for `evaluate`; RECORDS of the same photos (or of some of them), made by `detect`. The page
calls a photo worth a look from `risk.SUSPICIOUS`; choose it on some photos, and look at others once.

The second table is what an audit's certificate says of such risks (`audit.rest_risk.MEASURED`): refit it from what is
printed when a preset changes, and look whether the intervals hold on photos that it was not made of.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from anonymize import evaluate, images, records, risk
from anonymize.audit import rest_risk
from anonymize.evaluate import LEAK_COVERAGE
from anonymize.evaluate import ground_truth as truths

LIMITS = (0.02, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("images", "annotations", "records"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args()
    header, known = records.read(given.records)
    settings = header.review or header.settings
    found = images.find(given.images, settings)
    measured = evaluate.evaluate(
        known.values(), truths.read(given.annotations, given.images, found.paths, settings.kinds), settings
    )
    leaks = {
        p.path: sum(c < LEAK_COVERAGE and not t.ignore for t, c in zip(p.truths, p.covered, strict=True))
        for p in measured.photos
        if p.error is None
    }
    photos = {path: risk.risk_of(r, settings) for path, r in known.items() if path in leaks}
    leaking = [path for path in photos if leaks[path]]
    print(f"{len(photos)} photos, {len(leaking)} leak; worth a look now from {risk.SUSPICIOUS:g}")
    print("| risk from | photos | leaking photos among them | leaks in them |\n|---|---|---|---|")
    for limit in LIMITS:
        seen = {path for path, p in photos.items() if p >= limit}
        share = f"{len(seen) / max(1, len(photos)):.0%}"
        caught = [path for path in leaking if path in seen]
        total = sum(leaks[path] for path in leaking)
        print(f"| {limit:g} | {share} | {len(caught)} of {len(leaking)} | {sum(map(leaks.get, caught))} of {total} |")  # type: ignore[arg-type]
    print("| estimate up to | photos | leaked | 95 % | the certificate says |\n|---|---|---|---|---|")
    for n, (upper, of, was) in enumerate(rest_risk.MEASURED):
        lower = rest_risk.MEASURED[n - 1][0] if n else -1.0
        mine = [path for path, p in photos.items() if lower < p <= upper]
        count = sum(bool(leaks[path]) for path in mine)
        low, high = rest_risk.wilson(count, len(mine))
        said = rest_risk.wilson(was, of)
        print(f"| {upper:g} | {len(mine)} | {count} | {low:.3f}–{high:.3f} | {said[0]:.3f}–{said[1]:.3f} |")


if __name__ == "__main__":
    main()
