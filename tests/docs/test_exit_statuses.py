"""The page of exit statuses says what the commands' help says."""

from pathlib import Path

from rnnserve.cli.command_table import COMMANDS
from rnnserve.cli.exit_statuses import EVERY, OF_COMMAND

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "exit-statuses.md").read_text().replace("\\|", "¦")


def rows(columns):
    """The rows of tables with so many columns."""
    lines = [line.strip("|").split("|") for line in PAGE.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in cells] for cells in lines if len(cells) == columns]


def test_those_of_every_command():
    told = {int(status): said.replace("¦", "|") for status, said in rows(2) if status.isdigit()}
    assert told == dict(EVERY)


def test_those_of_one_command():
    told = {command.strip("`"): {0: done, 1: failed} for command, done, failed in rows(3) if command.startswith("`")}
    assert told == {command: dict(statuses) for command, statuses in OF_COMMAND.items()}


def test_they_are_of_commands_that_there_are():
    assert set(OF_COMMAND) <= set(COMMANDS)
