"""DAGs of the tests that need a whole Airflow."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, task

from airflow_script_provider.hooks import _task_run
from airflow_script_provider.kube.kill import EarlyEnd, meaning_of_kill
from airflow_script_provider.operators.node import KubernetesNodeScriptOperator
from airflow_script_provider.operators.script import KubernetesScriptOperator
from airflow_script_provider.sources import HttpScript
from tests.cluster.told_to_end import UNTIL_TOLD
from tests.patience import LONG

SCRIPT_URL = os.environ.get("TEST_SCRIPT_URL", "http://127.0.0.1:1")
NAMESPACE = os.environ.get("TEST_NAMESPACE", "default")


class NotesAnswers(KubernetesScriptOperator):
    """Notes what Airflow says of the task when it is killed: in a file, because its log goes through Airflow."""

    def pre_execute(self, context: Any) -> None:
        """Do so in the process of this try."""
        notes = Path(os.environ["AIRFLOW_HOME"]) / f"answer-{context['run_id']}"

        def note(state: str | None) -> EarlyEnd:
            notes.write_text(str(state))
            return meaning_of_kill(state)

        _task_run.meaning_of_kill = note  # type: ignore[attr-defined,assignment]  # it is imported there, and takes more


with DAG("sleeps", schedule=None):
    KubernetesScriptOperator(
        task_id="sleep",
        namespace=NAMESPACE,
        script=f"import time\nprint('asleep')\ntime.sleep({LONG})",
        timeout=LONG,
        termination_grace_period=1,
    )

with DAG("counts", schedule=None):
    EmptyOperator(task_id="other")
    NotesAnswers(
        task_id="count",
        namespace=NAMESPACE,
        script=f"for i in range(8):\n    print('n', i)\n{UNTIL_TOLD}for i in range(8, 15):\n    print('n', i)",
        timeout=LONG,
        termination_grace_period=1,
        retries=1,
        retry_delay=timedelta(seconds=1),
    )

with DAG("fails", schedule=None):
    KubernetesScriptOperator(
        task_id="fail",
        namespace=NAMESPACE,
        script="print('before')\nraise SystemExit(3)",
        backoff_limit=0,
    )

with DAG("prints", schedule=None):
    printed: Any = KubernetesScriptOperator(
        task_id="print",
        namespace=NAMESPACE,
        script="""print('{"wei": 1180591620717411303424, "__example__": [1]}')""",
    )

    @task
    def read(value: Any) -> Any:
        """Give back what a downstream task gets."""
        return value

    read(printed.output["value"])

with DAG("hides", schedule=None):
    secretive: dict[str, Any] = {
        "namespace": NAMESPACE,
        "script": "import os, sys, time\nprint('DEBUG is', os.environ['LOG_LEVEL'])\n"
        "print('key', os.environ['API_KEY'], 'named', os.environ['PARTNER'])\nprint(sys.argv[1])\n"
        "time.sleep(int(os.environ['SECONDS_LEFT']))\nprint('once more', os.environ['API_KEY'])",
        "args": {"password": "argument-secret", "plain": "readable", "conn": "{{ conn.partner_api.password }}"},
        "env": {
            "LOG_LEVEL": "DEBUG",
            "API_KEY": "environment-secret",
            "PARTNER": "{{ conn.partner_api.password }}",
            "SECONDS_LEFT": "0",
        },
    }
    KubernetesScriptOperator(task_id="hide", **secretive)
    secretive["env"] = secretive["env"] | {"SECONDS_LEFT": "6"}
    KubernetesScriptOperator(task_id="hide_deferred", deferrable=True, defer_after=0, **secretive)
    KubernetesNodeScriptOperator(task_id="hide_on_nodes", nodes=["node-1"], deferrable=True, **secretive)

with DAG("fetches", schedule=None):
    scripts: dict[str, Any] = {
        "fetch": HttpScript(
            f"{SCRIPT_URL}/echo.sh?sig={{{{ var.value.signature }}}}",
            headers={"X-Api-Key": "{{ conn.partner_api.password }}"},
        ),
        "denied": HttpScript(f"{SCRIPT_URL}/denied.sh?sig={{{{ var.value.signature }}}}", conn_id="partner_api"),
        "presigned": f"{{{{ '{SCRIPT_URL}/echo.sh?sig=' + var.value.signature }}}}",
    }
    for task_id, script in scripts.items():
        KubernetesScriptOperator(task_id=task_id, namespace=NAMESPACE, script=script)
