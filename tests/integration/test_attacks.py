"""Hundreds of attacks on the running server in each mode: nothing is started, read, asked or frozen."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

import pytest

from tests.support.attacked import Answer, Site, ids, leaks, serve
from tests.support.attacks import Attack, on_fiftyone, on_gradio

pytestmark = pytest.mark.weights


@pytest.fixture(scope="module", params=["own", "team", "public"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with serve(tmp_path_factory.mktemp(request.param), request.param) as running:
        running.mode = request.param  # type: ignore[attr-defined]
        yield running


def through(site: Site, attacks: Iterable[Attack]) -> tuple[int, list[str]]:
    """Send them all; how many, and what went wrong."""
    wrong: list[str] = []
    count = 0
    with site.health():
        for attack in attacks:
            count += 1
            try:
                answer = site.attack(attack)
            except OSError as e:
                wrong.append(f"{attack.name}: no answer, {e!r}")
                if len(wrong) > 20:
                    break
                continue
            if word := leaks(site, answer):
                wrong.append(f"{attack.name}: {answer.status} says {word!r}")
            if answer.status >= 500 or (answer.status < 300 and not attack.may_pass and not is_page(answer)):
                wrong.append(f"{attack.name}: {answer.status} {answer.body[:80]!r}")
    return count, wrong + site.harm()


def is_page(answer: Answer) -> bool:
    """Our own page, or FiftyOne's, as anybody gets it at the start: an odd path that leads there shows nothing else."""
    return answer.headers.get("content-type", "").startswith("text/html") and b"<title>" in answer.body


def test_the_start_looks_nothing_up(site: Site) -> None:
    assert site.harm() == []


def test_no_attack_on_gradio_comes_through(site: Site) -> None:
    mode = site.mode  # type: ignore[attr-defined]
    if mode == "team":
        site.sign_in("bob")
    config = site.json("GET", "/config")
    named = [d for d in config["dependencies"] if d.get("api_visibility") == "public" and d["backend_fn"]]
    assert {d["api_name"] for d in named} == {"anonymize"}
    count, wrong = through(site, on_gradio(site.target, config))
    assert count > 300
    assert not wrong, "\n".join([f"{len(wrong)} of {count}", *wrong[:60]])


def test_no_attack_on_fiftyone_comes_through(site: Site) -> None:
    mode = site.mode  # type: ignore[attr-defined]
    if mode == "team":
        site.sign_in("ana")
    opened = site.is_open()
    if mode == "public":  # FiftyOne is not there at all
        assert opened.status in (403, 404)
    else:
        assert opened.status == 303
        site.target = ids(site)
        assert site.target.sample_id != "0" * 24
    count, wrong = through(site, on_fiftyone(site.target))
    assert count > 400
    assert not wrong, "\n".join([f"{len(wrong)} of {count}", *wrong[:60]])


def test_who_does_not_review_reaches_nothing_of_fiftyone(site: Site) -> None:
    if site.mode != "team":  # type: ignore[attr-defined]
        pytest.skip("one mode has users")
    site.sign_in("bob")
    refused = [a for a in on_fiftyone(site.target) if a.path.startswith("/review")]
    count, wrong = through(site, [dataclasses.replace(a, may_pass=False) for a in refused[::3]])
    assert not wrong, "\n".join([f"{len(wrong)} of {count}", *wrong[:60]])
    assert site.is_open().status in (403, 404)


def test_without_a_login_nothing_is_reached(site: Site) -> None:
    if site.mode != "team":  # type: ignore[attr-defined]
        pytest.skip("one mode has users")
    site.cookies.clear()
    for attack in [*list(on_fiftyone(site.target))[::10], *on_gradio(site.target, {"dependencies": []})]:
        assert site.attack(attack).status in (400, 401, 403, 404, 405, 413, 303), attack.name
    assert site.harm() == []


def test_the_server_still_works(site: Site) -> None:
    """Last: after all that, the page is there, and what is held of the attackers is little."""
    assert site.send("GET", "/healthz").status == 200
    assert {p.name for p in site.target.marks.iterdir()} == set()
