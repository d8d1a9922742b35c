"""The address of a page about a Job, by the setting ``[script_provider] job_url``."""

from __future__ import annotations

from string import Formatter
from urllib.parse import quote, urlsplit

PLACEHOLDERS = ("namespace", "job_name")


def job_url(template: str, namespace: str, job_name: str) -> str:
    """The address of a Job's page. Raises ``ValueError`` for a template that gives no address."""
    try:
        fields = [(name, spec, kind) for _, name, spec, kind in Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise ValueError(f"job_url {template!r} is not a valid template: {error}") from None
    names = {name + (f":{spec}" if spec else "") + (f"!{kind}" if kind else "") for name, spec, kind in fields}
    if unknown := sorted(names - set(PLACEHOLDERS)):
        raise ValueError(f"job_url has the placeholder {{{unknown[0]}}}; there are {{namespace}} and {{job_name}}")
    if urlsplit(template).scheme not in ("http", "https"):
        raise ValueError(f"job_url {template!r} must begin with http:// or https://")
    return template.format(namespace=quote(namespace, safe=""), job_name=quote(job_name, safe=""))
