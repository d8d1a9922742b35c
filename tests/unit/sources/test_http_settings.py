"""The settings of ``HttpScript``, checked at DAG parse or after rendering."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest

from airflow_script_provider.exceptions import ScriptSourceError
from airflow_script_provider.sources import HttpScript
from tests.servers import WebServer


def refusal(source: HttpScript) -> ScriptSourceError:
    """The error of a script that cannot be read."""
    with pytest.raises(ScriptSourceError) as error:
        source.fetch()
    return error.value


@pytest.mark.parametrize("path", ["", "/api/v1", "/api/v1?key=1"])
def test_a_full_url_goes_before_an_endpoint_of_its_server(web: WebServer, path: str) -> None:
    """A full URL replaces an endpoint on the same server."""
    uri = web.answers("/x.py", b"print(1)")
    assert HttpScript(uri, endpoint=f"{web.url}{path}").fetch().origin == uri
    assert HttpScript(uri, endpoint=web.url.removeprefix("http://")).fetch().origin == uri


@pytest.mark.parametrize(
    ("uri", "endpoint"),
    [
        ("https://example.com/x.py", "https://u:secret@example.org"),
        ("https://example.com/x.py", "u:secret@example.org"),
        ("https://example.com/x.py", "https://example.com:8443"),
        ("http://example.com/x.py", "https://example.com"),
        ("https://example.com/x.py", "https://u:sec/ret@example.com"),
        ("https://example.com/x.py", "https://[/secret"),
    ],
)
def test_a_full_url_on_another_server_than_its_endpoint_is_refused(uri: str, endpoint: str) -> None:
    """The error shows no login, at DAG parse and after rendering (R26, R29)."""
    message = r"is on another server than endpoint=.*; leave out endpoint, or write uri as a path"
    with pytest.raises(ValueError, match=message) as at_parse:
        HttpScript(uri, endpoint=endpoint)
    source = HttpScript(uri, endpoint="{{ params.endpoint }}")
    source.endpoint = endpoint
    when_rendered = refusal(source)
    assert re.search(message, str(when_rendered))
    assert not when_rendered.retryable
    assert "sec" not in f"{at_parse.value} {when_rendered}"


def test_it_is_shown_by_its_place() -> None:
    """The page Rendered Templates shows neither headers nor query (R26)."""
    source = HttpScript("/x.py?token=t0", conn_id="repo", headers={"X-Api-Key": "k0"})
    assert str(source) == repr(source) == "/x.py of connection 'repo'"
    assert str(HttpScript("x.py", endpoint="https://u:p@h/b")) == "x.py on https://h/b"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"timeout": 0}, "timeout=0 must be more than 0"),
        ({"timeout": "soon"}, "timeout='soon' must be seconds"),
        ({"method": "GTE"}, "method='GTE' must be one of GET, HEAD, POST"),
    ],
)
def test_a_mistake_is_said_at_parse_or_when_it_is_rendered(wrong: dict[str, Any], message: str) -> None:
    """A rendered template is checked before the request; the error is permanent (R29)."""
    with pytest.raises(ValueError, match=message):
        HttpScript("https://h/x.py", **wrong)
    templates: dict[str, Any] = dict.fromkeys(wrong, "{{ params.x }}")
    source = HttpScript("https://h/x.py", **templates)
    vars(source).update(wrong)
    error = refusal(source)
    assert message in str(error)
    assert not error.retryable


@pytest.mark.parametrize("timeout", [5, "5", "0.5", timedelta(seconds=5)])
def test_a_timeout_is_a_number_however_it_is_written(web: WebServer, timeout: Any) -> None:
    """A timeout is a number, the text of a number, or a timedelta."""
    assert HttpScript(web.answers("/x.py", b"print(1)"), timeout=timeout).fetch().text == "print(1)"
