"""What the documents say is true: commands exist and run, links lead somewhere, fenced Python works."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from anonymize.cli import cli

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "SECURITY.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "models").glob("*.md")),
]
TEXT = {d: d.read_text() for d in DOCUMENTS}


def commands() -> list[str]:
    """Lines of the documents that call the command line."""
    lines = (line for text in TEXT.values() for line in text.splitlines())
    found = (re.match(r"    (?:\.venv/bin/)?python -m anonymize (.*)", line) for line in lines)
    return [m[1] for m in found if m]


def test_there_are_commands_to_check() -> None:
    assert len(commands()) > 5


@pytest.mark.parametrize("line", commands())
def test_every_command_has_these_options(line: str) -> None:
    words = shlex.split(line.split(" | ")[0].split(" > ")[0], comments=True)
    group: click.Group = cli
    with click.Context(cli) as context:
        command = group.get_command(context, words[0])
        assert command is not None, words[0]
        if isinstance(command, click.Group):
            words = words[1:]
            if words[0] not in command.commands and "folder" in command.commands:  # `audit OUTPUT`
                words = ["folder", *words]
            command = command.get_command(context, words[0])
            assert command is not None, words[0]
        try:
            command.make_context(words[0], words[1:])  # parses; an unknown option or a missing argument raises
        except click.BadParameter as e:
            if "does not exist" not in str(e):  # the document's file is the reader's
                raise


def test_every_row_of_the_reliability_matrix_names_a_test_that_exists() -> None:
    matrix = TEXT[ROOT / "docs" / "reliability.md"].split("## Longer campaigns")[0]
    rows = [r for r in matrix.splitlines() if r.startswith("| ") and not r.startswith("| fault")]
    assert len(rows) > 30
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
        assert named, row
        for file, test in named:
            assert f"def {test}(" in (ROOT / file).read_text(), row


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: d.name)
def test_links_to_files_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", TEXT[document]):
        assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: d.name)
def test_tables_have_rows(document: Path) -> None:
    assert not re.findall(r"^\|[-:| ]+\|\n(?!\|)", TEXT[document], re.M)


def test_make_targets_that_are_named_exist() -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
    named = {
        m
        for text in TEXT.values()
        for m in re.findall(r"`make ([\w-]+)`|^    make ([\w-]+)", text, re.M)
        for m in m
        if m
    }
    assert named <= set(targets), named - set(targets)


def test_scripts_that_are_named_exist() -> None:
    for text in TEXT.values():
        for script in re.findall(r"(?:bench|notebooks)/[\w-]+\.\w+", text):
            assert (ROOT / script).exists(), script


@pytest.mark.parametrize("document", [ROOT / "README.md", ROOT / "docs" / "python.md"], ids=lambda d: d.name)
def test_documented_python_runs(document: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from anonymize import hiding, predictor
    from anonymize.detectors import FakeDetector
    from anonymize.regions import Region

    folder.rename(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(predictor, "create", lambda name, *_, **__: FakeDetector([Region("face", (0, 0, 9, 9))], name))
    monkeypatch.setattr(hiding, "_predictor", hiding._predictor.__wrapped__)  # what is faked here is not kept
    (tmp_path / "street.jpg").write_bytes((tmp_path / "photos" / "1.jpg").read_bytes())
    part = re.search(r"^#+ (?:In )?Python\n(.*?)\n## ", TEXT[document], re.S | re.M)
    assert part is not None
    exec("".join(line[4:] for line in part[1].splitlines(keepends=True) if line.startswith("    ")), {})
    assert (tmp_path / "clean.jpg").exists()
    assert (tmp_path / "clean" / "1.jpg").exists() == ("run(" in part[1])


def test_every_command_is_on_the_page_of_commands() -> None:
    """The page is made from `cli` when the site is built: nothing may hide there, or lack its text."""
    page = TEXT[ROOT / "docs" / "command-line.md"]
    assert "::: mkdocs-click\n    :module: anonymize.cli\n    :command: cli\n" in page
    assert ":list_subcommands: true" in page
    with click.Context(cli) as context:
        for name in cli.list_commands(context):
            command = cli.get_command(context, name)
            assert command is not None
            assert not command.hidden, name
            assert command.help, name
            undocumented = [p.name for p in command.params if isinstance(p, click.Option) and not p.help]
            assert not undocumented, (name, undocumented)


def test_the_picture_of_the_folders_is_the_tree() -> None:
    """Each file and folder of the packages stands in CONTRIBUTING's picture, and nothing else does."""
    picture = re.search(r"### Where things are\n(.*?)\n###", TEXT[ROOT / "CONTRIBUTING.md"], re.S)
    assert picture is not None
    drawn: dict[str, set[str]] = {}
    above = ""
    for line in picture[1].splitlines():
        if match := re.match(r"( +)([\w./]+?)(/?)(?: {2,}|$)", line):
            indent, name, is_folder = len(match[1]), match[2], bool(match[3])
            if indent == 4 and is_folder:
                above = name
            elif indent == 6:
                drawn.setdefault(above, set()).add(name)
    plain = {"__main__.py", "py.typed", "risk.json", "context.json"}
    there = {p.name for p in (ROOT / "anonymize").iterdir() if p.name != "__pycache__"} - plain
    assert drawn["anonymize"] == there


def test_version_is_said_once() -> None:
    import tomllib

    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert CliRunner().invoke(cli, ["--version"]).output.strip() == version
