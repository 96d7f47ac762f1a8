"""FiftyOne's server in a process of its own, and the wall within: `python -m review.guarded.process FOLDER FD [PORT]`.

FiftyOne makes objects of classes that requests and its database name. Here a name means one of the classes in the
tables below, by identity, or nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# View stages that filter, sort and cut; none that writes, joins another collection or runs code (Mongo, Concat,
# MapLabels …).
STAGES = (
    "Exclude", "ExcludeFields", "ExcludeLabels", "Exists", "FilterField", "FilterLabels", "Limit", "LimitLabels",
    "Match", "MatchLabels", "MatchTags", "Select", "SelectBy", "SelectFields", "SelectLabels", "Shuffle", "Skip",
    "SortBy", "Take", "ToEvaluationPatches", "ToPatches",
)  # fmt: skip
AGGREGATIONS = ("Bounds", "Count", "CountValues", "Distinct", "HistogramValues", "Mean", "Std", "Sum", "Values")
# What fields, labels and evaluations are made of, which FiftyOne keeps by name in its database: plain values, all
# classes of these modules.
VALUES = (
    "core.fields", "core.labels", "core.metadata", "core.odm.dataset", "core.odm.embedded_document",
    "core.odm.workspace", "utils.eval.base", "utils.eval.coco", "utils.eval.detection",
)  # fmt: skip


def close() -> None:
    """From now on every class that FiftyOne looks up by name is one of the tables'; any other name is an error."""
    from importlib import import_module

    import eta.core.utils as etau
    from fiftyone.core import aggregations, stages

    allowed = {f"{stages.__name__}.{n}": getattr(stages, n) for n in STAGES}
    counts = {f"{aggregations.__name__}.{n}": getattr(aggregations, n) for n in AGGREGATIONS}
    others: dict[str, Any] = {}
    for module in (import_module(f"fiftyone.{name}") for name in VALUES):
        others |= {
            f"{module.__name__}.{name}": found
            for name, found in vars(module).items()
            if isinstance(found, type) and found.__module__ == module.__name__
        }

    def find(table: Mapping[str, Any], name: object) -> Any:
        if not isinstance(name, str) or name not in table:
            raise ValueError("a class that is not offered")
        return table[name]

    def reader(table: Mapping[str, Any]) -> Any:
        def from_dict(cls: Any, given: Mapping[str, Any]) -> Any:
            out = find(table, given["_cls"])(**dict(given["kwargs"]))
            out._uuid = given.get("_uuid")
            return out

        return classmethod(from_dict)

    stages.ViewStage._from_dict = reader(allowed)
    aggregations.Aggregation._from_dict = reader(counts)
    everything = {**allowed, **counts, **others}

    def get_class(class_name: str, module_name: str | None = None) -> Any:
        return find(everything, class_name if module_name is None else f"{module_name}.{class_name}")

    etau.get_class = get_class


def main(folder: Path, descriptor: int, ports: list[int]) -> None:
    from . import sandbox

    held = sandbox.close(folder, ports)
    import uvicorn
    from fiftyone.server.app import app

    close()
    app.debug = False
    print(f"held by {', '.join(held)}", file=sys.stderr, flush=True)  # the guard's process logs it
    uvicorn.run(app, fd=descriptor, log_level="warning", access_log=False, lifespan="on", timeout_keep_alive=60)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), [int(p) for p in sys.argv[3:]])
