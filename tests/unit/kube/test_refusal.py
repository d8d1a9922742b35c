"""What the API server's refusals mean to the author."""

from __future__ import annotations

import pytest

from airflow_script_provider.exceptions import ApiForbiddenError, KubernetesApiError
from airflow_script_provider.kube import refusal
from tests.builders import a_request

FORBIDDEN = 'jobs.batch is forbidden: User "system:serviceaccount:{ns}:author" cannot create resource "jobs" in API'
FORBIDDEN += ' group "batch" in the namespace "{ns}"'
INVALID = 'Job.batch "script-load" is invalid: '


def an_error(said: str, status: int = 422) -> KubernetesApiError:
    """The refusal of a Job."""
    text = refusal.message("create", "jobs", "etl", status, said)
    return KubernetesApiError(text, status=status, reason="Invalid", server_message=said)


def test_a_short_refusal_is_one_line() -> None:
    """Call, status and what the server said."""
    text = refusal.message("get", "jobs", "etl", 404, 'jobs.batch "load" not found')
    assert text == 'the API server refused to get jobs in namespace etl (404): jobs.batch "load" not found.'


def test_a_missing_right_comes_with_the_line_that_checks_it() -> None:
    """The check asks as the user that the server saw; what the server said is the second line (R22)."""
    said = FORBIDDEN.format(ns="etl")
    first, second = refusal.message("create", "jobs", "etl", 403, said).split("\n")
    assert first == (
        "the API server refused to create jobs in namespace etl (403). "
        "Check: kubectl auth can-i create jobs -n etl --as=system:serviceaccount:etl:author"
    )
    assert second == said


def test_a_subresource_is_asked_for_as_kubectl_takes_it() -> None:
    """``pods/log`` would be the pod named log."""
    text = refusal.message("get", "pods/log", "etl", 403, 'User "o\'brien" cannot get resource "pods/log"')
    assert "kubectl auth can-i get pods --subresource=log -n etl '--as=o'\"'\"'brien'" in text


@pytest.mark.parametrize("status", [403, 422, 500])
def test_the_first_line_is_short(status: int) -> None:
    """However long namespace and user are (R22)."""
    text = refusal.message("create", "configmaps", "n" * 63, status, FORBIDDEN.format(ns="n" * 63))
    assert max(len(line) for line in text.splitlines()[:1]) <= 200
    assert text.endswith(FORBIDDEN.format(ns="n" * 63))


def test_refused_credentials_say_where_to_renew_them() -> None:
    """401 is no matter of the call."""
    expected = "the API server refused the credentials (401): Unauthorized. Renew them in the Kubernetes connection."
    assert refusal.message("create", "jobs", "etl", 401, "Unauthorized") == expected


def test_a_missing_namespace_names_the_others_in_the_second_line() -> None:
    """The first line is object, cause and advice; the names may be many (R22)."""
    first, second = refusal.missing_namespace("n" * 63, [f"{'x' * 60}{i:02}" for i in range(25)], "").split("\n")
    assert len(first) <= 200
    assert second.startswith(f"These do: {'x' * 60}00, ")
    assert second.endswith("x19, … (25 in all)")


def test_a_namespace_that_nobody_may_look_for() -> None:
    """Without the right to list them, the server's own words follow."""
    text = refusal.missing_namespace("etl", None, 'namespaces "etl" not found')
    assert text.splitlines()[1] == 'namespaces "etl" not found'


@pytest.mark.parametrize(
    ("path", "argument"),
    [
        ("spec.template.spec.tolerations[0].operator", "tolerations"),
        ("spec.template.spec.affinity.nodeAffinity", "affinity"),
        ("spec.template.spec.nodeSelector", "node_selector"),
        ("spec.template.spec.imagePullSecrets[0].name", "image_pull_secrets"),
        ("spec.template.spec.volumes[1].name", "volumes"),
        ("spec.template.spec.containers[0].volumeMounts[1].name", "volume_mounts"),
        ("spec.template.spec.initContainers[0].envFrom[0]", "env_from"),
        ("spec.template.spec.containers[0].resources.limits[memory]", "container_resources"),
        ("spec.template.spec.containers[0].workingDir", "pod_overrides"),
        ("spec.template.spec.volumesX", "pod_overrides"),
    ],
)
def test_a_field_leads_to_its_argument(path: str, argument: str) -> None:
    """The API speaks of fields, the author wrote arguments (R22)."""
    assert refusal.arguments_in(f"{INVALID}{path}: Invalid value", [argument]) == [argument]


@pytest.mark.parametrize(
    "said",
    [
        'strict decoding error: unknown field "spec.template.spec.tolerations[0].foo"',
        "json: cannot unmarshal string into Go struct field Toleration.spec.template.spec.tolerations.value of type",
        f'{INVALID}[spec.template.spec.tolerations[0].a: Required, spec.template.spec.tolerations[1].b: "x"]',
    ],
)
def test_each_form_of_a_path_is_found_once(said: str) -> None:
    """Strict decoding, JSON types and validation spell paths differently."""
    assert refusal.arguments_in(said, ["tolerations"]) == ["tolerations"]


def test_a_field_of_the_overrides_leads_there() -> None:
    """A field whose own argument was not given was set in the overrides."""
    said = "spec.template.spec.tolerations[0].a: x, spec.template.spec.volumes[0]: y"
    assert refusal.arguments_in(said, ["volumes", "pod_overrides"]) == ["pod_overrides", "volumes"]


def test_a_refused_job_names_the_argument() -> None:
    """In the first line, before what the server said; the facts stay (R22)."""
    said = f"{INVALID}spec.template.spec.tolerations[0].operator: Invalid value: {'x' * 200}"
    error = refusal.explained(an_error(said), a_request(tolerations=[{"operator": "x"}]).options.given)
    first, second = str(error).split("\n")
    assert first == "the API server refused to create jobs in namespace etl (422). Check tolerations."
    assert (second, error.status, error.reason, error.server_message) == (said, 422, "Invalid", said)


def test_advice_goes_before_what_the_server_said() -> None:
    """Where both do not fit into the first line."""
    said = f'unknown field "spec.template.spec.volumes[1].{"x" * 80}"'
    first, second = str(refusal.explained(an_error(said, 400), a_request(volumes=[{"name": "v"}]).options.given)).split(
        "\n"
    )
    assert first == "the API server refused to create jobs in namespace etl (400). Check volumes."
    assert second == f"{said}."


def test_another_refusal_stays_as_it_is() -> None:
    """What is about no field, or no matter of the Job's form, is passed on."""
    denied = ApiForbiddenError("no", status=403, server_message="spec.template.spec.volumes")
    given = a_request().options.given
    assert refusal.explained(denied, given) is denied
    assert refusal.explained(other := an_error("Job is invalid: metadata.name"), given) is other


def test_an_exec_names_both_rights() -> None:
    """A websocket is opened by a GET, so ``create`` alone does not do (R17)."""
    said = 'pods "api-x1" is forbidden: User "etl" cannot get resource "pods/exec"'
    text = refusal.with_exec_rights(refusal.message("get", "pods/exec", "shop", 403, said), "shop")
    assert text.splitlines()[-1] == (
        "Both create and get on pods/exec are needed. Check: "
        "kubectl auth can-i create pods --subresource=exec -n shop --as=etl ; "
        "kubectl auth can-i get pods --subresource=exec -n shop --as=etl"
    )


CHANGED = 'Operation cannot be fulfilled on resourcequotas "q": the object has been modified; please apply your changes'
UID_OF_PATCH = (
    'Operation cannot be fulfilled on jobs.batch "x": StorageError: invalid object, Code: 4, AdditionalErrorMsg:'
)
UID_OF_PATCH += " Precondition failed: UID in precondition: 1, UID in object meta: 2"
UID_OF_DELETE = (
    'Operation cannot be fulfilled on Job.batch "x": the UID in the precondition (1) does not match the UID in'
)
UID_OF_DELETE += " record (2). The object might have been deleted and then recreated"


@pytest.mark.parametrize(
    ("status", "reason", "said", "passes"),
    [
        (409, "Conflict", CHANGED, True),
        (409, "AlreadyExists", 'jobs.batch "x" already exists', False),
        (409, "Conflict", UID_OF_PATCH, False),
        (409, "Conflict", UID_OF_DELETE, False),
        (409, "", 'admission webhook "w" denied the request: taken', False),
        (
            403,
            "Forbidden",
            'jobs.batch "x" is forbidden: status unknown for quota: q, resources: count/jobs.batch',
            True,
        ),
        (403, "Forbidden", 'jobs.batch "x" is forbidden: exceeded quota: q, requested: count/jobs.batch=1', False),
        (401, "Unauthorized", "Unauthorized", False),
        (404, "NotFound", 'jobs.batch "x" not found', False),
        (422, "Invalid", 'Job.batch "x" is invalid', False),
        *((status, "", "", True) for status in (429, 500, 502, 503, 504)),
    ],
)
def test_what_may_be_granted_a_little_later(status: int, reason: str, said: str, passes: bool) -> None:
    """Of all 409, only a ``Conflict`` between writers; what an object is, stays (R34)."""
    assert refusal.is_passing(status, reason, said) is passes


def test_another_uid_is_told_in_three_ways() -> None:
    """By a delete, by a patch with a precondition, and by a patch that would change the uid (R6)."""
    fixed = 'Job.batch "x" is invalid: [metadata.uid: Invalid value: "1": field is immutable, spec.selector: Invalid'
    assert all(map(refusal.is_of_another_uid, (UID_OF_DELETE, UID_OF_PATCH, fixed)))
    assert not refusal.is_of_another_uid(CHANGED)


@pytest.mark.parametrize(
    ("status", "said", "is_right"),
    [
        (403, 'jobs.batch is forbidden: User "x" cannot create resource "jobs" in API group "batch"', True),
        (403, 'jobs.batch "load" is forbidden: User "system:serviceaccount:a:b" cannot get resource "jobs"', True),
        (403, 'jobs.batch "load" is forbidden: exceeded quota: jobs, requested: count/jobs.batch=1', False),
        (403, 'admission webhook "w" denied the request: User "x" cannot run here', False),
        (403, "jobs.batch \"load\" is forbidden: ValidatingAdmissionPolicy 'p' denied request: User cannot", False),
        (403, "", False),
        (422, 'jobs.batch is forbidden: User "x" cannot create resource "jobs"', False),
    ],
)
def test_a_missing_right_is_not_a_quota_or_a_policy(status: int, said: str, is_right: bool) -> None:
    """Only a right may be known a little later, when an API server has just started (R15, R16)."""
    assert refusal.is_of_missing_right(status, said) is is_right
