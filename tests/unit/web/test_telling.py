"""What the log is told of an error: where in the code, never a visitor's file."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from anonymize.web import answers, telling
from anonymize.web.policy import Policy

SECRET = "/data/sessions/0f/family.jpg"


def fail() -> None:
    Path(SECRET).read_bytes()


def test_the_place_of_an_error_is_code_and_names_no_file_of_a_visitor() -> None:
    with pytest.raises(OSError, match="family") as caught:
        fail()
    place = telling.place_of(caught.value)
    assert place.startswith("FileNotFoundError in pathlib.py:")
    assert "test_telling.py" in place
    assert "fail" in place
    assert "family" not in place


@pytest.mark.parametrize("name", ["uvicorn.error", "asyncio"])
def test_servers_log_the_place_instead_of_a_traceback(name: str) -> None:
    telling.keep_names_out_of_logs()
    telling.keep_names_out_of_logs()
    out, logger = io.StringIO(), logging.getLogger(name)
    handler = logging.StreamHandler(out)
    logger.addHandler(handler)
    try:
        try:
            fail()
        except OSError as e:
            logger.error("Exception in ASGI application\n", exc_info=e)
        logger.error("a plain %s", "line")
    finally:
        logger.removeHandler(handler)
    first, second = out.getvalue().splitlines()
    assert first.startswith("Exception in ASGI application: FileNotFoundError in pathlib.py:")
    assert "family" not in first
    assert second == "a plain line"


def test_gradio_prints_no_traceback(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    from gradio import queueing, routes

    telling.keep_names_out_of_logs()
    for module in (queueing, routes):
        try:
            fail()
        except OSError:
            module.traceback.print_exc()
    assert len(caplog.messages) == 2
    assert all("FileNotFoundError in " in m and "family" not in m for m in caplog.messages)
    assert capsys.readouterr().err == ""


def test_what_nobody_foresaw_is_a_sentence() -> None:
    app = FastAPI()
    answers.handle_errors(app, Policy())
    app.add_api_route("/fail", fail)
    answer = TestClient(app, raise_server_exceptions=False).get("/fail")
    assert (answer.status_code, answer.json()) == (500, {"error": telling.WRONG})
