"""The link from a task to its Job."""

from __future__ import annotations

from typing import Any, cast

import pytest
from airflow.sdk import Context

from airflow_script_provider.kube.job.launched import JobRef
from airflow_script_provider.operators import _base, node, script
from airflow_script_provider.operators.links import KubernetesJobLink

SETTING = "AIRFLOW__SCRIPT_PROVIDER__JOB_URL"
JOB = JobRef("etl", "script-load-7f3c01a2b9", "uid")


class Pushed:
    """The part of a task instance that takes XComs."""

    def __init__(self, error: Exception | None = None) -> None:
        self.xcoms: dict[str, Any] = {}
        self.error = error

    def xcom_push(self, key: str, value: Any) -> None:
        """Keep an XCom."""
        if self.error is not None:
            raise self.error
        self.xcoms[key] = value


class Linked(script.KubernetesScriptOperator):
    """An operator as a process has it that started with the setting."""

    operator_extra_links = (KubernetesJobLink(),)


@pytest.fixture(autouse=True)
def setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting as workers have it."""
    monkeypatch.setenv(SETTING, "https://dashboard.example/{namespace}/{job_name}")


def an_operator() -> Linked:
    """An operator with a link, which has launched nothing yet."""
    return Linked(task_id="load", script="echo")


def test_no_setting_no_link(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an address tasks have no link, rather than one that leads nowhere."""
    monkeypatch.delenv(SETTING)
    assert _base.job_links() == ()
    assert script.KubernetesScriptOperator.operator_extra_links == ()
    assert node.KubernetesNodeScriptOperator.operator_extra_links == ()


def test_the_setting_makes_the_link() -> None:
    """Tasks that launch Jobs have it once the setting says where it leads."""
    assert [link.name for link in _base.job_links()] == ["Kubernetes Job"]


def test_the_link_is_there_with_the_job() -> None:
    """It is pushed at the launch: Airflow itself pushes links when the task is over."""
    operator, ti = an_operator(), Pushed()
    operator.announce_job(cast("Context", {"ti": ti}), JOB)
    address = "https://dashboard.example/etl/script-load-7f3c01a2b9"
    assert ti.xcoms == {"_link_KubernetesJobLink": address}
    assert KubernetesJobLink().get_link(operator, ti_key=ti) == address  # type: ignore[arg-type]  # a stand-in


def test_a_task_without_a_job_has_no_address() -> None:
    """A task that failed before the launch has nothing to lead to."""
    assert KubernetesJobLink().address(an_operator()) == ""


def test_no_link_is_worth_a_run() -> None:
    """Where Airflow takes no XCom the script runs on."""
    operator = an_operator()
    operator.announce_job(cast("Context", {"ti": Pushed(RuntimeError("no answer"))}), JOB)
    assert operator.launched_job == JOB


def test_a_setting_that_leads_nowhere_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One message names the placeholder; the task goes on without a link."""
    operator, ti = an_operator(), Pushed()
    monkeypatch.setenv(SETTING, "https://dashboard.example/{cluster}")
    operator.announce_job(cast("Context", {"ti": ti}), JOB)
    assert KubernetesJobLink().get_link(operator, ti_key=ti) == ""  # type: ignore[arg-type]  # a stand-in
    assert ti.xcoms == {}
    assert capsys.readouterr().out.count("job_url has the placeholder {cluster}") == 1
