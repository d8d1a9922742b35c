"""What an answer means: an object, a refusal, or nothing that a Kubernetes API says.

A proxy may answer in the server's place, mostly with a login page. Whatever its status is, such an
answer says nothing about the object that was asked for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_script_provider import exceptions
from airflow_script_provider.api.resources import Call
from airflow_script_provider.kube import refusal
from airflow_script_provider.kube.listing import metadata_of
from airflow_script_provider.kube.wording import one_line, reported

_ERRORS: Mapping[int, type[exceptions.KubernetesApiError]] = {
    401: exceptions.ApiUnauthorizedError,
    403: exceptions.ApiForbiddenError,
    404: exceptions.ApiNotFoundError,
    409: exceptions.ApiConflictError,
    410: exceptions.ApiGoneError,
}
_ABOUT_THE_OBJECT = (403, 404, 409, 410)
"""Statuses that decide about a run. Only a Kubernetes API may give them."""
_OF_GARBAGE_COLLECTION = ("foregroundDeletion", "orphan")
"""The finalizers of Kubernetes' own garbage collector."""
_PARTS: Mapping[str, Mapping[str, type]] = {
    "list": {"items": list},
    "get": {"metadata": dict, "gitVersion": str},
    "patch": {"metadata": dict},
    "create": {"metadata": dict, "status": dict},
}
"""Of which an answer to each verb has at least one; a review of rights may have no metadata, and a
version has none."""
_MAX_QUOTED = 200


@dataclass(frozen=True)
class Answer:
    """The answer of ``host`` to a call. ``retry_after`` is in seconds."""

    call: Call
    host: str
    status: int
    content_type: str
    text: str = ""
    retry_after: float | None = None

    def refusal(self) -> exceptions.KubernetesApiError:
        """The error of a status of 400 or more."""
        found = _json_object(self.text)
        is_status = found is not None and found.get("kind") == "Status"
        if not is_status and (self.status in _ABOUT_THE_OBJECT or (self.status == 401 and self.is_page)):
            return self.not_kubernetes()
        message, reason = self._said(), ""
        if found is not None and not self.is_page:
            message, reason = str(found.get("message") or message), str(found.get("reason") or "")
        message = reported(message)
        kind = _ERRORS.get(self.status, exceptions.KubernetesApiError)
        if self.status == 409 and reason == "AlreadyExists":
            kind = exceptions.ApiAlreadyExistsError
        return kind(
            refusal.message(self.call.verb, self.call.resource, self.call.namespace, self.status, message),
            status=self.status,
            reason=reason,
            server_message=message,
            retry_after=self.retry_after,
            may_have_acted=self.status >= 500,
        )

    def object(self) -> dict[str, Any]:
        """The object or list of an answer that grants the call.

        Raises ``NotKubernetesApiError``.
        """
        found = None if self.is_page else _json_object(self.text)
        parts = _PARTS.get(self.call.verb, {})
        if found is None or (parts and not any(isinstance(found.get(part), kind) for part, kind in parts.items())):
            raise self.not_kubernetes()
        return found

    def list_text(self) -> str:
        """The text of a list, whose items stay unparsed. Raises ``NotKubernetesApiError``."""
        try:
            if self.is_page or '"items"' not in self.text:
                raise self.not_kubernetes()
            metadata_of(self.text)
        except (ValueError, KeyError, TypeError):
            raise self.not_kubernetes() from None
        return self.text

    def not_kubernetes(self) -> exceptions.NotKubernetesApiError:
        """The error of an answer that is not one of a Kubernetes API."""
        return exceptions.NotKubernetesApiError(
            f"not a Kubernetes API answer from {self.host} to {self.call.verb} {self.call.resource}: "
            f"{self._form} (status {self.status}). Check the Kubernetes connection and proxies on the way."
        )

    @property
    def is_page(self) -> bool:
        """Whether it is an HTML page."""
        return self.content_type == "text/html" or self.text.lstrip("\ufeff \r\n\t").startswith("<")

    @property
    def _form(self) -> str:
        if self.is_page:
            return "an HTML page"
        if not self.text.strip():
            return "an empty answer"
        return "text that is not JSON" if _json_object(self.text) is None else "JSON of another API"

    def _said(self) -> str:
        """A refusal that is not JSON. Only plain text is quoted: a page may hold anything."""
        if self.content_type == "text/plain" and not self.is_page and self.text.strip():
            return one_line(self.text)[:_MAX_QUOTED]
        return f"not a Kubernetes API answer: {self._form}"


def is_held(deleted: Mapping[str, Any]) -> bool:
    """Whether a deleted object stays, for the finalizer of another program."""
    finalizers = deleted.get("metadata", {}).get("finalizers") or ()
    return any(name not in _OF_GARBAGE_COLLECTION for name in finalizers)


def _json_object(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
