"""URLs without their secrets, and their servers."""

from __future__ import annotations

import pytest

from airflow_script_provider.sources.web.url import is_html, is_over_tls, is_same_server, redacted


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://h/x.py", "https://h/x.py"),
        ("https://u:p@h:8/x.py?X-Amz-Signature=s#f", "https://h:8/x.py?…"),
        ("https://u:p/w@h/x.py", "https://…"),
        ("https://u:p?w@h/x.py", "https://…"),
        ("https://u:12/w@h/x.py", "https://…"),
        ("https://tok/en@h/x.py", "https://…"),
        ("https:///u:p@h/x.py", "https://…"),
        ("https://h/@scope/x.js", "https://h/@scope/x.js"),
        ("https://h.example.com/pkg@1.2/x.js", "https://h.example.com/pkg@1.2/x.js"),
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
        ("https://h:8443/a", "https://h:8443/b", True),
        ("http://h/a", "https://h/b", False),
        ("https://h/a", "http://h/b", False),
        ("https://h/a", "http://h:443/b", False),
        ("https://h/a", "https://h:8443/b", False),
        ("https://h/a", "http://h:9999/b", False),
        ("http://h:8080/a", "http://h/b", False),
        ("https://h/a", "https://h.example/b", False),
        ("https://h/a", "https://h@example.com/b", False),
    ],
)
def test_a_server_is_scheme_host_and_port(url: str, target: str, same: bool) -> None:
    """Only the same server may get a login (R26)."""
    assert is_same_server(url, target) is same


@pytest.mark.parametrize(
    ("url", "target", "is_tls"),
    [
        ("http://h", "https://h/a", True),
        ("http://h:8443", "https://h:8443/a", True),
        ("https://h", "http://h/a", False),
        ("http://h", "https://h:8443/a", False),
        ("http://h", "https://g/a", False),
        ("http://h", "http://h/a", False),
    ],
)
def test_the_same_host_and_port_over_tls(url: str, target: str, is_tls: bool) -> None:
    """A connection without a scheme means this as well."""
    assert is_over_tls(url, target) is is_tls


@pytest.mark.parametrize(
    ("path", "is_page"),
    [("mail.html", True), ("a/MAIL.HTM", True), ("mail.html.j2", True), ("html", False), ("x.py", False)],
)
def test_an_html_page_is_known_by_its_extension(path: str, is_page: bool) -> None:
    """An author who writes such a path wants a page."""
    assert is_html(path) is is_page
