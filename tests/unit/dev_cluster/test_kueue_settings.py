"""What Kueue's controller is configured with, and how its manifests are changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import kueue_settings
from kueue_settings import Endpoint

ENDPOINT = Endpoint(webhook_port=9443, health_port=8081, certificate="PEM")
CALLED = {"url": "https://127.0.0.1:9443/path", "caBundle": "UEVN"}


def a_webhook(group: str) -> dict[str, Any]:
    """A webhook of Kueue's manifests for the objects of a group."""
    service = {"name": "webhook-service", "namespace": "system", "path": "/path"}
    return {"name": "one", "clientConfig": {"service": service}, "rules": [{"apiGroups": [group]}]}


def configured(*groups: str) -> list[dict[str, Any]]:
    """The webhooks of a configuration, as they are created."""
    given = {"kind": "MutatingWebhookConfiguration", "metadata": {"name": "m"}}
    (found,) = kueue_settings.webhooks([given | {"webhooks": [a_webhook(group) for group in groups]}], ENDPOINT)
    webhooks: list[dict[str, Any]] = found["webhooks"]
    return webhooks


def test_webhooks_are_called_on_loopback() -> None:
    """There is no kube-proxy, so a Service cannot be called; a dead controller is noticed soon."""
    (webhook,) = configured("kueue.x-k8s.io")
    assert webhook["clientConfig"] == CALLED
    assert webhook["timeoutSeconds"] == 5


def test_only_queued_jobs_of_labelled_namespaces_are_passed_on() -> None:
    """A controller that is gone must not refuse the Jobs of other tests."""
    (webhook,) = configured("batch")
    assert webhook["namespaceSelector"] == {"matchLabels": {"dev-cluster/kueue": "enabled"}}
    assert webhook["objectSelector"]["matchExpressions"] == [{"key": "kueue.x-k8s.io/queue-name", "operator": "Exists"}]


def test_webhooks_for_other_kinds_are_left_out() -> None:
    """Pods and Deployments are nothing that Kueue looks after here."""
    assert configured("", "apps", "ray.io") == []


def test_a_definition_of_two_versions_is_converted_by_the_controller() -> None:
    """A definition of one version needs no conversion."""
    both = [{"metadata": {"name": f"n{count}"}, "spec": {"versions": [{}] * count}} for count in (1, 2)]
    one, two = kueue_settings.definitions(both, ENDPOINT)
    assert "conversion" not in one["spec"]
    assert two["spec"]["conversion"]["webhook"]["clientConfig"]["url"] == "https://127.0.0.1:9443/convert"
    assert kueue_settings.plurals([one, two]) == ["n1", "n2"]


def test_other_jobs_are_left_alone() -> None:
    """The configuration listens on loopback only, and manages no Job without a queue."""
    found = kueue_settings.configuration(ENDPOINT, Path("/certificates"))
    assert found["manageJobsWithoutQueueName"] is False
    assert found["webhook"] == {"host": "127.0.0.1", "port": 9443, "certDir": "/certificates"}


def test_objects_are_parsed_one_after_the_other_or_as_a_list() -> None:
    """Versions of kubectl print several objects in different ways."""
    objects = [{"kind": "A"}, {"kind": "B"}]
    apart = "\n".join(json.dumps(one, indent=1) for one in objects)
    assert kueue_settings.parsed(apart) == objects
    assert kueue_settings.parsed(json.dumps({"kind": "List", "items": objects})) == objects
