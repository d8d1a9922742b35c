"""The hook from any Python code: launched, followed and deleted one by one, or run in a task of its own."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest
from airflow.sdk import BaseOperator
from airflow.sdk.execution_time.context import set_current_context
from airflow.sdk.execution_time.timeout import timeout as airflow_timeout

from airflow_script_provider._airflow import AirflowTaskTimeout
from airflow_script_provider._task_identity import current_task
from airflow_script_provider.exceptions import LaunchError, RunKilledError, ScriptFailedError
from airflow_script_provider.hooks.script import KubernetesScriptHook, ScriptTaskRun
from airflow_script_provider.jobs import read_mark
from tests.cluster.kubectl import Kubectl
from tests.cluster.tasks import FakeTaskInstance
from tests.patience import PATIENCE, wait_for
from tests.state_store import StateStore
from tests.task_runs import inputs_and_options

ENDLESS = "import time\ntime.sleep(600)"


@pytest.mark.parametrize("blocking", [True, False], ids=["follow", "afollow"])
def test_launched_job_is_followed_to_its_result(kubeconfig: str, namespace: str, blocking: bool) -> None:
    """``launch`` returns at once with the Job, ``follow`` and ``afollow`` return its result (R2)."""
    hook = KubernetesScriptHook(config_file=kubeconfig)
    request = hook.prepare("print('[1]')", namespace=namespace)
    ref = hook.launch(request)
    result = hook.follow(request, ref) if blocking else asyncio.run(hook.afollow(request, ref))
    assert (result.job_name, result.value) == (ref.name, [1])


def test_time_counts_from_the_launch(kubeconfig: str, namespace: str, kubectl: Kubectl) -> None:
    """A Job that is followed late has run for as long as since its launch (R29)."""
    hook = KubernetesScriptHook(config_file=kubeconfig)
    request = hook.prepare("print('[1]')", namespace=namespace)
    ref = hook.launch(request)
    kubectl("wait", f"job/{ref.name}", "-n", namespace, "--for=condition=complete", f"--timeout={PATIENCE:g}s")
    job = kubectl.items("jobs", namespace)[0]
    lasted = datetime.fromisoformat(job["status"]["completionTime"]) - datetime.fromisoformat(
        job["metadata"]["creationTimestamp"]
    )
    assert hook.follow(request, ref).execution_time >= lasted.total_seconds()


def test_a_kill_before_it_follows_deletes_the_job(kubeconfig: str, namespace: str, kubectl: Kubectl) -> None:
    """A kill between launch and follow leaves nothing behind, and the error says so (R3)."""
    hook = KubernetesScriptHook(config_file=kubeconfig)
    request = hook.prepare(ENDLESS, termination_grace_period=1, namespace=namespace)
    ref = hook.launch(request)
    hook.kill()
    with pytest.raises(RunKilledError, match=f"Job {ref} is deleted"):
        hook.follow(request, ref)
    wait_for(lambda: not kubectl.names("jobs,pods", namespace), "the end of Job and pods")


def test_a_killed_task_deletes_the_jobs_of_its_threads(kubeconfig: str, namespace: str, kubectl: Kubectl) -> None:
    """Airflow's handler of SIGTERM calls ``on_kill`` of a ``@task`` that runs scripts in three threads (R3)."""
    task = BaseOperator(task_id="task")
    arguments: dict[str, Any] = {"termination_grace_period": 1, "namespace": namespace}

    def run() -> None:
        with pytest.raises(RunKilledError, match="is deleted"):
            KubernetesScriptHook(config_file=kubeconfig).run(ENDLESS, **arguments)

    ti: Any = FakeTaskInstance()
    ti.task = task
    with set_current_context({"ti": ti}), ThreadPoolExecutor(3) as threads:
        runs = [threads.submit(run) for _ in range(3)]
        wait_for(lambda: len(kubectl.names("pods", namespace)) == 3, "three pods")
        task.on_kill()
        for one in runs:
            one.result(PATIENCE)
    wait_for(lambda: not kubectl.names("jobs,pods", namespace), "the end of Jobs and pods")


async def test_cancelled_while_it_connects_it_deletes_the_job(
    kubeconfig: str, namespace: str, kubectl: Kubectl
) -> None:
    """Whatever moment ``afollow`` is cancelled at, nothing is left behind (R3)."""
    hook = KubernetesScriptHook(config_file=kubeconfig)
    request = await asyncio.to_thread(hook.prepare, ENDLESS, termination_grace_period=1, namespace=namespace)
    ref = await asyncio.to_thread(hook.launch, request)
    following = asyncio.create_task(hook.afollow(request, ref))
    await asyncio.sleep(0)
    following.cancel()
    with pytest.raises(asyncio.CancelledError) as cancelled:
        await following
    assert cancelled.value.__notes__ == [f"Job {ref} is deleted."]
    await asyncio.to_thread(wait_for, lambda: not kubectl.names("jobs,pods", namespace), "the end of Job and pods")


def test_a_failure_that_is_followed_is_raised_with_its_result(kubeconfig: str, namespace: str) -> None:
    """What was asked of ``prepare`` holds for the follower: the result keeps that much output (R22)."""
    hook = KubernetesScriptHook(config_file=kubeconfig)
    request = hook.prepare("print('0123456789'); exit(3)", max_output_bytes=4, backoff_limit=0, namespace=namespace)
    with pytest.raises(ScriptFailedError, match="exit code 3") as caught:
        hook.follow(request, hook.launch(request))
    assert (caught.value.exit_code, caught.value.result.output) == (3, "789\n")


@pytest.mark.parametrize("is_followed", [False, True])
def test_a_request_is_launched_once(is_followed: bool, kubeconfig: str, namespace: str, kubectl: Kubectl) -> None:
    """No other launch gets its outcome, or deletes its Job (R2, R6, R8)."""
    hook = KubernetesScriptHook(config_file=kubeconfig)
    request = hook.prepare("print('[1]')", env={"A": "b"}, namespace=namespace)
    ref = hook.launch(request)
    if is_followed:
        hook.follow(request, ref)
    with pytest.raises(LaunchError, match=f"Job {ref} of this request was launched already"):
        hook.launch(request)
    assert kubectl.names("jobs", namespace) == [ref.name]
    assert is_followed or hook.follow(request, ref).value == [1]


def test_deleted_job_is_gone(kubeconfig: str, namespace: str, kubectl: Kubectl) -> None:
    """delete says whether there was a Job to delete, and takes along what it owned (R3)."""
    hook = KubernetesScriptHook(config_file=kubeconfig)
    arguments: dict[str, Any] = {
        "script": "import time\ntime.sleep(120)",
        "env": {"A": "b"},
        "termination_grace_period": 1,
    }
    ref = hook.launch(hook.prepare(**arguments, namespace=namespace))
    assert hook.delete(ref) is True
    ours = ("-l", "app.kubernetes.io/managed-by=airflow-script-provider")
    wait_for(lambda: not kubectl.names("jobs,pods,secrets,configmaps", namespace, *ours), "the end of all")
    assert hook.delete(ref) is False


def test_a_deleted_job_that_a_finalizer_holds_has_no_pods(kubeconfig: str, namespace: str, kubectl: Kubectl) -> None:
    """Another program may hold the Job for as long as it likes: its script ends now (R3, R5)."""
    hook = KubernetesScriptHook(config_file=kubeconfig)
    ref = hook.launch(hook.prepare(ENDLESS, termination_grace_period=1, namespace=namespace))
    wait_for(lambda: kubectl.names("pods", namespace), "the pod")
    of_the_job = ("patch", f"job/{ref.name}", "-n", namespace, "--type=merge", "-p")
    kubectl(*of_the_job, '{"metadata": {"finalizers": ["example.com/keep"]}}')
    try:
        assert hook.delete(ref) is True
        wait_for(lambda: not kubectl.names("pods", namespace), "the end of the pod")
        assert kubectl.names("jobs", namespace) == [ref.name]
    finally:
        kubectl(*of_the_job, '{"metadata": {"finalizers": null}}')
    wait_for(lambda: not kubectl.names("jobs", namespace), "the end of the Job")


def test_two_runs_in_one_task_are_two_jobs(kubeconfig: str, namespace: str, kubectl: Kubectl) -> None:
    """Each run in a task is a launch of its own, and both Jobs are found by the task instance (R2)."""
    context: Any = {"ti": FakeTaskInstance()}
    hook = KubernetesScriptHook(config_file=kubeconfig)
    with set_current_context(context):
        results = [hook.run("print('[1]')", namespace=namespace) for _ in range(2)]
    assert [result.value for result in results] == [[1], [1]]
    jobs = kubectl.items("jobs", namespace)
    assert {job["metadata"]["name"] for job in jobs} == {result.job_name for result in results}
    assert len({job["metadata"]["labels"]["airflow-script-provider/task-instance"] for job in jobs}) == 1


def test_a_retry_that_skips_a_run_takes_over_the_right_one(kubeconfig: str, namespace: str, kubectl: Kubectl) -> None:
    """Equal requests are told apart by their values: no run gets the outcome of another one (R1, R2)."""
    hook, store = KubernetesScriptHook(config_file=kubeconfig), StateStore()
    common: dict[str, Any] = {"script": "import sys\nprint(sys.argv[1])", "namespace": namespace}
    of_day = {day: common | {"args": {"day": day}} for day in (1, 2, 3)}
    first, second = (FakeTaskInstance(try_number=number, max_tries=1, store=store) for number in (1, 2))
    contexts: list[Any] = [{"ti": ti, "task_state_store": store} for ti in (first, second)]
    with set_current_context(contexts[0]):
        run = ScriptTaskRun(hook.cluster, hook.log)
        requests = [run.prepare(*inputs_and_options(**of_day[day]), task=current_task()) for day in (1, 2)]
        lost = hook.launch(requests[1])
    with set_current_context(contexts[1]):
        results = {day: hook.run(**of_day[day]) for day in (2, 3)}
    assert {day: result.value for day, result in results.items()} == {2: {"day": 2}, 3: {"day": 3}}
    assert results[2].job_name == lost.name
    assert len(kubectl.names("jobs", namespace)) == 2


def test_code_without_time_leaves_a_success_to_the_next_try(
    kubeconfig: str, namespace: str, kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``execution_timeout`` of a ``@task`` whose script has ended: it does not run again (R1, R2, R5)."""
    hook, store = KubernetesScriptHook(config_file=kubeconfig), StateStore()
    tries = [FakeTaskInstance(try_number=number, max_tries=1, store=store) for number in (1, 2)]
    contexts: list[Any] = [{"ti": ti, "task_state_store": store} for ti in tries]

    async def too_late(*_: Any, **__: Any) -> None:
        raise AirflowTaskTimeout

    with monkeypatch.context() as patch, set_current_context(contexts[0]):
        patch.setattr(read_mark, "close", too_late)
        with pytest.raises(AirflowTaskTimeout):
            hook.run("print('[1]')", namespace=namespace)
    left = kubectl.names("jobs", namespace)
    with set_current_context(contexts[1]):
        result = hook.run("print('[1]')", namespace=namespace)
    assert (result.value, [result.job_name]) == ([1], left)


def test_code_without_time_ends_its_script(kubeconfig: str, namespace: str, kubectl: Kubectl) -> None:
    """``execution_timeout`` of a ``@task``: the Job and its pod are gone when the next try may begin (R5, R10)."""
    context: Any = {"ti": FakeTaskInstance(max_tries=1)}
    with set_current_context(context), pytest.raises(AirflowTaskTimeout), airflow_timeout(8):  # type: ignore[no-untyped-call]  # not in the SDK
        KubernetesScriptHook(config_file=kubeconfig).run(ENDLESS, termination_grace_period=1, namespace=namespace)
    wait_for(lambda: not kubectl.names("jobs,pods", namespace), "the end of Job and pods")
