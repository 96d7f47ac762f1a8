"""Recordings of real traffic, changed at random: FiftyOne and Gradio see only keys and classes that their pages send.

Both are replaced by a spy here. `ANONYMIZE_MUTATIONS=10000` sends more; `python -m bench.attacks campaign`
sends them to the real ones.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import JSONResponse
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

import app
from anonymize.web.policy import Policy
from review.reviews import LOCAL_USER, registry
from tests.support import attacked, traffic
from tests.support.mutations import classes, foreign, keys, mutations
from tests.support.web_site import visitor

COUNT = int(os.environ.get("ANONYMIZE_MUTATIONS", "400"))
# What the guard itself writes into a body.
OURS = {"reviewer", "read_only"}


class Spy:
    """An app that remembers what reached it, and says {}."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, bytes]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.seen.append((scope["method"], scope["path"], body))
        await JSONResponse({})(scope, receive, send)


Spied = tuple[TestClient, Spy, Spy, dict[str, str]]


@pytest.fixture(scope="module")
def spied(
    tmp_path_factory: pytest.TempPathFactory, fiftyone_home: Path
) -> Iterator[tuple[TestClient, Spy, Spy, dict[str, str]]]:
    """The whole server on this machine, with a spy for FiftyOne and one for Gradio; and the names of recordings."""
    home = tmp_path_factory.mktemp("mutations")
    records, photo = attacked.review(home)
    inner, gradio = Spy(), Spy()
    patch = pytest.MonkeyPatch()
    parts = app.review_parts(Policy(), [records])
    server = parts["mounts"]["/review"]
    (review,) = (r for r in registry.of(LOCAL_USER) if r.store.path == records)

    async def fiftyone() -> Any:
        return inner

    patch.setattr(server, "_fiftyone", fiftyone)
    patch.setattr(server, "operators", inner, raising=False)
    names = {"dataset": review.name, "photos": str(photo.parent), "home": str(home), "origin": "http://localhost"}
    names["id0"] = str(review.dataset.dataset._doc.id)
    names |= {f"id{n}": str(review.dataset.samples.find_one()["_id"]) for n in range(1, 40)}
    with visitor(home / "data", warm_up=False, **parts) as client:
        whole = client.app.app

        async def to_gradio(scope: Scope, receive: Receive, send: Send) -> None:
            await (gradio if scope.get("path", "").startswith("/gradio_api") else whole)(scope, receive, send)

        patch.setattr(client.app, "app", to_gradio)
        client = TestClient(client.app, "http://localhost", raise_server_exceptions=False, follow_redirects=False)
        client.get("/review/open", params={"name": review.name})
        yield client, inner, gradio, names
    patch.undo()


def known(recordings: list[traffic.Recording]) -> tuple[set[str], set[str]]:
    from review.guarded.process import STAGES

    values = [r.json for r in recordings]
    found = set().union(*map(keys, values)) | OURS
    named = set().union(*map(classes, values))
    return found, named | {f"fiftyone.core.stages.{name}" for name in STAGES}


def send(client: TestClient, r: traffic.Recording, body: bytes | None) -> Any:
    return client.request(r.method, r.path, content=body, headers={"content-type": r.type} if r.type else {})


def test_what_is_recorded_comes_through(spied: Spied) -> None:
    """Otherwise the mutations would be refused for another reason than their changes."""
    client, inner, gradio, names = spied
    recordings = [r.filled(names) for r in traffic.load(client.get("/config").json()) if r.body]
    refused = []
    for r in recordings:
        answer = send(client, r, r.body.encode() if r.body else None)
        if answer.status_code >= 400:
            refused.append(f"{r.method} {r.path} {answer.status_code} {(r.body or '')[:200]}")
    assert refused == []
    assert len(inner.seen) > 15
    assert len(gradio.seen) > 5


def test_no_mutation_brings_a_new_key_or_class(spied: Spied) -> None:
    client, inner, gradio, names = spied
    recordings = [r.filled(names) for r in traffic.load(client.get("/config").json())]
    known_keys, known_classes = known(recordings)
    inner.seen.clear()
    gradio.seen.clear()
    answers: Counter[int] = Counter()
    errors = []
    for number, (r, body) in enumerate(mutations(recordings, COUNT, seed=0)):
        try:
            answer = send(client, r, body)
        except ValueError:  # no URL at all: httpx does not send it
            continue
        answers[answer.status_code] += 1
        if answer.status_code >= 500 or "Traceback" in answer.text:
            errors.append(f"{number} {r.method} {r.path[:100]} {answer.status_code} {(body or b'')[:300]!r}")
    strange = []
    for name, spy in (("FiftyOne", inner), ("Gradio", gradio)):
        for _, path, body in spy.seen:
            strange += [f"{name} {line}" for line in foreign(path, body, known_keys, known_classes)]
    print(json.dumps({
        "sent": COUNT, "answers": dict(sorted(answers.items())), "reached FiftyOne": len(inner.seen),
        "reached Gradio": len(gradio.seen), "foreign keys or classes": len(strange),
    }))  # fmt: skip
    assert not errors, "\n".join(errors[:20])
    assert not strange, "\n".join(strange[:20])
    assert sum(answers.values()) > COUNT * 0.9
