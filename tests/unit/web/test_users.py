"""The file of users: what is in it, what is refused, and the command that writes it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from anonymize.errors import SettingsError
from anonymize.web.policy import Policy
from anonymize.web.users import hash_password, main, read_users, verify


def test_a_hash_is_of_its_password_alone():
    hashed = hash_password("correct horse")
    assert verify("correct horse", hashed)
    assert not verify("correct horse ", hashed)
    assert not verify("", hashed)
    assert hashed != hash_password("correct horse")  # each with its own salt
    assert "correct" not in hashed


@pytest.mark.parametrize(
    "hashed",
    [
        "correct horse",
        "",
        "scrypt$32768$8$1$x$y",
        hash_password("correct horse", cost=16).replace("$16$", "$15$"),  # no power of two
        hash_password("correct horse", cost=16).replace("$16$8$", "$4194304$99$"),  # more memory than there is
        hash_password("correct horse", cost=16)[:-8],
    ],
)
def test_what_is_no_hash_is_nobodys(hashed: str):
    assert not verify("correct horse", hashed)


def test_the_command_adds_replaces_and_removes(tmp_path: Path):
    path, run = tmp_path / "users.txt", CliRunner()

    def command(*given: str, password: str = "") -> str:
        done = run.invoke(main, [*given, "--file", str(path)], input=password)
        assert done.exit_code == 0, done.output
        return done.output

    path.write_text("# the team\nada:in the open\n")
    with pytest.raises(SettingsError, match=r"line 2.*'ada' is not hashed.*users add ada --file"):
        read_users(path)
    assert "ada may sign in" in command("add", "ada", password="correct horse\n")
    command("add", "bob", password="another password\n")
    assert path.read_text().startswith("# the team\nada:scrypt$")
    assert "in the open" not in path.read_text()
    assert path.stat().st_mode & 0o077 == 0  # nobody else reads it
    rules = Policy(host="0.0.0.0", users=read_users(path))
    assert rules.knows("ada", "correct horse")
    assert not rules.knows("ada", "another password")
    assert not rules.knows("eve", "correct horse")
    command("remove", "ada")
    assert list(read_users(path)) == ["bob"]
    command("add", "bob", password="yet another one\n")
    assert Policy(users=read_users(path)).knows("bob", "yet another one")


@pytest.mark.parametrize(
    ("given", "password"),
    [
        (["add", "a:b"], "long enough\n"),
        (["add", "#a"], "long enough\n"),
        (["add", "ada"], "short\n"),
        (["remove", "x"], ""),
    ],
)
def test_what_is_refused_changes_nothing(tmp_path: Path, given: list[str], password: str):
    path = tmp_path / "users.txt"
    path.write_text(f"eve:{hash_password('whatever', cost=16)}\n")
    before = path.read_text()
    done = CliRunner().invoke(main, [*given, "--file", str(path)], input=password)
    assert (done.exit_code, path.read_text()) == (1, before)


@pytest.mark.parametrize("text", ["", "# nobody\n", "ada\n", "ada:\n", ":x\n", "a b:scrypt$1$1$1$x$y\n"])
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str):
    path = tmp_path / "f"
    path.write_text(text)
    with pytest.raises(SettingsError):
        read_users(path)
    with pytest.raises(SettingsError, match="cannot read"):
        read_users(tmp_path / "missing")


def test_it_runs_as_the_message_says():
    command = [sys.executable, "-m", "anonymize.web.users", "--help"]
    assert "add" in subprocess.run(command, capture_output=True, text=True, check=True).stdout
