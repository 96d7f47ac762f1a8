"""What the About tab says."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from anonymize.web.policy import Policy, for_public
from anonymize.web.tab_about import _programs, duplicate


def site(policy: Policy) -> Any:
    return SimpleNamespace(policy=policy)


def test_the_example_writes_no_error_into_a_photo() -> None:
    assert "curl --fail " in _programs(site(Policy()))


@pytest.mark.parametrize(
    ("name", "is_space", "shown"),
    [("me/anonymize", True, True), ("", True, False), ("me/anonymize", False, False), ('x"><script>/y', True, False)],
)
def test_a_space_offers_a_copy_of_itself(
    monkeypatch: pytest.MonkeyPatch, name: str, is_space: bool, shown: bool
) -> None:
    monkeypatch.setenv("SPACE_ID", name)
    policy = for_public("0.0.0.0", space=is_space)
    text = duplicate(site(policy))
    assert ("https://huggingface.co/spaces/me/anonymize?duplicate=true" in text) is shown
    assert bool(text) is shown
