"""What kubelets, container runtimes, registries and admission report, without their wrapping."""

from __future__ import annotations

import time
from typing import Any

import pytest

from airflow_script_provider.kube.causes.cluster_messages import (
    ProgramFault,
    event_cause,
    program_fault,
    refusal,
    registry_answer,
    start_error,
    stop,
)
from airflow_script_provider.kube.job.diagnosis import diagnose
from airflow_script_provider.kube.job.progress import IMAGE_GRACE, decide
from airflow_script_provider.kube.job.verdict import Cause, Verdict
from tests.builders import a_case, a_pod, a_view, an_event, some_limits

REF = "registry.example.com:5000/team/etl:nope"
HUB = "docker.io/library/python:9.99"
PULL = f'rpc error: code = NotFound desc = failed to pull and unpack image "{REF}": '
HEAD = f'failed to do request: Head "https://{REF.partition(":")[0]}/v2/team/etl/manifests/nope": '
NO_HOST = "dial tcp: lookup registry.example.com on 10.96.0.10:53: no such host"

CRI_O = "unable to pull image or OCI artifact: pull image err: "

# In the forms of containerd 1.6 and 2.4, of CRI-O and of the kubelet, with names of examples.
MESSAGES = [
    (f'{PULL}failed to resolve reference "{REF}": {REF}: not found', "not found"),
    (f"{PULL}failed to resolve image: {REF}: not found", "not found"),
    (f"rpc error: code = NotFound desc = failed to resolve image: {HUB}: not found", "not found"),
    (f'{PULL}failed to resolve reference "{REF}": {HEAD}{NO_HOST}', NO_HOST),
    (f"{PULL}failed to resolve image: {HEAD}{NO_HOST}", NO_HOST),
    (f'Back-off pulling image "{REF}": ErrImagePull: {PULL}failed to resolve image: {HEAD}{NO_HOST}', NO_HOST),
    (f'Back-off pulling image "{REF}"', ""),
    (
        f'{PULL}failed to resolve reference "{REF}": failed to authorize: failed to fetch anonymous token: unexpected '
        "status from GET request to https://auth.docker.io/token?scope=a&service=b: 401 Unauthorized",
        "401 Unauthorized",
    ),
    (
        f"{PULL}failed to resolve image: pull access denied, repository does not exist or may require authorization",
        "pull access denied, repository does not exist or may require authorization",
    ),
    (f"{PULL}failed to resolve image: {HEAD}EOF", "EOF"),
    ("rpc error: code = NotFound desc = no match for platform in manifest: not found", "no match for platform in "),
    (f"initializing source docker://{REF}: reading manifest nope in x: manifest unknown", "manifest unknown"),
    (
        f'{PULL}failed to resolve reference "{REF}": unexpected status from HEAD request to https://x: 403 Forbidden',
        "403 Forbidden",
    ),
    (
        f"{CRI_O}initializing source docker://{REF}: reading manifest nope in x/y: manifest unknown; artifact err: get "
        "manifest: build image source: reading manifest nope in x/y: manifest unknown",
        "manifest unknown",
    ),
    (
        f"{CRI_O}initializing source docker://{REF}: reading manifest nope in x/y: unauthorized: access is not granted",
        "unauthorized: access",
    ),
    (
        f"{CRI_O}initializing source docker://{REF}: pinging container registry x.example.com:5000: "
        f'Get "https://x.example.com:5000/v2/": {NO_HOST}',
        NO_HOST,
    ),
    (f"{CRI_O}copying system image from manifest list: writing blob: unexpected EOF", "writing blob: unexpected EOF"),
    ('Failed to apply default image tag "A:x": couldn\'t parse image name "A:x": invalid', "couldn't parse image name"),
    (f'failed to pull image "{REF}": rpc error: code = Unknown desc = context deadline exceeded', "context deadline"),
]


@pytest.mark.parametrize(("message", "answer"), MESSAGES)
def test_the_registrys_answer_without_its_wrapping(message: str, answer: str) -> None:
    """Whatever kubelet and containerd put around it, the answer or the cause comes first (R15)."""
    found = registry_answer(message, REF)
    assert found.startswith(answer) if answer else found == ""


@pytest.mark.parametrize(("message", "answer"), [(m, a) for m, a in MESSAGES if a])
def test_the_answer_is_in_the_first_line(message: str, answer: str) -> None:
    """Where the image will not come, and where the time to start is over (R15, R22)."""
    pod = a_pod(waiting="ErrImagePull", message=message, image=REF)
    image = a_case(pod, cause=Cause.IMAGE, reason="ErrImagePull", message=message)
    late = a_case(pod, cause=Cause.STARTUP_TIMEOUT)
    for case in (image, late):
        headline = diagnose(case).headline
        assert answer[:40] in headline
        assert "ErrImagePull" in headline


@pytest.mark.parametrize("now", [IMAGE_GRACE, 300.0])
def test_a_back_off_without_a_cause_keeps_the_one_before(now: float) -> None:
    """The kubelet's pause between two pulls says nothing of why it pauses (R15)."""
    message = MESSAGES[0][0] if now == IMAGE_GRACE else MESSAGES[4][0]
    view = a_view(a_pod(waiting="ErrImagePull", message=message, image=REF))
    pod = a_pod(waiting="ImagePullBackOff", message=f'Back-off pulling image "{REF}"', image=REF)
    decided = decide(view.with_pod(pod, 10), some_limits(), now)
    assert isinstance(decided, Verdict)
    assert decided.message == message
    case = a_case(pod, cause=decided.cause, reason=decided.reason, message=decided.message)
    assert registry_answer(message, REF) in diagnose(case).headline


CREATE = "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: "
INIT = f"{CREATE}unable to start container process: error during container init: "


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        (f'{CREATE}unable to start container process: exec: "ruby": executable file not found in $PATH: unknown',
         ProgramFault("ruby", is_missing=True)),
        (f'{CREATE}unable to start container process: exec: "/usr/bin/p9": stat /usr/bin/p9: no such file or directory',
         ProgramFault("/usr/bin/p9", is_missing=True)),
        (f'{CREATE}container_linux.go:380: starting container process caused: exec: "a": executable file not found',
         ProgramFault("a", is_missing=True)),
        ('exec: "/scripts/x": permission denied: unknown', ProgramFault("/scripts/x", is_missing=False)),
        (f"{INIT}exec /usr/bin/etl: exec format error", ProgramFault("/usr/bin/etl", is_missing=False)),
        ("executable file `etl` not found in $PATH: No such file or directory", ProgramFault("etl", is_missing=True)),
        ('failed to create task for container: failed to create shim task: OCI runtime create failed: runc create '
         'failed: unable to start container process: exec: "ruby": executable file not found in $PATH: unknown',
         ProgramFault("ruby", is_missing=True)),
        ("container create failed: executable file `etl` not found in $PATH: No such file or directory\n",
         ProgramFault("etl", is_missing=True)),
        ('container create failed: time="2024-05-28T10:30:28Z" level=error msg="runc create failed: unable to start '
         'container process: exec: \\"etl\\": executable file not found in $PATH"\n',
         ProgramFault("etl", is_missing=True)),
        ('container create failed: time="2022-08-31T10:15:03Z" level=error msg="runc create failed: unable to start '
         'container process: unable to setup user: cannot set uid to unmapped user in user namespace"', None),
        (f'{INIT}chdir to cwd ("/nope") set in config.json failed: no such file or directory: unknown', None),
        (f'{INIT}error mounting "/e" to rootfs at "/d": mount nfs:/e:/d: permission denied: unknown', None),
        (f"{INIT}error running prestart hook #0: exit status 1, stdout: , stderr: nvidia-container-cli: initialization "
         "error: load library failed: libnvidia-ml.so.1: cannot open shared object file: no such file or directory",
         None),
        (f"{CREATE}error running createRuntime hook #0: fork/exec /usr/bin/toolkit: no such file or directory", None),
        ("Permission denied", None),
    ],
)  # fmt: skip
def test_only_a_message_about_the_program_means_that_it_is_missing(message: str, fault: ProgramFault | None) -> None:
    """Libraries, mounts and folders that are missing have the same errors (R22).

    Only a program that cannot be executed ends the attempts that were asked for (R7).
    """
    assert program_fault(message) == fault
    decided = decide(
        a_view(a_pod(exit_code=128, reason="StartError", message=message)), some_limits(backoff_limit=3), 1
    )
    assert isinstance(decided, Verdict) == (fault is not None)


def test_a_start_error_shows_the_runtimes_last_words() -> None:
    """The layers around them would fill the first line (R22)."""
    message = f'{INIT}chdir to cwd ("/nope") set in config.json failed: no such file or directory: unknown'
    assert start_error(message) == 'chdir to cwd ("/nope") set in config.json failed: no such file or directory'
    case = a_case(a_pod(exit_code=128, reason="StartError", message=message), hide=str)
    assert 'could not start: chdir to cwd ("/nope") set in config.json failed' in diagnose(case).headline


DENIED = 'Error creating: pods "script-task-1f-" is forbidden: '


@pytest.mark.parametrize(
    ("message", "found"),
    [
        (f"{DENIED}ValidatingAdmissionPolicy 'no-env' with binding 'all' denied request: use files",
         "ValidatingAdmissionPolicy no-env denied its pod: use files"),
        ('Error creating: admission webhook "v.example.com" denied the request: no root',
         "admission webhook v.example.com denied its pod: no root"),
        (f'{DENIED}violates PodSecurity "restricted:latest": runAsNonRoot != true', "its pod is refused: violates Pod"),
        (f"{DENIED}maximum cpu usage per Container is 1, but limit is 2", "its pod is refused: maximum cpu usage"),
        (f"{DENIED}failed quota: q: must specify limits.memory for: script", "its pod is refused: failed quota: q"),
        (f"{DENIED}exceeded quota: q, requested: pods=1", None),
        ('Error creating: Internal error occurred: failed calling webhook "v": context deadline exceeded', None),
        ('Error creating: pods "x" is forbidden: error looking up service account: serviceaccount "y" not found', None),
    ],
)  # fmt: skip
def test_what_admission_refuses_for_good(message: str, found: str | None) -> None:
    """A policy answers the same again; a quota may be freed, a webhook may come back (R11, R18)."""
    said = refusal(an_event("FailedCreate", message, kind="Job", name="load"))
    assert (said or "").startswith(found) if found else said is None


@pytest.mark.parametrize(
    ("text", "is_final"),
    [
        ('failed policy: images: image ghcr.io/x/etl: Get "https://ghcr.io/v2/": context deadline exceeded', False),
        ("verify-image: failed to fetch image descriptor: dial tcp: lookup r.example.com: i/o timeout", False),
        ('Get "https://r.example.com/v2/": net/http: TLS handshake timeout', False),
        ("Client.Timeout exceeded while awaiting headers", False),
        ("[k8sexternaldata] system error: TOOMANYREQUESTS: rate limit exceeded", False),
        ("unexpected status code 429 Too Many Requests", False),
        ("GET https://r.example.com/v2/: unexpected status code 503 Service Unavailable", False),
        ("fetching signatures: HTTP 502", False),
        ("read tcp 10.0.0.1:5: read: connection reset by peer", False),
        ("dial tcp 10.0.0.1:443: connect: connection refused", False),
        ("rpc error: code = DeadlineExceeded desc = stream timeout", False),
        ("rpc error: code = Unavailable desc = upstream connect error", False),
        ('Post "https://rekor.example.com": EOF', False),
        ("unexpected EOF", False),
        ("the server is currently unable to handle the request (get configmaps keys)", False),
        ("the server was unable to return a response in the time allotted, but may still be processing it", False),
        ("failed to load context: etcdserver: leader changed", False),
        ("failed to load context: etcdserver: request timed out", False),
        ("failed to load context: timed out waiting for the condition", False),
        ("Internal error occurred: cannot read policy", False),
        ("denied: 503 Service Temporarily Unavailable", False),
        ("fetching https://index.docker.io/v2/: Gateway Time-out", False),
        ("ThrottlingException: Rate exceeded", False),
        ('Get "https://vault/v1/x": http: server closed idle connection', False),
        ("stream error: stream ID 1; INTERNAL_ERROR; received from peer", False),
        ("http2: server sent GOAWAY and closed the connection", False),
        ("policies are not ready yet: cache not synced", False),
        ("the registry returned HTTP 500", False),
        ("the scanner answered with status 503: try again", False),
        ("scan failed with status code 502", False),
        ("got HTTP error 429", False),
        ("non-2xx response status 503", False),
        ("status code 500 from https://scanner", False),
        ("unexpected status from HEAD request to https://r.example.com/v2/: 500", False),
        ("rule deny-http: HTTP 500 must be handled by probes", True),
        ("container port must not be 503: use status 500 page", True),
        ("label error-page=HTTP/500 is not allowed", True),
        ("validation failed: HTTP 503 is not an allowed code of probes", True),
        ("the request rate must not be exceeded; set a rate", True),
        ("timeoutSeconds must be set", True),
        ("spec.activeDeadlineSeconds: a timeout is required", True),
        ("set request-timeout-seconds and connectionTimeouts", True),
        ("a deadline must be set for each Job of team 503", True),
        ("port 502 is not allowed; end scripts with EOF_MARK", True),
        ("images from docker.io are refused", True),
        ("signature keyless validation failed: no matching signatures", True),
        ("GET https://r.example.com/v2/: unexpected status code 404 Not Found", True),
    ],
)  # fmt: skip
def test_a_webhook_denies_for_a_while_what_it_cannot_ask(text: str, is_final: bool) -> None:
    """Its registry does not answer, or asks it to wait: the pod may be admitted a little later (R11, R15)."""
    event = an_event("FailedCreate", f'Error creating: admission webhook "v.example.com" denied the request: {text}')
    assert refusal(event) == (f"admission webhook v.example.com denied its pod: {text}" if is_final else None)


def killing(container: str) -> dict[str, Any]:
    """The event that a kubelet stops a container."""
    event = an_event("Killing", f"Stopping container {container}")
    event["involvedObject"]["fieldPath"] = f"spec.containers{{{container}}}"
    return event


def a_probe(kind: str, container: str) -> dict[str, Any]:
    """The event that a probe of a container failed."""
    event = an_event("Unhealthy", f"{kind} probe failed: password is hunter2")
    event["involvedObject"]["fieldPath"] = f"spec.containers{{{container}}}"
    return event


EVICTED = an_event("Evicted", "Pod ephemeral local storage usage exceeds\nthe total limit of containers 50Mi.")


@pytest.mark.parametrize(
    ("events", "found"),
    [
        ([killing("script"), EVICTED], ("Evicted", "Pod ephemeral local storage usage exceeds the total limit of "
                                                   "containers 50Mi.")),
        ([killing("script")], ("Killing", "Stopping container script")),
        ([a_probe("Liveness", "script"), killing("script")], ("Killing", "Stopping container script: Liveness probe "
                                                                         "failed")),
        ([killing("script"), a_probe("Readiness", "script")], ("Killing", "Stopping container script")),
        ([killing("script"), a_probe("Liveness", "proxy")], ("Killing", "Stopping container script")),
        ([killing("proxy"), a_probe("Liveness", "script")], None),
        ([killing("proxy"), an_event("Pulled", "x"), an_event("FailedMount", "x")], None),
        ([], None),
    ],
)  # fmt: skip
def test_events_say_that_the_kubelet_stopped_the_script(events: list[dict[str, Any]], found: Any) -> None:
    """Its own word of an eviction comes before the kill of the container; a probe's output may be any value (R1)."""
    assert stop(events) == found


SANDBOX = "Failed to create pod sandbox: rpc error: code = Unknown desc = "
CNI = 'networkPlugin cni failed to set up pod "load-x1_etl" network: '
NO_ADDRESS = "no IP addresses available in range set: 10.1.56.1-10.1.56.254"
ID = "9a1b3fd9596e428093232c054a1ac7fac47a57c87f5c46dd80dde72e5bbea132"
NFS = "mount.nfs: access denied by server while mounting 10.0.0.1:/share"


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        ('Error creating: pods "load-" is forbidden: exceeded quota: q, requested: pods=1',
         "exceeded quota: q, requested: pods=1"),
        ('Error creating: pods "load-" is forbidden: error looking up service account etl/loader: serviceaccount '
         '"loader" not found', 'serviceaccount "loader" not found'),
        ('Error creating: Internal error occurred: failed calling webhook "a.example.com": failed to call webhook: x',
         'failed calling webhook "a.example.com": x'),
        ('Error creating: Internal error occurred: failed calling webhook "a.example.com": failed to call webhook: '
         'Post "https://a.ns.svc:443/v?timeout=10s": dial tcp 10.0.0.1:443: connect: connection refused',
         'failed calling webhook "a.example.com": dial tcp 10.0.0.1:443: connect: connection refused'),
        (f'(combined from similar events): {SANDBOX}failed to setup network for sandbox "{ID}": failed to allocate for '
         f"range 0: {NO_ADDRESS}", NO_ADDRESS),
        (f'{SANDBOX}failed to setup network for sandbox "{ID}": plugin type="aws-cni" name="aws-cni" failed (add): add '
         "cmd: failed to assign an IP address to container", "add cmd: failed to assign an IP address to container"),
        (f'{SANDBOX}failed to set up sandbox container "{ID}" network for pod "load-x1": {CNI}failed to allocate for '
         f"range 0: {NO_ADDRESS}", NO_ADDRESS),
        ('MountVolume.SetUp failed for volume "data" : mount failed: exit status 32 Mounting command: mount Mounting '
         f"arguments: -t nfs 10.0.0.1:/share /var/lib/kubelet/x Output: {NFS}", f'volume "data": {NFS}'),
        ('MountVolume.SetUp failed for volume "keys" : secret "keys" not found',
         'volume "keys": secret "keys" not found'),
        ('AttachVolume.Attach failed for volume "pvc-1" : rpc error: code = Internal desc = no such volume',
         'volume "pvc-1": no such volume'),
        ("Multi-Attach error for volume", "Multi-Attach error for volume"),
        ("", ""),
    ],
)  # fmt: skip
def test_an_events_cause_comes_first(message: str, cause: str) -> None:
    """Without the layers of controller, kubelet, runtime and network plugin around it (R11, R22)."""
    assert event_cause(message) == cause


@pytest.mark.parametrize("piece", ["://:", "a:", "a/", "a@", "?", "x@sha256:"])
def test_a_message_of_any_length_takes_a_moment(piece: str) -> None:
    """A registry or a webhook may answer anything; a triggerer reads it in its event loop (R35)."""
    begin = time.process_time()
    registry_answer(piece * 10_000)
    assert time.process_time() - begin < 0.2
