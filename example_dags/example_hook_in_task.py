"""Run two scripts from one Python task. The second one uses the result of the first."""

from __future__ import annotations

from airflow.sdk import dag, task

from airflow_script_provider.hooks.script import KubernetesScriptHook

COUNT = "import json, sys\nprint(json.dumps(len(json.loads(sys.argv[1]))))"
SQUARE = "import json, sys\nprint(json.loads(sys.argv[1])['n'] ** 2)"


@dag(schedule=None, tags=["script-provider"])
def example_hook_in_task():
    @task
    def two_scripts() -> int:
        hook = KubernetesScriptHook()
        count = hook.run(COUNT, args=["a", "b", "c"])
        square = hook.run(SQUARE, args={"n": count.value})
        return square.value

    two_scripts()


example_hook_in_task()
