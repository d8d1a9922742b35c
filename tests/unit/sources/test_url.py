"""URLs without their secrets, and their servers."""

from __future__ import annotations

import pytest

from airflow_script_provider.sources.url import is_same_host, redacted


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://h/x.py", "https://h/x.py"),
        ("https://u:p@h:8/x.py?X-Amz-Signature=s#f", "https://h:8/x.py?…"),
        ("https://u:p/w@h/x.py", "https://…"),
        ("https://u:p?w@h/x.py", "https://…"),
        ("https://h/@scope/x.js", "https://h/@scope/x.js"),
        ("https://[::1]:8/x.py", "https://[::1]:8/x.py"),
        ("https://[::1]/x.py", "https://[::1]/x.py"),
        ("https://{{ var.value.host }}:8/x.py", "https://{{ var.value.host }}:8/x.py"),
        ("http://[/x.py", "http://…"),
    ],
)
def test_a_url_is_shown_without_credentials(url: str, expected: str) -> None:
    """Neither login nor query is shown, even of a malformed URL (R26)."""
    assert redacted(url) == expected


@pytest.mark.parametrize(
    ("url", "target", "same"),
    [
        ("https://h/a", "https://h:443/b", True),
        ("http://h:80/a", "http://H/b", True),
        ("http://h/a", "https://h/b", True),
        ("https://h/a", "http://h/b", False),
        ("http://h:8080/a", "http://h/b", False),
        ("https://h/a", "https://h.example/b", False),
    ],
)
def test_a_server_is_host_port_and_scheme(url: str, target: str, same: bool) -> None:
    """A server's TLS port is the same server, but not the other way round."""
    assert is_same_host(url, target) is same
