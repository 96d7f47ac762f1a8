"""An exported photo that audits look at, and a key to sign with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import planted


@pytest.fixture
def own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where an audit's key is made: not in the home of whoever runs the tests."""
    monkeypatch.setenv("ANONYMIZE_CONFIG", str(tmp_path / "config"))
    return tmp_path / "config" / "audit-key.pem"


@pytest.fixture
def case(tmp_path: Path, zidane: Path) -> planted.Case:
    """A photo with two faces, and a clean export of it."""
    return planted.make(tmp_path, zidane, "jpg", planted.FACES)
