"""What an answer means, whoever gave it."""

from __future__ import annotations

import json

import pytest

from airflow_script_provider import exceptions
from airflow_script_provider.api.answers import Answer
from airflow_script_provider.api.resources import Call

HOST = "https://cluster:6443"
PAGE = "<!DOCTYPE html><html><body>Sign in at https://sso/?token=hunter2</body></html>"
FORM = "an HTML page (status {}). Check the Kubernetes connection and proxies on the way."
JSON, HTML, PLAIN = "application/json", "text/html", "text/plain"


def an_answer(verb: str, status: int, text: str, content_type: str = JSON) -> Answer:
    """An answer to a call on Jobs."""
    return Answer(Call(verb, "jobs", "etl"), HOST, status, content_type, text)


def a_status(**parts: object) -> str:
    """A refusal in the API server's form."""
    return json.dumps({"kind": "Status", "apiVersion": "v1", "status": "Failure"} | parts)


@pytest.mark.parametrize("verb", ["get", "list", "create", "patch", "delete"])
@pytest.mark.parametrize(
    ("text", "content_type", "form"),
    [
        (PAGE, HTML, "an HTML page"),
        (PAGE, JSON, "an HTML page"),
        ("\ufeff\n" + PAGE, PLAIN, "an HTML page"),
        ("", HTML, "an HTML page"),
        ("", JSON, "an empty answer"),
        ("Sign in", PLAIN, "text that is not JSON"),
        ('"Sign in"', JSON, "text that is not JSON"),
        ('[{"kind": "Job"}]', JSON, "text that is not JSON"),
        ('{"kind": "Job", "metada', JSON, "text that is not JSON"),
    ],
)
def test_an_answer_of_something_else(verb: str, text: str, content_type: str, form: str) -> None:
    """Each call has the same error: who answered what, and where to look; the page is not quoted (R14, R22)."""
    with pytest.raises(exceptions.NotKubernetesApiError) as caught:
        an_answer(verb, 200, text, content_type).object()
    words = f"not a Kubernetes API answer from {HOST} to {verb} jobs: {form} (status 200). "
    assert str(caught.value) == words + "Check the Kubernetes connection and proxies on the way."


@pytest.mark.parametrize("verb", ["get", "list", "create", "patch"])
@pytest.mark.parametrize(
    "text", ['{"error": "login_required"}', '{"status": "ok", "metadata": null, "items": {}}'], ids=["other", "alike"]
)
def test_json_of_something_else(verb: str, text: str) -> None:
    """An object lacks what every object of Kubernetes has, or has it in another form (R14)."""
    with pytest.raises(exceptions.NotKubernetesApiError, match="JSON of another API"):
        an_answer(verb, 200, text).object()


def test_json_that_is_too_deep_is_of_something_else() -> None:
    """A parser gives up (R14)."""
    with pytest.raises(exceptions.NotKubernetesApiError):
        an_answer("get", 200, "[" * 100_000).object()


@pytest.mark.parametrize("text", [PAGE, "", "Sign in", '{"items"', '{"items": []}', '{"items": 1, "metadata"'])
def test_a_page_of_a_list_of_something_else(text: str) -> None:
    """A list that is taken apart item by item is checked as well (R14)."""
    with pytest.raises(exceptions.NotKubernetesApiError):
        an_answer("list", 200, text).list_text()


def test_what_kubernetes_answers() -> None:
    """Objects, lists and reviews are what they are."""
    assert an_answer("get", 200, '{"metadata": {}}').object() == {"metadata": {}}
    assert an_answer("create", 201, '{"status": {"allowed": true}}').object() == {"status": {"allowed": True}}
    text = '{"kind":"JobList","metadata":{"resourceVersion":"1"},"items":[]}'
    assert an_answer("list", 200, text).list_text() == text


@pytest.mark.parametrize("status", [401, 403, 404, 409, 410])
def test_a_page_decides_nothing(status: int) -> None:
    """A proxy's 404 is no word on the Job, and its 403 none on rights: neither deletes nor repeats a run (R9, R14)."""
    error = an_answer("get", status, PAGE, HTML).refusal()
    assert type(error) is exceptions.NotKubernetesApiError
    assert str(error).endswith(FORM.format(status))
    assert (error.status, error.may_have_acted) == (0, False)


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        (401, "Unauthorized", exceptions.ApiUnauthorizedError),
        (403, "Forbidden", exceptions.ApiForbiddenError),
        (404, "NotFound", exceptions.ApiNotFoundError),
        (409, "AlreadyExists", exceptions.ApiAlreadyExistsError),
        (409, "Conflict", exceptions.ApiConflictError),
        (409, "", exceptions.ApiConflictError),
        (410, "Expired", exceptions.ApiGoneError),
        (422, "Invalid", exceptions.KubernetesApiError),
        (503, "ServiceUnavailable", exceptions.KubernetesApiError),
    ],
)
def test_a_refusal_of_kubernetes(status: int, reason: str, kind: type[exceptions.KubernetesApiError]) -> None:
    """Status, reason and message are the server's."""
    error = an_answer("create", status, a_status(reason=reason, message="why", code=status)).refusal()
    assert (type(error), error.status, error.reason, error.server_message) == (kind, status, reason, "why")


@pytest.mark.parametrize(
    ("status", "text", "content_type", "said"),
    [
        (429, "Too many requests, please try again later.\n", PLAIN, "Too many requests, please try again later."),
        (413, PAGE, HTML, "not a Kubernetes API answer: an HTML page"),
        (502, PAGE, HTML, "not a Kubernetes API answer: an HTML page"),
        (502, "", PLAIN, "not a Kubernetes API answer: an empty answer"),
        (401, '{"type": "error", "message": "must authenticate"}', JSON, "must authenticate"),
    ],
)
def test_refusals_that_are_not_about_an_object(status: int, text: str, content_type: str, said: str) -> None:
    """They keep their status, which says whether the call is repeated; no page is quoted (R14, R22)."""
    error = an_answer("list", status, text, content_type).refusal()
    assert (error.status, error.server_message) == (status, said)
    assert "hunter2" not in str(error)
