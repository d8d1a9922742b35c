"""The part ``script`` of a step, in both forms."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_script_provider.spec.source import SourceSettings, is_nested, source_settings


@pytest.mark.parametrize(
    ("script", "kind", "arguments"),
    [
        ({"type": "inline", "content": "echo hi"}, "inline", {"text": "echo hi"}),
        ({"type": "local", "content": "echo hi"}, "inline", {"text": "echo hi"}),
        ({"uri": "./a.py", "source": {"type": "file"}}, "file", {"path": "./a.py"}),
        ({"type": "file", "uri": "file:///srv/a.py"}, "file", {"path": "file:///srv/a.py"}),
        ({"type": "http", "uri": "https://example.com/a.py"}, "http", {"uri": "https://example.com/a.py"}),
        ({"uri": "gs://b/a.py", "source": {"type": "gcs", "auth": "g"}}, "gcs", {"uri": "gs://b/a.py", "conn_id": "g"}),
        (
            {"uri": "s3://b/a.sql", "source": {"type": "s3", "region": "eu-west-1"}},
            "s3",
            {"uri": "s3://b/a.sql", "region": "eu-west-1"},
        ),
    ],
)
def test_each_type_is_a_source(script: dict[str, Any], kind: str, arguments: dict[str, Any]) -> None:
    """Every type becomes the source of its kind, with all settings."""
    assert source_settings(script) == SourceSettings(kind, arguments)


def test_http_with_all_its_settings() -> None:
    """A relative URI on an endpoint, with method, headers, time limit and connection."""
    transport = {"endpoint": "https://example.com", "method": "GET", "headers": {"A": "{{ secret.b }}"}, "timeout": 30}
    settings = source_settings({"uri": "s/a.py", "source": {"type": "http", "auth": "web", **transport}})
    assert settings == SourceSettings("http", {"uri": "s/a.py", "conn_id": "web", **transport})


def test_a_quoted_time_limit_is_a_number() -> None:
    """A quoted number equals a number, in both places."""
    script = {"uri": "https://example.com/a.py", "timeout": "30", "source": {"type": "http", "timeout": 30}}
    assert source_settings(script).arguments["timeout"] == 30


@pytest.mark.parametrize("name", ["content", "uri"])
def test_local_reads_a_variable(name: str) -> None:
    """``type: local`` names a variable that holds the script."""
    script = {"type": "local", name: "clean_up"}
    assert source_settings(script, {"clean_up": "echo clean"}) == SourceSettings("inline", {"text": "echo clean"})


def test_settings_may_stand_in_both_places() -> None:
    """A setting beside the URI and in ``source`` may have one value."""
    assert source_settings({"type": "file", "uri": "a.py", "source": {"type": "file"}}).arguments == {"path": "a.py"}


def test_a_templated_uri_is_judged_when_it_is_rendered() -> None:
    """A template's value is not known yet."""
    script = {"uri": "{{ workload.script_uri }}", "source": {"type": "gcs"}}
    assert source_settings(script).arguments == {"uri": "{{ workload.script_uri }}"}


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("print(1)", "script must be a mapping, not str"),
        (
            {"content": "x"},
            "script has no type: set script.type or script.source.type to one of inline, local",
        ),
        ({"type": "gsc", "uri": "gs://b/o"}, "script has the unknown type 'gsc'; did you mean 'gcs'?"),
        ({"type": "ftp", "uri": "ftp://b/o"}, "script has the unknown type 'ftp'; known types: inline, local, file"),
        ({"type": "inline"}, "script has the type 'inline' but no content"),
        ({"type": "s3"}, "script has the type 's3' but no uri"),
        ({"type": "gcs", "url": "gs://b/o"}, "script has an unknown key 'url'; did you mean 'uri'?"),
        (
            {"uri": "gs://b/o", "source": {"type": "gcs", "aut": "g"}},
            "script.source has an unknown key 'aut'; did you mean 'auth'?",
        ),
        (
            {"type": "s3", "uri": "gs://b/o"},
            "script has the type 's3' and the uri 'gs://b/o'; a uri of that type begins with s3://",
        ),
        ({"type": "gcs", "uri": "b/o"}, "the uri 'b/o'; a uri of that type begins with gs://"),
        ({"type": "http", "uri": "s/a.py"}, "script has the relative uri 's/a.py'; set source.endpoint"),
        (
            {"type": "gcs", "uri": "gs://b/o", "source": {"type": "s3"}},
            "script has type: 'gcs' and source.type: 's3'; keep one of them",
        ),
        ({"type": "gcs", "uri": "gs://b/o", "region": "eu"}, "script has 'region', which type 'gcs' does not read"),
        (
            {"type": "s3", "uri": "s3://b/o", "method": "GET"},
            "type 's3' does not read; it reads uri, auth, region, endpoint",
        ),
        ({"type": "inline", "content": "x", "uri": "y"}, "script has 'uri', which type 'inline' does not read"),
        ({"type": "gcs", "uri": "gs://b/o", "auth": ["g"]}, "script has auth: ['g'], which must be text"),
        ({"type": "local", "uri": "clean"}, "variables has no 'clean'; known variables: none"),
    ],
)
def test_a_mistake_is_named(script: Any, message: str) -> None:
    """The message has the key, what was seen and what was expected."""
    with pytest.raises(ValueError, match="script") as error:
        source_settings(script)
    assert message in str(error.value)


def test_a_missing_variable_is_answered_with_the_nearest() -> None:
    """The error proposes the nearest variable."""
    with pytest.raises(ValueError, match="did you mean 'clean_up'"):
        source_settings({"type": "local", "uri": "cleanup"}, {"clean_up": "echo"})


@pytest.mark.parametrize(("script", "nested"), [({"source": {"type": "s3"}}, True), ({"type": "s3"}, False)])
def test_the_two_forms_are_told_apart(script: dict[str, Any], nested: bool) -> None:
    """Only the nested form has ``source``."""
    assert is_nested(script) is nested


def test_an_s3_store_of_ones_own_is_an_endpoint_url() -> None:
    """The tool's endpoint is S3Script's ``endpoint_url``."""
    found = source_settings({"type": "s3", "uri": "s3://b/o", "endpoint": "http://minio:9000"})
    assert found == SourceSettings("s3", {"uri": "s3://b/o", "endpoint_url": "http://minio:9000"})


def test_headers_that_disagree_are_not_shown() -> None:
    """Many people see an error of the parsing; header values may be secrets (R26)."""
    script = {"type": "http", "uri": "https://h/a.py", "headers": {"A": "one-secret"}}
    with pytest.raises(ValueError, match=r"different values of headers and source\.headers") as caught:
        source_settings(script | {"source": {"type": "http", "headers": {"A": "other-secret"}}})
    assert "secret" not in str(caught.value)
