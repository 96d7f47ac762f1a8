"""The API against its own description: schemathesis makes requests from it and judges the answers."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from PIL import Image
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from tests.support.web_site import visitor

load_all_checks()
# Bytes that the description allows need not be a photo, nor a text a color: 400 and 415 with a reason are right then.
NOT_SAID_BY_A_SCHEMA = [c for c in CHECKS.get_all() if c.__name__ == "positive_data_acceptance"]
few = settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None)


def png() -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(out, "PNG")
    return out.getvalue()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with visitor(tmp_path_factory.mktemp("data")) as opened:
        yield opened


@pytest.mark.parametrize(
    ("mode", "with_photo"),
    [(GenerationMode.POSITIVE, False), (GenerationMode.POSITIVE, True), (GenerationMode.NEGATIVE, False)],
)
def test_every_answer_is_as_described(client: Any, mode: GenerationMode, with_photo: bool) -> None:
    schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", client.app, headers={"Host": "localhost"})
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) == 10
    for operation in operations:
        try:
            strategy = operation.as_strategy(generation_mode=mode)
            ask(strategy, with_photo)
        except Unsatisfiable:  # nothing can be wrong about a request without a body
            assert operation.method in ("get", "delete")


def ask(strategy: Any, with_photo: bool) -> None:
    @few
    @given(case=strategy)
    def once(case: Any) -> None:
        if with_photo and isinstance(case.body, dict):
            case.body["image"] = png()
        answer = case.call(headers={"Host": "localhost"})
        case.validate_response(answer, excluded_checks=NOT_SAID_BY_A_SCHEMA)
        assert answer.status_code < 500, answer.text
        assert "Traceback" not in answer.text

    once()


@pytest.mark.parametrize(
    "path", ["/api/v1/detect", "/api/v1/anonymize", "/api/v1/streams/a/frames", "/api/v1/models", "/healthz"]
)
def test_other_methods_are_refused_as_such(client: Any, path: str) -> None:
    for method in ("PUT", "DELETE", "PATCH", "TRACE"):
        answer = client.request(method, path)
        assert answer.status_code == 405
        assert answer.headers["allow"] in ("GET", "POST")
