"""Photos to try the page with: those that installed packages carry. No photo of people is part of this project."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

# Package, file in it, and what a visitor reads.
_KNOWN = (
    ("ultralytics", "assets/bus.jpg", "A street"),
    ("ultralytics", "assets/zidane.jpg", "Two people"),
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg", "A portrait"),
)


def samples() -> dict[str, Path]:
    """What a visitor reads -> the photo, of those that are installed here."""
    found = {}
    for package, name, title in _KNOWN:
        spec = find_spec(package)  # imports nothing
        if spec and spec.origin and (path := Path(spec.origin).parent / name).is_file():
            found[title] = path
    return found
