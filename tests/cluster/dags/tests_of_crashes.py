"""A DAG whose worker processes die after each of their calls of the Kubernetes API."""

from __future__ import annotations

import os
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from airflow.sdk import DAG

from airflow_script_provider.operators.script import KubernetesScriptOperator
from tests.cluster.dying import die_after
from tests.cluster.told_to_end import UNTIL_TOLD
from tests.patience import LONG

NAMESPACE = os.environ.get("TEST_NAMESPACE", "default")
DEPLOYMENT = os.environ.get("TEST_DEPLOYMENT", "one")
"""The value of a variable: tries of two deployments ask for the same, and cannot tell their Jobs apart by it."""
CALLS = {"worker": 16, "deferred": 10}
"""More than the workers of a run make, by the task that it is walked with."""
PAUSE = {"worker": "time.sleep(2)", "deferred": UNTIL_TOLD}
"""A scheduler that hears of a deferral only when the task runs again takes it for lost: that is Airflow's."""
LAST_CALL = "patch jobs"
EFFECT = """
import json, os, ssl, sys, time, urllib.request

walk, number = json.loads(sys.argv[1])
PAUSE
account = "/var/run/secrets/kubernetes.io/serviceaccount"
token, namespace = (open(f"{account}/{name}").read() for name in ("token", "namespace"))
server = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}"
labels = {"effect-of": f"{walk}-{number}", "deployment": os.environ["DEPLOYMENT"]}
body = {"metadata": {"generateName": "effect-", "labels": labels}}
request = urllib.request.Request(
    f"{server}/api/v1/namespaces/{namespace}/configmaps",
    json.dumps(body).encode(),
    {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
)
urllib.request.urlopen(request, context=ssl.create_default_context(cafile=f"{account}/ca.crt"))
print(json.dumps(os.environ["DEPLOYMENT"]))
"""


class Walked(KubernetesScriptOperator):
    """Its first try dies after as many calls as its map index says; that of index 0 after the very last one."""

    def pre_execute(self, context: Any) -> None:
        """Count the calls of both processes of a try that is deferred."""
        ti = context["ti"]
        if ti.try_number == 1:
            calls = Path(os.environ["AIRFLOW_HOME"]) / f"calls-{ti.run_id}-{ti.task_id}-{ti.map_index}"
            die_after(partial(_is_last, calls, ti.map_index))
        else:  # it would be resumed at once: Airflow fails a task whose deferral its scheduler has not heard of
            self.defer_after = LONG


def _is_last(calls: Path, last: int, number: int, call: str) -> bool:
    """Note the call, then say whether it was the last one. A watch that is opened anew, as time has it, counts once."""
    with calls.open("a") as file:
        file.write(f"{call}\n")
    made = calls.read_text().splitlines()
    watches = [one for one in made if one.startswith("watch ")]
    return len(made) - len(watches) + len(set(watches)) == last or (last == 0 and call == LAST_CALL)


with DAG("crashes", schedule=None):
    for walk, calls in CALLS.items():
        Walked.partial(
            task_id=walk,
            namespace=NAMESPACE,
            script=EFFECT.replace("PAUSE", PAUSE[walk]),
            service_account_name="effects",
            env={"DEPLOYMENT": DEPLOYMENT},
            deferrable=walk == "deferred",
            defer_after=0,
            timeout=LONG,
            startup_timeout=LONG,
            ttl_seconds_after_finished=2,
            retries=1,
            retry_delay=timedelta(seconds=1),
        ).expand(args=[[walk, number] for number in range(calls)])
