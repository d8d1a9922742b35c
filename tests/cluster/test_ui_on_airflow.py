"""What a person sees of a script in Airflow's web interface, in a real browser.

With SCREENSHOTS naming a folder the pictures of the documentation are written there (``make screenshots``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.cluster.airflow_start import Airflow
from tests.cluster.airflow_tasks import Run, RunningTask
from tests.cluster.browser import Entry, TaskPages, chromium, page_of, save_screenshot, screenshots, texts
from tests.cluster.kubectl import Kubectl

Runs = dict[str, Run]


@pytest.fixture(scope="module")
def runs(airflow: Airflow, kubectl: Kubectl) -> Runs:
    """A run of each DAG, all at the same time."""
    dags = ("sales_report", "sales_import", "sales_forecast", "node_disks", "sales_check")
    return {dag_id: Run(airflow, kubectl, dag_id, airflow.trigger(dag_id)) for dag_id in dags}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Page]:
    """A tab; of a test that fails it leaves a picture and the text."""
    failed = request.session.testsfailed
    with page_of(browser) as page:
        yield page
        if request.session.testsfailed > failed:
            page.screenshot(path=tmp_path / "page.png")
            print(f"{page.url} ({tmp_path}/page.png):\n{page.inner_text('body')}")


def pages(page: Page, task: RunningTask, state: str = "success") -> TaskPages:
    """The pages of a task that has come to its end."""
    assert task.ended() == state
    return TaskPages(page, task)


def picture(page: Page, name: str, height: int = 700) -> None:
    """A picture for the documentation, where they are wanted."""
    if folder := screenshots():
        save_screenshot(page, folder / f"{name}.png", height)


def picture_of_log(task: TaskPages, name: str, height: int = 700) -> None:
    """A picture of the page Logs with all that a line says."""
    if screenshots():
        task.make_presentable()
        picture(task.page, name, height)


def at(level: str, entries: list[Entry]) -> list[str]:
    """The texts at a level."""
    return [entry.text for entry in entries if entry.level == level]


def test_log_of_a_success(page: Page, runs: Runs) -> None:
    """The script's lines stand as printed; installation and Airflow's own lines are folded away (R23)."""
    task = pages(page, runs["sales_report"]["report"])
    task.logs("completed in")
    entries = task.entries()
    printed = task.task.xcom()["output"].splitlines()
    shown = texts(entries)
    start = shown.index(printed[0])
    assert shown[start : start + len(printed)] == printed
    assert [shown.count(line) for line in printed] == [1] * len(printed)
    assert "Installing dependencies" in [entry.text for entry in entries if entry.is_group]
    assert not any("tabulate-0.9.0" in line for line in shown)
    assert {entry.level for entry in entries if not entry.is_group} <= {"info", ""}
    picture_of_log(task, "log-success")


def test_folded_groups_can_be_unfolded(page: Page, runs: Runs) -> None:
    """pip's lines stand in the group of the installation and nowhere else."""
    task = pages(page, runs["sales_report"]["report"])
    task.logs("completed in")
    task.unfold_all()
    shown = texts(task.entries())
    (installed,) = [number for number, line in enumerate(shown) if "Successfully installed tabulate-0.9.0" in line]
    assert shown.index("Installing dependencies") < installed < shown.index(task.task.xcom()["output"].split("\n")[0])


def test_log_of_a_failure(page: Page, runs: Runs) -> None:
    """One line at ERROR, and it says which Job, what was seen and what to do in its first line (R22)."""
    task = pages(page, runs["sales_import"]["load"], "failed")
    task.logs("Task failed with exception")
    entries = task.entries()
    (error,) = at("error", entries)
    job = task.task.xcom()["job_name"]
    reason = next(line for line in error.splitlines() if job in line)
    assert re.search(rf"Job \S+/{job} failed: exit code 1: TypeError: float\(\) argument must be", reason)
    assert texts(entries).count("importing order 2") == 1
    picture_of_log(task, "log-failure", 900)


def test_log_of_a_script_that_cannot_be_read(page: Page, runs: Runs) -> None:
    """The path that was tried; and there is no link to a Job that never was."""
    task = pages(page, runs["sales_import"]["clean"], "failed")
    task.logs("Task failed with exception")
    (error,) = at("error", task.entries())
    assert "script file 'scripts/clean.py' does not exist" in error.replace("file://", "")
    task.details()
    expect(page.get_by_role("link", name="Kubernetes Job")).to_have_count(0)


def test_log_of_a_deferred_script(page: Page, runs: Runs) -> None:
    """Lines of worker, triggerer and worker stand in the order in which they were written, each once (R20)."""
    runs["sales_forecast"]["forecast"].end_deferral()
    task = pages(page, runs["sales_forecast"]["forecast"])
    task.logs("completed in")
    shown = texts(task.entries())
    weeks = [f"week {n} of 6" for n in range(1, 7)]
    begins = [" created. ", "the triggerer follows it", *weeks, "Trigger fired event", " completed in "]
    places = [[number for number, line in enumerate(shown) if begin in line] for begin in begins]
    assert [len(found) for found in places] == [1] * len(begins)
    assert places == sorted(places)
    picture_of_log(task, "log-deferred", 900)


@pytest.mark.parametrize("task_id", ["in_a_worker", "deferred", "on_nodes"])
def test_a_group_of_a_script_hides_nothing_that_follows(page: Page, runs: Runs, task_id: str) -> None:
    """A group that a script leaves open ends with its container, and a marker inside a line is text (R22)."""
    if task_id == "deferred":
        runs["sales_check"][task_id].end_deferral()
    task = pages(page, runs["sales_check"][task_id], "failed")
    task.logs("Task failed with exception")
    entries = task.entries()
    (error,) = at("error", entries)
    assert "exit code 4" in error or "exit 4" in error
    assert not any(line == "nothing to see" for line in texts(entries))
    task.unfold_all()
    expect(page.get_by_text("nothing to see").first).to_be_visible()
    shown, count = texts(task.entries()), 2 if task_id == "on_nodes" else 1
    assert [shown.count(line) for line in ("no such table :\u200b:endgroup::", "nothing to see")] == [count, count]


def test_log_of_a_script_on_nodes(page: Page, runs: Runs, kubectl: Kubectl) -> None:
    """Each node's run is one folded group that says how it ended; its lines are inside."""
    task = pages(page, runs["node_disks"]["disks"])
    nodes = sorted(task.task.xcom()["nodes"])
    task.logs(" 2 ")
    groups = [entry.text for entry in task.entries() if entry.is_group]
    for node in nodes:
        assert len([title for title in groups if node in title]) == 1
    assert not any("looking at the disk" in line for line in texts(task.entries()))
    picture_of_log(task, "log-nodes", 600)
    task.unfold_all()
    shown = texts(task.entries())
    assert sorted(line for line in shown if "looking at the disk" in line) == [
        f"looking at the disk of {node}" for node in nodes
    ]


def test_rendered_templates(page: Page, runs: Runs) -> None:
    """The script is text and coloured, resources are JSON, values of env and args are hidden (R26)."""
    task = pages(page, runs["sales_report"]["report"])
    fields = task.rendered_templates()
    picture(page, "rendered-templates", 1100)
    script = fields["script"].text_content() or ""
    assert "rows = [(shop, 10 * (number + 1))" in script
    expect(fields["script"].locator("span.token").nth(5)).to_be_attached()
    expect(fields["container_resources"]).to_contain_text('"memory": "256Mi"')
    expect(fields["env"]).to_contain_text("CURRENCY, API_KEY (values hidden)")
    expect(fields["args"]).to_contain_text("shops, day (values hidden)")
    expect(fields["install_dependencies"]).to_contain_text("tabulate==0.9.0")
    assert "environment-secret" not in page.inner_text("body")


def test_xcom(page: Page, runs: Runs) -> None:
    """The API has the result and the value that the script printed; the page lists and shows them."""
    task = pages(page, runs["sales_report"]["report"])
    assert task.task.xcom("value") == {"shops": 3, "total": 60}
    assert task.task.xcom()["value"] == {"shops": 3, "total": 60}
    assert {"return_value", "value"} <= set(task.xcoms())
    task.xcom_line("total")
    picture(page, "xcom", 1000)


@pytest.mark.parametrize(("dag_id", "task_id"), [("sales_report", "report"), ("sales_import", "load")])
def test_link_to_the_job(page: Page, runs: Runs, dag_id: str, task_id: str) -> None:
    """It leads to where the setting job_url says, for a failure too."""
    task = pages(page, runs[dag_id][task_id], "failed" if task_id == "load" else "success")
    task.details()
    link, result = page.get_by_role("link", name="Kubernetes Job"), task.task.xcom()
    link.wait_for()
    picture(page, "link-to-the-job", 500)
    with page.expect_popup() as popup:
        link.click()
    expect(popup.value).to_have_url(
        re.compile(rf"^http://127\.0\.0\.1:\d+/{result['namespace']}/{result['job_name']}$")
    )
    popup.value.close()
