"""Hide every face and license plate in photos. Photos in, anonymized photos out.

    from pathlib import Path
    from anonymize import Engine

    summary = Engine().run("photos", Path("clean"))

These are the public names; each is imported when it is first used, so that `import anonymize` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import telemetry

telemetry.disable()  # before anything that could count or report is imported

if TYPE_CHECKING:
    from .detectors import Detector, FakeDetector, create
    from .effects import apply, coverage
    from .engine import Engine, Summary
    from .errors import AnonymizeError
    from .images import Photo, load, save
    from .records import Record
    from .regions import Region
    from .settings import Kernel, Kind, Settings

_WHERE = {
    "AnonymizeError": "errors",
    "Detector": "detectors",
    "Engine": "engine",
    "FakeDetector": "detectors",
    "Kernel": "settings",
    "Kind": "settings",
    "Photo": "images",
    "Record": "records",
    "Region": "regions",
    "Settings": "settings",
    "Summary": "engine",
    "apply": "effects",
    "coverage": "effects",
    "create": "detectors",
    "load": "images",
    "save": "images",
}
__all__ = [
    "AnonymizeError", "Detector", "Engine", "FakeDetector", "Kernel", "Kind", "Photo", "Record", "Region", "Settings",
    "Summary", "apply", "coverage", "create", "load", "save",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_WHERE[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
