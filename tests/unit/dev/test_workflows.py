"""The workflows run what the Makefile has, with as few rights as that needs."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from dev.test_matrix import ROWS

ROOT = Path(__file__).parents[3]
WORKFLOWS = {path.stem: path.read_text() for path in sorted((ROOT / ".github" / "workflows").glob("*.yml"))}
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def workflow(name: str) -> dict[str, Any]:
    """A workflow."""
    document: dict[str, Any] = yaml.safe_load(WORKFLOWS[name])
    return document


def jobs() -> list[tuple[str, str, dict[str, Any]]]:
    """Every job of every workflow, with their names."""
    return [(name, job, value) for name in WORKFLOWS for job, value in workflow(name)["jobs"].items()]


JOBS = [pytest.param(job, id=f"{workflow_name}-{name}") for workflow_name, name, job in jobs()]


def steps_of(job: dict[str, Any]) -> list[dict[str, Any]]:
    """The steps of a job; one that calls another workflow has none."""
    steps: list[dict[str, Any]] = job.get("steps", [])
    return steps


def test_the_cluster_job_runs_what_ci_runs() -> None:
    """``make test``, as ``.ci/run`` does."""
    commands = [step["run"] for step in steps_of(workflow("ci")["jobs"]["cluster"]) if "run" in step]
    assert "make test" in commands
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-1] == "exec make test"


def test_the_pythons_are_those_of_the_classifiers() -> None:
    """A Python that is promised is tested (R38)."""
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    promised = [name.rpartition(" ")[2] for name in classifiers if re.search(r"Python :: 3\.\d", name)]
    assert workflow("ci")["jobs"]["unit"]["strategy"]["matrix"]["python"] == promised


def test_every_row_of_the_matrix_is_run() -> None:
    """The rows are those of ``make test-matrix`` (R38)."""
    assert workflow("matrix")["jobs"]["row"]["strategy"]["matrix"]["row"] == list(ROWS)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_may_only_read(name: str) -> None:
    """What a job needs beyond that, it says itself."""
    assert workflow(name)["permissions"] == {"contents": "read"}


def test_one_job_may_say_who_it_is() -> None:
    """The one that publishes, from an environment of its own, after everything else."""
    allowed = [(name, job, value["permissions"]) for name, job, value in jobs() if "permissions" in value]
    assert allowed == [("release", "publish", {"id-token": "write"})]
    publish = workflow("release")["jobs"]["publish"]
    assert publish["environment"] == "pypi"
    assert set(publish["needs"]) == set(workflow("release")["jobs"]) - {"publish"}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_no_workflow_has_a_secret(name: str) -> None:
    """There is none that could leak."""
    assert "secrets" not in WORKFLOWS[name]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_an_older_run_makes_way(name: str) -> None:
    """Of each workflow one run at a time, per branch or tag."""
    assert "github.ref" in workflow(name)["concurrency"]["group"]


@pytest.mark.parametrize("job", JOBS)
def test_a_job_ends(job: dict[str, Any]) -> None:
    """It has a timeout of its own, or is another workflow, which has them."""
    assert job.get("timeout-minutes", 999) <= 90 or job["uses"].startswith("./")


@pytest.mark.parametrize("job", JOBS)
def test_actions_are_named_by_commit(job: dict[str, Any]) -> None:
    """A tag can be moved."""
    for step in steps_of(job):
        assert "uses" not in step or re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step["uses"])


@pytest.mark.parametrize("job", JOBS)
def test_a_checkout_keeps_no_credentials(job: dict[str, Any]) -> None:
    """Else every later step could use them."""
    checkouts = [step for step in steps_of(job) if step.get("uses", "").startswith("actions/checkout@")]
    assert all(step["with"] == {"persist-credentials": False} for step in checkouts)


@pytest.mark.parametrize("job", JOBS)
def test_targets_exist(job: dict[str, Any]) -> None:
    """What follows ``make`` is a target of the Makefile."""
    commands = [re.sub(r"\$\{\{.*?\}\}", "", step.get("run", "")) for step in steps_of(job)]
    makes = [command.split()[1:] for command in commands if command.startswith("make ")]
    words = {word for command in makes for word in command if "=" not in word}
    assert words <= TARGETS
