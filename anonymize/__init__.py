"""Hide every face and license plate in photos. Photos in, anonymized photos out.

    import anonymize

    image, regions = anonymize.hide("photo.jpg")  # one photo, in memory
    summary = anonymize.run("photos", "clean")  # folders of them

These are the public names; each is imported when it is first used, so that `import anonymize` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import telemetry

telemetry.disable()  # before anything that could count or report is imported

if TYPE_CHECKING:
    from .detectors import Detector, FakeDetector, create
    from .engine import Summary, detect, export, run
    from .errors import AnonymizeError
    from .hiding import hide
    from .images import Photo
    from .masks import coverage
    from .named import load, save
    from .predictor import Predictor
    from .records import Record
    from .regions import Region
    from .settings import Kernel, Kind, Settings

_WHERE = {
    "detectors": ("Detector", "FakeDetector", "create"),
    "engine": ("Summary", "detect", "export", "run"),
    "errors": ("AnonymizeError",),
    "hiding": ("hide",),
    "images": ("Photo",),
    "masks": ("coverage",),
    "named": ("load", "save"),
    "predictor": ("Predictor",),
    "records": ("Record",),
    "regions": ("Region",),
    "settings": ("Kernel", "Kind", "Settings"),
}
__all__ = [
    "AnonymizeError", "Detector", "FakeDetector", "Kernel", "Kind", "Photo", "Predictor", "Record", "Region",
    "Settings", "Summary", "coverage", "create", "detect", "export", "hide", "load", "run", "save",
]  # fmt: skip


def _version() -> str:
    """pyproject.toml's, in a checkout also where that was never installed."""
    import importlib.metadata
    import tomllib
    from pathlib import Path

    try:
        project = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text("utf-8"))["project"]
        if project["name"] == __name__:
            return str(project["version"])
    except (OSError, ValueError, LookupError):
        pass
    return importlib.metadata.version(__name__)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    for module, names in _WHERE.items():
        if name in names:
            return getattr(import_module(f".{module}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
