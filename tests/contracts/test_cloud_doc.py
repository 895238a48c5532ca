"""Every command of docs/cloud.md that is ours is one that works, and every price in it is what that command prints."""

import pathlib
import re
import shlex

import pytest

from preprocessing import task as convert_task
from trainer.submit import command, deploy_command

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOC = (ROOT / "docs" / "cloud.md").read_text()
VARIABLES = {
    "PROJECT": "my-flowers",
    "REGION": "us-central1",
    "BUCKET": "my-flowers-bucket",
    "ACCOUNT": "trainer@my-flowers.iam.gserviceaccount.com",
}


def commands(start: str) -> list[list[str]]:
    """Returns the words of each command in the document that begins so."""
    blocks = re.findall(r"```sh\n(.*?)```", DOC, re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    found = []
    for line in lines:
        if line.startswith(start):
            text = re.sub(r"\$(\w+)", lambda match: VARIABLES[match.group(1)], line)
            found.append(shlex.split(text, comments=True))
    return found


SUBMISSIONS = commands("tpu-images submit ")
DEPLOYMENTS = commands("tpu-images deploy ")


@pytest.fixture(autouse=True)
def project(monkeypatch):
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", VARIABLES["PROJECT"])


def cost_line(text: str) -> str:
    return next(line for line in text.splitlines() if line.startswith("# cost: "))


def test_every_kind_of_submission_is_shown():
    assert {words[2] for words in SUBMISSIONS} == set(command.TARGETS)


@pytest.mark.parametrize("words", SUBMISSIONS, ids=lambda words: words[2])
def test_submissions_work_and_cost_what_is_said(words, capsys):
    if words[2] == "local":
        assert command.main([*words[2:], "--dry_run"]) == 0
    else:
        assert command.main([*words[2:], "--dry_run", "--no_preflight"]) == 0
        assert cost_line(capsys.readouterr().out) in DOC.splitlines()


@pytest.mark.parametrize("words", DEPLOYMENTS, ids=lambda words: words[2])
def test_deployments_work_and_cost_what_is_said(words, capsys):
    assert deploy_command.main([*words[2:], "--dry_run"]) == 0
    assert cost_line(capsys.readouterr().out) in DOC.splitlines()


@pytest.mark.slow
def test_the_conversion_works_and_costs_what_is_said(capsys):
    ((_, _, *words),) = commands("tpu-images convert ")
    assert convert_task.main([*words, "--dry_run"]) == 0
    at_most = re.search(r"(\$[\d.]+) per hour for the 4", capsys.readouterr().out).group(1)
    assert f"| convert, 4 workers | {at_most} per hour at most |" in DOC


@pytest.mark.parametrize("price", re.findall(r"about (\$[\d.]+) per hour", DOC))
def test_the_table_says_what_the_commands_say(price):
    table = DOC[DOC.index("## What it costs") :]
    assert f"{price} per hour" in table


@pytest.mark.parametrize("path", re.findall(r"\]\(\.\./([^)]+)\)", DOC))
def test_links_lead_somewhere(path):
    assert (ROOT / path).exists()
