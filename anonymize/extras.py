"""Optional packages: each is imported where it is used, and an error names the one command that adds it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .errors import MissingExtraError


@contextmanager
def extra(name: str, what: str) -> Iterator[None]:
    """Import optional packages inside this block.

    Args:
        name: the extra in pyproject.toml that brings them.
        what: what needs them, the subject of the error's sentence.

    Raises:
        MissingExtraError: one of them is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as e:
        raise MissingExtraError(
            f"{what} needs the package {e.name}, which is not installed. This adds it: pip install 'anonymize[{name}]'"
        ) from e
