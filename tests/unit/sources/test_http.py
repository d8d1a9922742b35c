"""A script behind a URL, from a real web server."""

from __future__ import annotations

import base64
import gzip
import html
import itertools
import json
import logging
import re
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from airflow.sdk._shared.secrets_masker import redact

from airflow_script_provider.exceptions import ScriptSourceError
from airflow_script_provider.kube.request.sizes import MAX_CONFIG_MAP
from airflow_script_provider.sources import HttpScript
from airflow_script_provider.sources.base import fetch_file
from tests.patience import with_time_to_begin
from tests.servers import Answer, WebServer
from tests.unit.sources.conftest import Connect


def refusal(source: HttpScript) -> ScriptSourceError:
    """The error of a script that cannot be read."""
    with pytest.raises(ScriptSourceError) as error:
        source.fetch()
    return error.value


def test_a_script_is_what_the_server_answers(web: WebServer) -> None:
    """Text, name, origin and ETag; CRLF is kept, a byte order mark dropped (R24)."""
    body = b"\xef\xbb\xbfprint('\xc3\xbc ${#a[@]} {{ x }}')\r\n"
    uri = web.answers("/etl/load%20it.py", Answer(body, headers={"ETag": '"v1"'}))
    script = HttpScript(uri).fetch()
    assert (script.data, script.name, script.origin) == (body[3:], "load it.py", uri)
    assert script.details == 'ETag "v1"'


def test_a_compressed_answer_is_unpacked(web: WebServer) -> None:
    """A compressed answer is read, although none is requested."""
    uri = web.answers("/x.py", Answer(gzip.compress(b"print(1)", mtime=0), headers={"Content-Encoding": "gzip"}))
    assert HttpScript(uri).fetch().text == "print(1)"
    assert web.requests[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [("gzip", gzip.compress(b"rm -rf /tmp/x/cache", mtime=0)), ("deflate", zlib.compress(b"rm -rf /x/cache"))],
)
def test_half_a_compressed_answer_is_none(web: WebServer, encoding: str, packed: bytes) -> None:
    """It is asked for again, although its length is what the header says (R1)."""
    half = Answer(packed[:-9], headers={"Content-Encoding": encoding})
    uri = web.answers("/x.sh", half, Answer(packed, headers={"Content-Encoding": encoding}))
    assert HttpScript(uri).fetch().text.endswith("/x/cache")
    web.answers("/x.sh", half)
    assert f"breaks off in the middle of its {encoding} data" in str(refusal(HttpScript(uri)))


@pytest.mark.parametrize("sent", [b"5\r\nrm -r\r\n", b"20\r\nrm -rf /tmp"])
def test_half_a_chunked_answer_is_none(web: WebServer, sent: bytes) -> None:
    """A chunked answer ends with an empty chunk (R1)."""
    uri = web.answers("/x.sh", Answer([sent], headers={"Transfer-Encoding": "chunked"}))
    assert "broke the connection" in str(refusal(HttpScript(uri)))


def test_an_encoding_that_nothing_unpacks_is_named(web: WebServer) -> None:
    """None was asked for, and the bytes are not the script."""
    uri = web.answers("/x.py", Answer(b"\x0b\x03", headers={"Content-Encoding": "br"}))
    assert "has the Content-Encoding 'br', which cannot be unpacked" in str(refusal(HttpScript(uri)))


def test_a_compressed_error_is_shown(web: WebServer) -> None:
    """Its message is read as a script is."""
    said = Answer(gzip.compress(b"no such branch", mtime=0), 404, {"Content-Encoding": "gzip"})
    assert "The server's message: no such branch" in str(refusal(HttpScript(web.answers("/x.py", said))))


def test_a_broken_compression_is_said(web: WebServer) -> None:
    """An answer that cannot be decompressed is a permanent error."""
    uri = web.answers("/x.py", Answer(b"no gzip at all", headers={"Content-Encoding": "gzip"}))
    error = refusal(HttpScript(uri))
    assert "cannot be decompressed as its Content-Encoding says" in str(error)
    assert not error.retryable


@pytest.mark.parametrize("uri", ["/scripts/x.py", "scripts/x.py"])
def test_a_relative_uri_is_on_the_connections_host(web: WebServer, connect: Connect, uri: str) -> None:
    """A relative URI works with and without the leading slash."""
    web.answers("/scripts/x.py", b"print(1)")
    conn_id = connect("repo", conn_type="http", host=web.url)
    assert HttpScript(uri, conn_id=conn_id).fetch().origin == f"{web.url}/scripts/x.py"


def test_a_relative_uri_continues_the_endpoint(web: WebServer) -> None:
    """The endpoint replaces the connection's host."""
    web.answers("/base/x.py", b"print(1)")
    assert HttpScript("/x.py", endpoint=f"{web.url}/base/").fetch().text == "print(1)"


def test_a_relative_uri_without_a_host_is_refused() -> None:
    """The message lists the three solutions."""
    assert "write http(s)://…, or set endpoint, or a conn_id whose connection has a host" in str(
        refusal(HttpScript("/x.py"))
    )


def test_a_connection_that_is_not_defined_is_named() -> None:
    """An undefined connection is a permanent error."""
    error = refusal(HttpScript("https://example.com/x.py", conn_id="nobody"))
    assert "connection 'nobody' is not defined" in str(error)
    assert not error.retryable


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({"login": "bob", "password": "hunter22"}, "Basic " + base64.b64encode(b"bob:hunter22").decode()),
        ({"password": "to-ken"}, "Bearer to-ken"),
        ({"extra": {"Authorization": "Bearer other"}}, "Bearer other"),
    ],
)
def test_the_connection_gives_the_credentials(
    web: WebServer, connect: Connect, fields: dict[str, Any], sent: str
) -> None:
    """Credentials are a login, a bearer token, or a header in the extra."""
    conn_id = connect("repo", conn_type="http", **fields)
    HttpScript(web.answers("/x.py", b"print(1)"), conn_id=conn_id).fetch()
    assert web.requests[0].headers["authorization"] == sent


def test_a_login_in_the_url_is_used_and_not_shown(web: WebServer) -> None:
    """The URL's login is sent, and the origin does not show it (R26)."""
    uri = web.answers("/x.py", b"print(1)").replace("://", "://bob:hunter%40@")
    source = HttpScript(uri)
    assert source.fetch().origin == f"{web.url}/x.py"
    assert web.requests[0].headers["authorization"] == "Basic " + base64.b64encode(b"bob:hunter@").decode()
    assert "hunter" not in f"{source} {source!r}"


def test_method_and_headers_are_sent(web: WebServer) -> None:
    """The request has the source's method and headers."""
    HttpScript(web.answers("/x.py", b"print(1)"), method="post", headers={"X-Api-Key": "k"}).fetch()
    assert (web.requests[0].method, web.requests[0].headers["x-api-key"]) == ("POST", "k")


def test_credentials_stay_with_their_host(web: WebServer, other_web: WebServer, connect: Connect) -> None:
    """A redirect to another host gets neither login nor headers (R26)."""
    target = other_web.answers("/x.py", b"print(1)")
    conn_id = connect("repo", conn_type="http", login="bob", password="hunter22", extra={"X-Token": "extra"})
    uri = web.answers("/x.py", Answer(status=302, headers={"Location": target, "Set-Cookie": "a=b"}))
    script = HttpScript(uri, conn_id=conn_id, headers={"X-Api-Key": "k"}).fetch()
    assert script.origin == uri
    assert not {"authorization", "x-api-key", "x-token", "cookie"} & other_web.requests[0].headers.keys()


def test_credentials_follow_on_the_same_host(web: WebServer) -> None:
    """A redirect on the same host gets the credentials."""
    web.answers("/new.py", b"print(1)")
    uri = web.answers("/old.py", Answer(status=301, headers={"Location": "/new.py"}))
    HttpScript(uri, headers={"X-Api-Key": "k"}).fetch()
    assert web.requests[1].headers["x-api-key"] == "k"


def test_a_redirect_from_https_to_http_is_refused(web: WebServer, tls_web: WebServer, ca_file: str) -> None:
    """Without TLS an attacker could replace the script."""
    target = web.answers("/x.py", b"print(1)")
    uri = tls_web.answers("/x.py", Answer(status=302, headers={"Location": f"{target}?sig=abcdef"}))
    error = refusal(HttpScript(uri, verify=ca_file))
    assert f"redirects to {target}?…; only http(s) is followed, and from https only https" in str(error)
    assert web.requests == []


def test_redirects_have_an_end(web: WebServer) -> None:
    """Endless redirects end with an error."""
    uri = web.answers("/x.py", Answer(status=302, headers={"Location": "/x.py"}))
    assert "redirects more than 5 times" in str(refusal(HttpScript(uri)))
    assert len(web.requests) == 6


def test_tls_with_a_ca_bundle(tls_web: WebServer, connect: Connect, ca_file: str) -> None:
    """The CA bundle is set in the source or in the connection's extra."""
    uri = tls_web.answers("/x.py", b"print(1)")
    conn_id = connect("repo", conn_type="http", host=tls_web.url, extra={"verify": ca_file})
    assert HttpScript(uri, verify=ca_file).fetch().text == "print(1)"
    assert HttpScript("/x.py", conn_id=conn_id).fetch().text == "print(1)"


def test_tls_that_nobody_vouches_for_is_refused(tls_web: WebServer) -> None:
    """The error for an unknown CA names the solution, and is permanent."""
    error = refusal(HttpScript(tls_web.answers("/x.py", b"print(1)")))
    assert "failed TLS verification (CERTIFICATE_VERIFY_FAILED)" in str(error)
    assert "Set verify to the file of its CA" in str(error)
    assert not error.retryable


def test_tls_where_there_is_none_is_said(web: WebServer) -> None:
    """The error reports a failed TLS handshake."""
    uri = web.answers("/x.py", b"print(1)").replace("http:", "https:")
    assert "failed the TLS handshake: " in str(refusal(HttpScript(uri)))


def test_a_bundle_that_is_missing_is_said(tls_web: WebServer) -> None:
    """The error names the argument of the missing bundle."""
    error = refusal(HttpScript(tls_web.answers("/x.py", b"print(1)"), verify="/none.pem"))
    assert "verify is not a readable CA bundle" in str(error)
    assert not error.retryable


@pytest.mark.parametrize(
    ("status", "words", "retryable"),
    [
        (
            401,
            "answered 401 Unauthorized. It denies access to user 'bob' of connection 'repo'",
            False,
        ),
        (403, "answered 403 Forbidden. It denies access to user 'bob' of connection 'repo'", False),
        (404, "answered 404 Not Found. The script does not exist, or is hidden from user 'bob'", False),
        (418, "answered 418 I'm a Teapot\nThe server's message: why <b>not</b>", False),
        (503, "answered 503 Service Unavailable\nThe server's message: why <b>not</b>", True),
    ],
)
def test_a_status_is_told_with_what_the_server_said(
    web: WebServer, connect: Connect, status: int, words: str, retryable: bool
) -> None:
    """The error has status, identity, and the start of the server's message."""
    conn_id = connect("repo", conn_type="http", login="bob", password="hunter22", host=web.url)
    web.answers("/x.py", Answer(b"why <b>not</b>\n", status, {"Retry-After": "0"}))
    error = refusal(HttpScript("/x.py", conn_id=conn_id))
    assert words in str(error)
    assert "why <b>not</b>" in str(error)
    assert error.retryable is retryable
    assert len(web.requests) == (5 if retryable else 1)


def test_only_the_first_bytes_of_an_error_are_shown(web: WebServer) -> None:
    """A long answer is cut, so that the log stays readable."""
    uri = web.answers("/x.py", Answer(b"e" * 100_000, 400))
    assert str(refusal(HttpScript(uri))).count("e" * 10) == 20


def test_a_server_that_repeats_our_secrets_is_not_quoted(web: WebServer, connect: Connect) -> None:
    """An error contains neither header, password nor signature (R26)."""
    conn_id = connect("repo", conn_type="http", password="bearer-secret", extra={"X-Extra": "extra-secret"})
    said = b"bearer-secret and header-secret and extra-secret and url-secret"
    uri = web.answers("/x.py", Answer(said, 400)) + "?X-Amz-Signature=url-secret"
    error = refusal(HttpScript(uri, conn_id=conn_id, headers={"X-Api-Key": "header-secret"}))
    assert "The server's message: *** and *** and *** and ***" in str(error)
    assert error.__cause__ is None
    assert error.__context__ is None


@pytest.mark.parametrize("secret", ['p"ss\\word-é', "sig+/with=signs&more", "s3cr3t-pw-XYZ", "tür 7 öffne dich"])
@pytest.mark.parametrize(
    "write",
    [str, json.dumps, lambda text: json.dumps(json.dumps(text)), repr, quote, quote_plus, html.escape],
    ids=["plain", "JSON", "JSON in JSON", "Python", "URL", "form", "HTML"],
)
def test_a_server_that_escapes_our_secrets_is_not_quoted(
    web: WebServer, secret: str, write: Callable[[str], str]
) -> None:
    """A message has the headers as JSON, as a part of a URL or of a page, or basic auth's login (R26)."""
    uri = web.answers("/x.py", Answer(f"you sent {write(secret)} to us".encode(), 403))
    login = base64.b64encode(f"bob:{secret}".encode()).decode()
    sources = [
        HttpScript(uri, headers={"X-Api-Key": secret}),
        HttpScript(uri, headers={"Authorization": f"Basic {login}"}),
        HttpScript(f"{uri}?sig={quote(secret, safe='')}"),
        HttpScript(uri.replace("://", f"://bob:{quote(secret, safe='')}@")),
    ]
    for source in sources:
        error = refusal(source)
        assert re.search(r"The server's message: you sent \W*\*\*\*\W* to us$", str(error)), error


@pytest.mark.parametrize(
    ("login", "sent"),
    [
        ("alice:hunter22", "alice:hunter22"),
        ("al%C3%AFce:h%C3%BCnter22", "alïce:hünter22"),
        ("ghp_token7", "ghp_token7:"),
    ],
)
def test_a_server_that_repeats_basic_auth_is_not_quoted(web: WebServer, login: str, sent: str) -> None:
    """The header is user and password in base64: it is in no error, and is masked in the log (R26)."""
    header = base64.b64encode(sent.encode("latin-1")).decode()
    said = Answer(f"no such login: Basic {header}".encode(), 401, reason=f"Denied to {header}")
    uri = web.answers("/x.py", said).replace("://", f"://{login}@")
    error = str(refusal(HttpScript(uri)))
    assert web.requests[0].headers["authorization"] == f"Basic {header}"
    assert "answered 401 Denied to ***. It denies" in error
    assert error.endswith("The server's message: no such login: ***")
    assert redact(header) == "***"


def test_a_redirects_signature_is_not_quoted(web: WebServer) -> None:
    """A store repeats it in its error (R26)."""
    uri = web.answers("/x.py", Answer(status=302, headers={"Location": "/blob?X-Amz-Signature=url-secret"}))
    web.answers("/blob", Answer(b"SignatureProvided: url-secret", 403))
    assert str(refusal(HttpScript(uri))).endswith("The server's message: SignatureProvided: ***")


def test_a_secret_that_a_long_message_cuts_is_not_quoted(web: WebServer) -> None:
    """Of a message only the first bytes are read, so that its last secret may lack its end (R26)."""
    secret = "s3cr3t" * 60
    uri = web.answers("/x.py", Answer(f"{secret} ".encode() * 50, 403))
    assert "s3cr3t" not in str(refusal(HttpScript(uri, headers={"X-Api-Key": secret})))


@pytest.mark.parametrize("host", ["http://bob:hunter22/x@repo.example", "http://[bad", "http://repo.example:port"])
@pytest.mark.parametrize("uri", ["http://repo.example/x.py", "/x.py"])
def test_a_connection_whose_host_is_not_valid_is_named(connect: Connect, host: str, uri: str) -> None:
    """The error names the connection and shows nothing of its host, which may have a password (R22, R26)."""
    error = refusal(HttpScript(uri, conn_id=connect("repo", conn_type="http", host=host)))
    assert "cannot be requested: connection 'repo' has no valid URL; check host and extra" in str(error)
    assert "hunter22" not in str(error)
    assert not error.retryable


def test_secrets_among_the_headers_are_masked_and_words_are_not(web: WebServer, connect: Connect) -> None:
    """Secrets are masked in the log; a version or a tenant stays readable (R26)."""
    conn_id = connect("repo", conn_type="http", extra={"X-Team": "connection-secret"})
    own = {"X-Api-Key": "named-secret", "Authorization": "Custom scheme-secret", "X-Id": "looks4random8secret0"}
    plain = {"X-GitHub-Api-Version": "2022-11-28", "X-Tenant": "production", "Accept": "application/json"}
    HttpScript(web.answers("/x.py", b"print(1)"), conn_id=conn_id, headers=own | plain).fetch()
    assert redact("connection-secret named-secret scheme-secret looks4random8secret0") == "*** *** *** ***"
    for value in plain.values():
        assert redact(value) == value


def test_a_header_that_is_no_text_is_refused() -> None:
    """The message has only the error's name, as for a line break."""
    headers: Any = {"X-Version": 2}
    assert "cannot be requested: InvalidHeader" in str(refusal(HttpScript("http://127.0.0.1/x.py", headers=headers)))


@pytest.mark.parametrize("first", [Answer(b"", 429, {"Retry-After": "0"}), Answer(b"", 502, {"Retry-After": "0"})])
def test_a_transient_status_is_tried_again(web: WebServer, first: Answer, caplog: pytest.LogCaptureFixture) -> None:
    """The log has reason and delay; ``Retry-After`` is respected."""
    uri = web.answers("/x.py", first, first, Answer(b"print(1)"))
    with caplog.at_level(logging.WARNING):
        assert HttpScript(f"{uri}?sig=url-secret").fetch().text == "print(1)"
    assert [record.message.endswith("; trying again in 0 s") for record in caplog.records] == [True, True]
    assert "url-secret" not in caplog.text


def test_a_reset_is_tried_again(web: WebServer) -> None:
    """A connection that breaks before the answer is repeated."""
    uri = web.answers("/x.py", Answer(reset=True), Answer(b"print(1)"))
    assert HttpScript(uri).fetch().text == "print(1)"


def test_half_an_answer_is_none(web: WebServer) -> None:
    """A broken connection is repeated, and never taken for the script's end (R1)."""
    half = Answer(b"rm -rf /tmp/x", headers={"Content-Length": "20"})
    uri = web.answers("/x.sh", half, Answer(b"rm -rf /tmp/x/cache/"))
    assert HttpScript(uri).fetch().text == "rm -rf /tmp/x/cache/"


def test_a_post_is_not_tried_again(web: WebServer) -> None:
    """A POST may have had an effect, so it is not repeated."""
    uri = web.answers("/x.py", Answer(b"", 503), Answer(b"print(1)"))
    assert refusal(HttpScript(uri, method="POST")).retryable


def test_an_endless_answer_is_left(web: WebServer) -> None:
    """Reading ends at the size of a ConfigMap (R25)."""
    sent = itertools.count()
    endless = (b"#" * 65536 for _ in sent)
    error = refusal(HttpScript(web.answers("/x.py", Answer(endless))))
    assert "is larger, more than the 1,048,576 that a ConfigMap holds" in str(error)
    assert not error.retryable
    assert next(sent) * 65536 < 16 * MAX_CONFIG_MAP


def test_a_large_answer_is_refused_by_its_length(web: WebServer) -> None:
    """A large answer is refused before it is read (R25)."""
    uri = web.answers("/x.py", Answer(b"#", headers={"Content-Length": "5000000"}))
    assert "has 5,000,000 bytes, more than" in str(refusal(HttpScript(uri)))


def test_a_compressed_bomb_is_refused(web: WebServer) -> None:
    """The limit applies to the decompressed script (R25)."""
    bomb = Answer(gzip.compress(b"#" * (MAX_CONFIG_MAP + 1), mtime=0), headers={"Content-Encoding": "gzip"})
    assert "is larger" in str(refusal(HttpScript(web.answers("/x.py", bomb))))


def test_a_slow_server_is_left(web: WebServer) -> None:
    """A timeout is retryable; a POST is sent only once."""
    uri = web.answers("/x.py", Answer(b"print(1)", delay=5))
    error = refusal(HttpScript(uri, timeout=0.2, method="POST"))
    assert str(error).endswith(f"{web.url.removeprefix('http://')} did not answer in time")
    assert error.retryable


def test_a_server_that_drips_is_left(web: WebServer) -> None:
    """The timeout applies to the whole attempt, not to one byte."""

    def drip() -> Iterator[bytes]:
        while True:
            time.sleep(0.05)
            yield b"#"

    uri = web.answers("/x.py", Answer(drip()))
    _, error = with_time_to_begin(
        lambda seconds: refusal(HttpScript(uri, timeout=seconds, method="POST")),
        lambda error: "did not answer in time" not in str(error),
        0.4,
    )
    assert "did not arrive in time" in str(error)


def test_a_name_that_nobody_knows_is_said() -> None:
    """The error reports DNS; a POST is sent only once."""
    error = refusal(HttpScript("http://scripts.invalid/x.py?sig=url-secret", method="POST"))
    assert "scripts.invalid could not be resolved (DNS)" in str(error)
    assert "url-secret" not in str(error)
    assert error.retryable


def test_a_refused_connection_is_said() -> None:
    """The error reports that the host refused the connection."""
    error = refusal(HttpScript("http://127.0.0.1:1/x.py", method="POST"))
    assert "127.0.0.1:1 refused the connection" in str(error)


def test_other_bytes_than_text_are_read_as_they_are(web: WebServer) -> None:
    """A key or an archive need not be text (R24)."""
    assert HttpScript(web.answers("/key.p12", b"\x00\xff\r\n")).fetch().data == b"\x00\xff\r\n"


@pytest.mark.parametrize(
    ("uri", "path", "is_taken"),
    [("/mail.html", "x", True), ("/get", "mail.html", True), ("/get", "mail.HTM", True), ("/get", "x.csv", False)],
)
@pytest.mark.parametrize("start", [b"<!doctype html>", b"\n<HTML>"])
def test_a_page_is_taken_where_the_author_asks_for_one(
    web: WebServer, uri: str, path: str, is_taken: bool, start: bytes
) -> None:
    """The URL, or the path among ``files``, says that a page is meant and no login page is."""
    source = HttpScript(web.answers(uri, start + b"<p>Hello"))
    if is_taken:
        assert fetch_file(source, path, None).data == start + b"<p>Hello"
    else:
        with pytest.raises(ScriptSourceError, match="answered with an HTML page"):
            fetch_file(source, path, None)


def test_other_markup_is_no_page(web: WebServer) -> None:
    """An SVG has a document type too."""
    uri = web.answers("/x.svg", b"<!DOCTYPE svg><svg/>")
    assert HttpScript(uri).fetch().text == "<!DOCTYPE svg><svg/>"


@pytest.mark.parametrize(
    ("asked", "disposition", "target", "name"),
    [
        ("/files/run.sh/raw?ref=main", 'inline; filename="run.sh"', None, "run.sh"),
        ("/files/1/raw", "attachment; filename*=UTF-8''l%C3%A4uft.sh", None, "läuft.sh"),
        ("/files/1/raw", 'attachment; filename="C:\\\\etl\\\\run.sh"', None, "run.sh"),
        ("/x.py", 'inline; filename="../run.sh"', None, "run.sh"),
        ("/x.py", 'inline; filename="download"', None, "x.py"),
        ("/repo/download", None, "/x/run.sh?sig=secret", "run.sh"),
        ("/run.sh", None, "/blobs/4f3a", "run.sh"),
        ("/get?file=run.sh&v=1", None, None, "run.sh"),
        ("/get?path=etl%2Frun.sh", None, None, "run.sh"),
        ("/get?v=1", None, None, "get"),
        ("/", None, None, "script"),
    ],
)
def test_the_name_is_the_servers_or_a_urls(
    web: WebServer, asked: str, disposition: str | None, target: str | None, name: str
) -> None:
    """Content-Disposition goes first, then the last URL, then the one that was asked for (R23)."""
    sent = Answer(b"echo hi", headers={"Content-Disposition": disposition} if disposition else {})
    web.answers(asked.partition("?")[0], Answer(status=302, headers={"Location": target}) if target else sent)
    web.answers((target or "/none").partition("?")[0], sent)
    assert HttpScript(f"{web.url}{asked}").fetch().name == name


def test_a_login_page_is_refused(web: WebServer) -> None:
    """A page that a server sends instead of the script is a permanent error."""
    error = refusal(HttpScript(web.answers("/x.py", b"\n<!DOCTYPE html><p>Log in")))
    assert "answered with an HTML page" in str(error)
    assert not error.retryable


@pytest.mark.parametrize(
    ("uri", "headers"), [("http://[/x.py", None), ("http://127.0.0.1/x.py", {"X-A": "secret\nvalue"})]
)
def test_a_request_that_cannot_be_made_is_refused(uri: str, headers: dict[str, str] | None) -> None:
    """The message omits the error's text, which may have a header's value (R26)."""
    error = refusal(HttpScript(uri, headers=headers))
    assert "cannot be requested" in str(error) or "is not a valid URL" in str(error)
    assert "secret" not in str(error)


@pytest.mark.parametrize(
    ("fields", "uri"),
    [
        ({"host": "https://repo.example"}, "http://repo.example/x.py"),
        ({"host": "https://repo.example"}, "http://repo.example:9999/x.py"),
        ({"host": "https://repo.example"}, "https://repo.example:8443/x.py"),
        ({"host": "https://repo.example"}, "https://elsewhere.example/x.py"),
        ({"host": "http://repo.example"}, "https://repo.example/x.py"),
        ({"host": "repo.example", "schema": "http"}, "https://repo.example/x.py"),
        ({"host": "repo.example", "schema": "https", "port": 8443}, "https://repo.example/x.py"),
        ({"host": "repo.example"}, "https://repo.example:8443/x.py"),
        ({"host": "repo.example"}, "http://repo.example:8080/x.py"),
    ],
)
def test_a_connections_login_is_not_sent_to_another_server(connect: Connect, fields: dict[str, Any], uri: str) -> None:
    """A template may name any URL; only the connection's scheme, host and port get its login (R26)."""
    conn_id = connect("repo", conn_type="http", login="bob", password="hunter22", **fields)
    error = refusal(HttpScript(uri, conn_id=conn_id))
    assert f"is on another server than connection {conn_id!r}" in str(error)
    assert "hunter22" not in str(error)
    assert not error.retryable


def test_a_connection_without_a_scheme_may_mean_tls(tls_web: WebServer, connect: Connect, ca_file: str) -> None:
    """Airflow takes it for http; the URL of the script may say https."""
    uri, port = tls_web.answers("/x.py", b"print(1)"), tls_web.server_port
    conn_id = connect("repo", conn_type="http", host="127.0.0.1", port=port, login="bob", password="hunter22")
    assert HttpScript(uri, conn_id=conn_id, verify=ca_file).fetch().text == "print(1)"
    assert "authorization" in tls_web.requests[0].headers


def test_a_redirect_that_loses_the_login_is_told(web: WebServer, other_web: WebServer, connect: Connect) -> None:
    """Another port of the host is another server; the error says who was asked as whom (R22, R26)."""
    target = other_web.answers("/x.py", Answer(b"", 401))
    conn_id = connect("repo", conn_type="http", host=web.url, login="bob", password="hunter22")
    web.answers("/x.py", Answer(status=302, headers={"Location": f"{target}?sig=url-secret"}))
    error = refusal(HttpScript("/x.py", conn_id=conn_id))
    assert "authorization" not in other_web.requests[0].headers
    assert f"It denies access to an anonymous user: redirected to {target}?…, which does not get the login" in str(
        error
    )


def test_a_login_without_a_password_is_a_token(web: WebServer) -> None:
    """An error does not show a login that is a token (R26)."""
    web.answers("/x.py", Answer(b"no", status=403))
    error = refusal(HttpScript(web.url.replace("://", "://ghp_TOKEN123456@") + "/x.py"))
    assert "ghp_TOKEN123456" not in str(error)
