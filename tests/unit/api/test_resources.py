"""A call of the API as an HTTP request."""

from __future__ import annotations

import pytest

from airflow_script_provider.api.resources import Call


@pytest.mark.parametrize(
    ("call", "method", "path"),
    [
        (Call("list", "nodes"), "GET", "/api/v1/nodes"),
        (Call("list", "pods", "etl"), "GET", "/api/v1/namespaces/etl/pods"),
        (Call("watch", "pods", "etl"), "GET", "/api/v1/namespaces/etl/pods"),
        (Call("get", "pods", "etl", "load-x1"), "GET", "/api/v1/namespaces/etl/pods/load-x1"),
        (Call("get", "pods/log", "etl", "load-x1"), "GET", "/api/v1/namespaces/etl/pods/load-x1/log"),
        (Call("create", "jobs", "etl"), "POST", "/apis/batch/v1/namespaces/etl/jobs"),
        (Call("patch", "jobs", "etl", "load"), "PATCH", "/apis/batch/v1/namespaces/etl/jobs/load"),
        (Call("delete", "jobs", "etl", "load"), "DELETE", "/apis/batch/v1/namespaces/etl/jobs/load"),
        (Call("get", "deployments", "shop", "api"), "GET", "/apis/apps/v1/namespaces/shop/deployments/api"),
        (
            Call("create", "selfsubjectaccessreviews"),
            "POST",
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        ),
    ],
)
def test_a_call_is_a_request(call: Call, method: str, path: str) -> None:
    """Kubernetes' verbs are HTTP's methods, resources and objects are paths."""
    assert (call.method, call.path) == (method, path)


@pytest.mark.parametrize(("resource", "group"), [("pods", ""), ("jobs", "batch"), ("deployments", "apps")])
def test_a_resource_has_a_group(resource: str, group: str) -> None:
    """Questions about rights name it (R17)."""
    assert Call("list", resource).group == group


@pytest.mark.parametrize(
    ("verb", "kind"),
    [("create", "application/json"), ("delete", "application/json"), ("patch", "application/merge-patch+json")],
)
def test_a_patch_is_merged(verb: str, kind: str) -> None:
    """Its fields are those to change, and no others."""
    assert Call(verb, "jobs", "etl", "load").content_type == kind


def test_a_body_is_json() -> None:
    """Also where it has halves of surrogate pairs, which the API server then refuses by itself."""
    call = Call("create", "configmaps", "etl", body={"a": "é\ud800"})
    assert call.content() == b'{"a": "\xc3\xa9\xed\xa0\x80"}'
    assert Call("get", "jobs", "etl", "load").content() is None
