"""The messages of the page on troubleshooting, held against the code that says them."""

from __future__ import annotations

import ast
import re

import pytest

from airflow_script_provider.kube.job.diagnosis import hint_for
from airflow_script_provider.kube.request.provision import program
from benchmarks.tables import table, tables
from tests.docs import messages
from tests.docs.markdown import ROOT, blocks, page

PAGE = page("docs/troubleshooting.md")
QUOTED = blocks(PAGE, "text")
# What takes a cluster, a server or an Airflow to be said; what stands between the {} is literal in the sources.
SPELT = [
    "no answer from the API server {}. Check the Kubernetes connection and the network.",
    "not a Kubernetes API answer from {} to {}an HTML page{} (status {}). "
    "Check the Kubernetes connection and proxies on the way.",
    "Job {} could not be marked as read: {}",
    "The right to patch jobs is missing, so the Job is not kept longer until its outcome is read. "
    "Check: kubectl auth can-i patch jobs -n {}",
    "Events cannot be read, so reasons may be missing: {}",
    "{} answered {}. {}The script does not exist, or is hidden from {}user {} of connection {}",
    "{} answered with an HTML page, perhaps a login page; use the raw URL",
    "s3:{}bucket {} has no object {}",
    "s3:{}access denied ({}) to {}, which needs {}",
    "gs:{}access denied to {}, which needs storage.objects.get",
    "{} makes the Job too large: {} bytes, and the API server can store {}; "
    "a Job names each of arguments and env: pass many values as one, in args, or as a file, through files=…",
    "Job {} is still running; the triggerer follows it",
    "The triggerer could not follow the Job, so a worker does: {}",
    "Reattached to Job {} of try {}, whose worker was lost. Its log is repeated from the start. Look at it: {}",
    'the API server refused to {}Nodes may only be listed with a ClusterRole; nodes=["a", "b"] needs none.',
]


@pytest.fixture(scope="module")
def produced() -> list[str]:
    """What the code says."""
    return messages.produced()


@pytest.fixture(scope="module")
def literals() -> list[str]:
    """Every text in the package's sources, f-strings in pieces."""
    files = (ROOT / "airflow_script_provider").rglob("*.py")
    trees = (ast.parse(file.read_text()) for file in files)
    nodes = (node for tree in trees for node in ast.walk(tree))
    return [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def test_a_quoted_message_is_what_the_code_says(produced: list[str]) -> None:
    """Word for word, with the lines that belong to it."""
    said = {*produced, *(quoted for quoted in QUOTED if any(_is(quoted, template) for template in SPELT))}
    assert [quoted for quoted in QUOTED if quoted not in said] == []


def test_every_message_is_quoted(produced: list[str]) -> None:
    """What is made for the page stands on it."""
    assert [message for message in produced if message not in QUOTED] == []


@pytest.mark.parametrize("template", SPELT)
def test_the_words_of_a_quoted_message_stand_in_the_sources(template: str, literals: list[str]) -> None:
    """Its literal parts; and it is on the page."""
    assert [part for part in template.split("{}") if not any(part in literal for literal in literals)] == []
    assert [quoted for quoted in QUOTED if _is(quoted, template)]


def test_the_advice_is_what_the_code_advises() -> None:
    """The table of the scheduler's words."""
    for row in table(PAGE, "it says"):
        for said in re.findall(r"`([^`]+)`", row["it says"]):
            assert hint_for(said) == row["we advise"].strip("`")


def test_the_causes_of_the_installer_are_its_own() -> None:
    """The table of what cannot be installed."""
    rows = next(rows for rows in tables(PAGE) if list(rows[0]) == ["it says", "meaning"])
    said = [row["it says"].strip("`") for row in rows]
    assert [words for words in said if words not in program("install_dependencies.py")] == []


def test_every_symptom_has_its_section() -> None:
    """The table at the top leads to all of them."""
    sections = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
    linked = re.findall(r"\]\(#([^)]+)\)", PAGE.partition("\n## ")[0])
    slugs = [re.sub(r"[^\w\- ]", "", section.lower()).replace(" ", "-") for section in sections]
    assert sorted(linked) == sorted(slugs)


def _is(quoted: str, template: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, template.split("{}"))), quoted) is not None
