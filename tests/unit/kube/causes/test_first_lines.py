"""The first line of a failure: whatever the names are, it has the word that decides."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from airflow_script_provider.kube.job.diagnosis import Case, diagnose
from airflow_script_provider.kube.job.verdict import Cause
from airflow_script_provider.kube.wording import MAX_HEADLINE
from airflow_script_provider.result import Category
from tests.builders import a_case, a_pod
from tests.causes import EXAMPLES, IMAGE

ORDINARY = ("data-platform", "script-load-orders-into-warehouse-1a2b3c4d5e")
LONGEST = ("n" * 63, "j" * 63)
"""As long as Kubernetes allows."""
OF_JOBS = [example for example in EXAMPLES if isinstance(example.seen, Case)]
SINGLE = re.compile(r"(?<![\\w-])load(?=[-\":])")
# Where neither the category nor Kubernetes' word is what a reader looks for.
WORDS = {
    Category.FAILED_CREATE: "webhook timed out",
    Category.SCHEDULE_TIMEOUT: "no pod was created|is suspended",
    Category.STARTUP_TIMEOUT: "is starting on node-1",
    Category.EXCEEDED_QUOTA: "(exceeded|failed) quota",
    Category.POD_SECURITY: "violates PodSecurity",
    Category.LIMIT_RANGE: "maximum memory usage",
    Category.ADMISSION_DENIED: "denied its pod: (mount secrets as files|images need a digest)",
    Category.SERVICE_ACCOUNT_NOT_FOUND: 'serviceaccount "loader" not found',
    Category.UNSCHEDULABLE: "Insufficient memory",
    Category.IMAGE_NOT_FOUND: "not found",
    Category.IMAGE_UNAUTHORIZED: "401 Unauthorized",
    Category.ERR_IMAGE_PULL: "no such host",
    Category.FAILED_MOUNT: 'secret "keys" not found',
    Category.FAILED_ATTACH_VOLUME: "Multi-Attach error",
    Category.FAILED_CREATE_POD_SANDBOX: "failed to setup network",
    Category.CREATE_CONTAINER_CONFIG_ERROR: 'secret "db" not found',
    Category.START_ERROR: "permission denied|failed to mount",
    Category.PROGRAM_NOT_FOUND: 'has no "ruby"|`ruby` not found',
    Category.INIT_CONTAINER_FAILED: "exit code 3",
    Category.INSTALL_FAILED: "no matching distribution",
    Category.PACKAGE_INDEX_UNREACHABLE: "no matching distribution|Request failed",
    Category.STORAGE_LIMIT_EXCEEDED: "exceeds the (total )?limit",
    Category.POD_DELETED: "was deleted",
    Category.JOB_DELETED: "was deleted",
    Category.STOPPED: "failed liveness probe|Liveness probe failed",
    Category.KILLED: "SIGKILL",
    Category.SIGNALED: "SIGSEGV",
    Category.COMMAND_NOT_FOUND: "command not found",
    Category.NOT_EXECUTABLE: "Permission denied|cannot be executed|Exec format error",
    Category.ERROR: "exit code 3|TypeError|index out of range|no orders",
    Category.MODULE_NOT_FOUND: "ModuleNotFoundError|Cannot find module|LoadError|no package called",
    Category.SYNTAX_ERROR: "[Ss]yntax ?[Ee]rror",
    Category.MEMORY_ERROR: "MemoryError|heap out of memory",
    Category.FILE_NOT_FOUND: "FileNotFoundError",
    Category.PERMISSION_DENIED: "Permission denied",
    Category.MISSING_CAPABILITY: "Operation not permitted",
    Category.READ_ONLY_FILE_SYSTEM: "Read-only file system",
    Category.NO_SPACE_LEFT: "No space left",
    Category.NAME_NOT_RESOLVED: "name resolution|Could not resolve host",
    Category.CONNECTION_REFUSED: "Connection refused",
    Category.HOST_UNREACHABLE: "timed out|No route to host",
    Category.AUTHENTICATION_FAILED: "authentication failed",
    Category.CERTIFICATE_INVALID: "self-signed",
    Category.NO_ANSWER: "did not report",
    Category.UNKNOWN: "no reason given",
}


def named(case: Case, namespace: str, job: str) -> Case:
    """The case of a Job of these names, also in what Kubernetes says."""

    def renamed(thing: Any) -> Any:
        if isinstance(thing, dict):
            return {key: renamed(value) for key, value in thing.items()}
        if isinstance(thing, list | tuple):
            return type(thing)(renamed(part) for part in thing)
        return SINGLE.sub(job, thing) if isinstance(thing, str) else thing

    verdict = replace(case.verdict, message=renamed(case.verdict.message))
    view = replace(case.view, pods={uid: renamed(pod) for uid, pod in case.view.pods.items()})
    return replace(case, job=f"{namespace}/{job}", verdict=verdict, view=view, warnings=renamed(tuple(case.warnings)))


@pytest.mark.parametrize("names", [ORDINARY, LONGEST], ids=["ordinary", "longest"])
@pytest.mark.parametrize("example", OF_JOBS, ids=lambda example: f"{example.category}-{example.message()[:40]}")
def test_the_deciding_word_is_in_the_first_line(example: Any, names: tuple[str, str]) -> None:
    """Of every recorded cause, with names as long as Kubernetes allows (R22)."""
    headline = diagnose(named(example.seen, *names)).headline
    assert len(headline) <= MAX_HEADLINE
    assert re.search(WORDS.get(example.category, str(example.reason)), headline)
    assert names[1] in headline
    if names is LONGEST:
        assert headline.count(names[1]) == 1


@pytest.mark.parametrize("names", [("etl", "load"), ORDINARY])
@pytest.mark.parametrize("example", OF_JOBS, ids=lambda example: f"{example.category}-{example.message()[:40]}")
def test_ordinary_names_stay_whole(example: Any, names: tuple[str, str]) -> None:
    """They can be given to kubectl; only a line that does not fit loses the namespace (R22)."""
    found = diagnose(named(example.seen, *names))
    whole = f"Job {'/'.join(names)}"
    assert found.headline.startswith(whole) or len(f"{whole} {found.cause}") > MAX_HEADLINE - len("failed: .")


FORBIDDEN = f'failed to pull and unpack image "{IMAGE}": failed to resolve reference "{IMAGE}": unexpected status from '
LONG_IMAGE = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/data-platform/etl/load-orders-into-warehouse:2026-01-01"
NO_ADDRESS = 'failed to setup network for sandbox "9a1b3fd9596e428093232c054a1ac7fac47a57c87f5c46dd80dde72e5bbea132": '
WARNINGS = [
    ("FailedCreate", 'Error creating: pods "{job}-x1" is forbidden: exceeded quota: compute, requested: pods=1',
     "exceeded quota: compute"),
    ("FailedMount", 'MountVolume.SetUp failed for volume "data" : mount failed: exit status 32 Mounting command: mount '
     "Mounting arguments: -t nfs nfs:/x /var/lib/kubelet/pods/1/volumes/kubernetes.io~nfs/data Output: mount.nfs: "
     "access denied by server while mounting nfs:/x", "access denied by server"),
    ("FailedCreatePodSandBox", f"Failed to create pod sandbox: rpc error: code = Unknown desc = {NO_ADDRESS}plugin "
     'type="calico" failed (add): no IP addresses available in range set', "no IP addresses available"),
]  # fmt: skip


@pytest.mark.parametrize("names", [ORDINARY, LONGEST], ids=["ordinary", "longest"])
@pytest.mark.parametrize(("reason", "message", "word"), WARNINGS, ids=[reason for reason, _, _ in WARNINGS])
def test_an_event_stands_in_the_first_line_without_its_object(
    reason: str, message: str, word: str, names: tuple[str, str]
) -> None:
    """The Job is named already, and its pod is not what failed (R11, R22)."""
    warning = f"Pod {names[1]}-x1: {reason}: {message.format(job=names[1])}"
    headline = diagnose(a_case(cause=Cause.STARTUP_TIMEOUT, job_name="/".join(names), warnings=[warning])).headline
    assert word in headline
    assert f"{reason}: " in headline
    assert headline.count(names[1]) == 1


@pytest.mark.parametrize("names", [ORDINARY, LONGEST], ids=["ordinary", "longest"])
def test_a_registrys_refusal_stands_behind_a_long_image(names: tuple[str, str]) -> None:
    """A long reference is shortened in the middle, its end is the tag (R15, R22)."""
    message = f"{FORBIDDEN}HEAD request to https://{LONG_IMAGE}: 403 Forbidden".replace(IMAGE, LONG_IMAGE)
    pod = a_pod(image=LONG_IMAGE, waiting="ErrImagePull")
    case = a_case(pod, cause=Cause.IMAGE, reason="ErrImagePull", message=message, job_name="/".join(names))
    headline = diagnose(case).headline
    assert "403 Forbidden" in headline
    assert "warehouse:2026-01-01" in headline
    assert LONG_IMAGE in diagnose(case).cause
