"""Google Cloud Storage: an emulator, and a web server for answers that it never gives."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import logging
import sys
import types
from typing import Any

import pytest

from airflow_script_provider._airflow import AirflowException
from airflow_script_provider.exceptions import ScriptSourceError
from airflow_script_provider.kube.request.sizes import MAX_CONFIG_MAP
from airflow_script_provider.sources import GCSScript
from tests.servers import Answer, GCSServer, WebServer
from tests.unit.sources.conftest import Connect

BROKEN = {"no_json": AirflowException("Invalid key JSON."), "no_key": KeyError("private_key")}
METADATA = "/storage/v1/b/etl/o/x.py"
CONTENT = "/download/storage/v1/b/etl/o/x.py"


def refusal(source: GCSScript) -> ScriptSourceError:
    """The error of a script that cannot be read."""
    with pytest.raises(ScriptSourceError) as error:
        source.fetch()
    return error.value


def an_object(data: bytes, **fields: Any) -> Answer:
    """GCS's description of an object."""
    values = {"name": "x.py", "bucket": "etl", "generation": "7", "size": str(len(data))}
    return Answer(json.dumps(values | fields).encode(), headers={"Content-Type": "application/json"})


def an_error(status: int, message: str) -> Answer:
    """GCS's error answer."""
    body = {"error": {"code": status, "message": message, "errors": [{"message": message}]}}
    return Answer(json.dumps(body).encode(), status, {"Content-Type": "application/json"})


@pytest.fixture
def key() -> dict[str, str]:
    """The key of a service account without rights."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    pem = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    email = "loader@p.iam.gserviceaccount.com"
    return {"type": "service_account", "client_email": email, "private_key": pem.decode(), "private_key_id": "k"}


@pytest.fixture
def google(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> WebServer:
    """A web server in the place of Google, with tokens."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", web.url)
    token = {"access_token": "minted-token", "expires_in": 3600, "token_type": "Bearer"}
    web.answers("/token", Answer(json.dumps(token).encode(), headers={"Content-Type": "application/json"}))
    web.answers(METADATA, an_object(b"print(1)"))
    web.answers(CONTENT, b"print(1)")
    return web


@pytest.fixture
def anonymous(connect: Connect) -> str:
    """A connection without credentials."""
    return connect("anonymous", conn_type="google_cloud_platform", extra={"is_anonymous": True, "project": "p"})


def test_a_script_is_an_object(gcs: GCSServer, anonymous: str) -> None:
    """Text, name, origin and generation; CRLF is kept, a byte order mark dropped (R24)."""
    body = b"\xef\xbb\xbfprint('\xc3\xbc ${#a[@]} {{ x }}')\r\n"
    generation = gcs.put("etl", "daily/load it.py", body)
    script = GCSScript("gs://etl/daily/load it.py", conn_id=anonymous).fetch()
    assert (script.data, script.name, script.origin) == (body[3:], "load it.py", "gs://etl/daily/load it.py")
    assert script.details == f"generation {generation}"


def test_the_default_connection_need_not_exist(gcs: GCSServer) -> None:
    """Then the application default credentials are used (R32)."""
    gcs.put("etl", "plain.py", b"print(1)")
    assert GCSScript("gs://etl/plain.py").fetch().text == "print(1)"


def test_the_generation_is_checked(gcs: GCSServer, anonymous: str) -> None:
    """Another generation in the answer, or an invalid one, is refused."""
    old = gcs.put("etl", "generations.py", b"print('old')")
    new = gcs.put("etl", "generations.py", b"print('new')")
    assert GCSScript("gs://etl/generations.py", conn_id=anonymous, generation=str(new)).fetch().text == "print('new')"
    error = refusal(GCSScript("gs://etl/generations.py", conn_id=anonymous, generation=old))
    is_missing = f"bucket 'etl' has no object 'generations.py' of generation {old}"
    is_another = f"has generation {new}; generation {old} was deleted"
    assert (is_missing if gcs.keeps_to_generations else is_another) in str(error)
    assert not error.retryable
    assert "generation='x' is not a number" in str(refusal(GCSScript("gs://etl/x.py", generation="x")))


def test_a_generation_in_the_uri(gcs: GCSServer, anonymous: str) -> None:
    """``#1700…`` is understood as gsutil writes it; the name is the object's."""
    generation = gcs.put("etl", "lib/uri.sh", b"echo hi")
    script = GCSScript(f"gs://etl/lib/uri.sh#{generation}", conn_id=anonymous).fetch()
    assert (script.text, script.name, script.details) == ("echo hi", "uri.sh", f"generation {generation}")
    error = refusal(GCSScript("gs://etl/lib/uri.sh#5", conn_id=anonymous))
    is_missing = "bucket 'etl' has no object 'lib/uri.sh' of generation 5"
    is_another = f"has generation {generation}; generation 5 was deleted or never existed"
    assert (is_missing if gcs.keeps_to_generations else is_another) in str(error)


def test_a_name_that_looks_like_a_generation(google: WebServer, anonymous: str) -> None:
    """The name itself goes first."""
    for name in ("real.sh%231", "real.sh%23one"):
        google.answers(METADATA.replace("x.py", name), an_object(b"echo"))
        google.answers(CONTENT.replace("x.py", name), name.encode())
        uri = f"gs://etl/{name.replace('%23', '#')}"
        assert GCSScript(uri, conn_id=anonymous).fetch().text == name
    google.answers(METADATA.replace("x.py", "real.sh%23two"), an_error(404, "No such object: etl/real.sh#two"))
    assert "has no object 'real.sh#two'" in str(refusal(GCSScript("gs://etl/real.sh#two", conn_id=anonymous)))


def test_a_compressed_object_is_unpacked(google: WebServer, anonymous: str) -> None:
    """The answer's Content-Encoding says so; checksum and size are those of the compressed bytes."""
    packed = gzip.compress(b"echo hi", mtime=0)
    google.answers(METADATA, an_object(packed, contentEncoding="gzip"))
    md5 = base64.b64encode(hashlib.md5(packed).digest()).decode()
    google.answers(CONTENT, Answer(packed, headers={"Content-Encoding": "gzip", "X-Goog-Hash": f"md5={md5}"}))
    assert GCSScript("gs://etl/x.py", conn_id=anonymous).fetch().text == "echo hi"
    google.answers(CONTENT, b"echo hi")
    assert GCSScript("gs://etl/x.py", conn_id=anonymous).fetch().text == "echo hi"


@pytest.mark.parametrize(
    ("encoding", "body", "words"),
    [
        (
            "gzip",
            gzip.compress(b"rm -rf /tmp/x", mtime=0)[:-9],
            "gs://etl/x.py breaks off in the middle of its gzip data",
        ),
        (
            "gzip",
            gzip.compress(b"#" * (MAX_CONFIG_MAP + 1), mtime=0),
            "gs://etl/x.py is larger, more than the 1,048,576",
        ),
        ("br", b"echo hi", "gs://etl/x.py has the Content-Encoding 'br', which cannot be unpacked"),
    ],
)
def test_a_compression_that_is_not_whole(
    google: WebServer, anonymous: str, encoding: str, body: bytes, words: str
) -> None:
    """Half of it is never run, and the limit is that of the content (R1, R25)."""
    google.answers(METADATA, an_object(body, contentEncoding=encoding))
    google.answers(CONTENT, Answer(body, headers={"Content-Encoding": encoding}))
    assert words in str(refusal(GCSScript("gs://etl/x.py", conn_id=anonymous)))


def test_the_content_is_that_of_the_generation(google: WebServer, anonymous: str) -> None:
    """An object that is replaced between two requests is not mixed up."""
    GCSScript("gs://etl/x.py", conn_id=anonymous).fetch()
    assert [request.path.partition("?")[0] for request in google.requests] == [METADATA, CONTENT]
    assert "generation=7" in google.requests[1].path


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("gs://none/x.py", "gs://none/x.py: bucket 'none' does not exist"),
        ("gs://etl/none.py", "gs://etl/none.py: bucket 'etl' has no object 'none.py'"),
        ("gs://etl", "uri='gs://etl' is not of the form gs://bucket/object"),
        ("s3://etl/x.py", "is not of the form gs://bucket/object"),
        ("https://storage.googleapis.com/etl/x.py?sig=1", "uri='https://storage.googleapis.com/etl/x.py?…' is not of"),
    ],
)
def test_what_is_missing_is_named(gcs: GCSServer, anonymous: str, uri: str, words: str) -> None:
    """The error names bucket or object, and is permanent (R22)."""
    gcs.put("etl", "there.py", b"print(1)")
    error = refusal(GCSScript(uri, conn_id=anonymous))
    assert words in str(error)
    assert not error.retryable


def test_a_generation_that_is_missing_is_named(google: WebServer, anonymous: str) -> None:
    """The error names the object and the generation."""
    google.answers(METADATA, an_error(404, "No such object: etl/x.py"))
    error = refusal(GCSScript("gs://etl/x.py", conn_id=anonymous, generation=5))
    assert "bucket 'etl' has no object 'x.py' of generation 5" in str(error)


def test_anonymous_callers_are_denied(google: WebServer, anonymous: str) -> None:
    """The error names the caller and the permission, and is permanent."""
    google.answers(METADATA, an_error(401, "Anonymous caller does not have access"))
    error = refusal(GCSScript("gs://etl/x.py", conn_id=anonymous))
    assert str(error).endswith("access denied to an anonymous user, which needs storage.objects.get")
    assert not error.retryable


@pytest.mark.parametrize("form", ["dict", "json", "path", "prefixed"])
def test_a_key_gives_the_credentials(
    google: WebServer, connect: Connect, key: dict[str, str], tmp_path: Any, form: str
) -> None:
    """A key in the connection, in either form, mints a token."""
    key["token_uri"] = f"{google.url}/token"
    (tmp_path / "key.json").write_text(json.dumps(key))
    forms: dict[str, dict[str, Any]] = {
        "dict": {"keyfile_dict": key},
        "json": {"keyfile_dict": json.dumps(key)},
        "path": {"key_path": str(tmp_path / "key.json")},
        "prefixed": {"extra__google_cloud_platform__keyfile_dict": json.dumps(key)},
    }
    extra = forms[form]
    GCSScript("gs://etl/x.py", conn_id=connect("keyed", conn_type="google_cloud_platform", extra=extra)).fetch()
    assert google.requests[-1].headers["authorization"] == "Bearer minted-token"


def test_denied_says_to_whom_and_what_is_needed(google: WebServer, connect: Connect, key: dict[str, str]) -> None:
    """The error names the service account and the permission."""
    google.answers(METADATA, an_error(403, "no"))
    extra = {"keyfile_dict": key | {"token_uri": f"{google.url}/token"}}
    error = refusal(
        GCSScript("gs://etl/x.py", conn_id=connect("keyed", conn_type="google_cloud_platform", extra=extra))
    )
    assert f"access denied to {key['client_email']}, which needs storage.objects.get\nGCS's message: no" in str(error)


def test_a_key_that_is_revoked(google: WebServer, connect: Connect, key: dict[str, str]) -> None:
    """The refusal of a token is a permanent error."""
    google.answers("/token", Answer(b'{"error": "invalid_grant", "error_description": "Invalid JWT"}', 400))
    extra = {"keyfile_dict": key | {"token_uri": f"{google.url}/token"}}
    error = refusal(
        GCSScript("gs://etl/x.py", conn_id=connect("keyed", conn_type="google_cloud_platform", extra=extra))
    )
    assert f"Google does not accept the credentials of {key['client_email']}: " in str(error)
    assert "invalid_grant" in str(error)
    assert not error.retryable


def test_another_account_is_impersonated(
    google: WebServer, connect: Connect, key: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key's token mints one for the last account of the chain."""
    from google.auth import iam

    path = "/v1/projects/-/serviceAccounts/reader@p.iam:generateAccessToken"
    minted = {"accessToken": "impersonated-token", "expireTime": "2999-01-01T00:00:00Z"}
    endpoint = google.answers(path, Answer(json.dumps(minted).encode(), headers={"Content-Type": "application/json"}))
    monkeypatch.setattr(iam, "_IAM_ENDPOINT", endpoint.replace("reader@p.iam", "{}"))
    extra = {"keyfile_dict": key | {"token_uri": f"{google.url}/token"}, "impersonation_chain": "a@p.iam, reader@p.iam"}
    GCSScript("gs://etl/x.py", conn_id=connect("chain", conn_type="google_cloud_platform", extra=extra)).fetch()
    assert google.requests[-1].headers["authorization"] == "Bearer impersonated-token"


@pytest.mark.usefixtures("no_hook")
@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"keyfile_dict": "{no json"}, "has no valid credentials: keyfile_dict is not valid JSON"),
        ({"keyfile_dict": {"type": "service_account"}}, "has no valid credentials: "),
        ({"key_path": "/none.json"}, "No such file or directory: '/none.json'"),
        ({"key_secret_name": "x"}, "key_secret_name needs apache-airflow-providers-google"),
    ],
)
def test_a_connection_without_credentials_is_refused(
    gcs: GCSServer, connect: Connect, extra: dict[str, Any], words: str
) -> None:
    """The error names the problem without the content, and is permanent."""
    error = refusal(GCSScript("gs://etl/x.py", conn_id=connect("odd", conn_type="google_cloud_platform", extra=extra)))
    assert words in str(error)
    assert "connection 'odd'" in str(error)
    assert not error.retryable


def test_no_credentials_anywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """The error names the connection, if the machine has no credentials."""
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    error = refusal(GCSScript("gs://etl/x.py"))
    assert "connection 'google_cloud_default' has no valid credentials: " in str(error)
    assert not error.retryable


def test_a_connection_that_is_not_defined_is_named() -> None:
    """An undefined connection is not replaced by other credentials."""
    assert "connection 'nobody' is not defined" in str(refusal(GCSScript("gs://etl/x.py", conn_id="nobody")))


def test_half_an_object_is_none(google: WebServer, anonymous: str) -> None:
    """A broken connection is repeated, and never taken for the end (R1)."""
    google.answers(CONTENT, Answer(b"print", headers={"Content-Length": "8"}), Answer(b"print(1)"))
    assert GCSScript("gs://etl/x.py", conn_id=anonymous).fetch().text == "print(1)"


def test_a_busy_store_is_asked_again(google: WebServer, anonymous: str, caplog: pytest.LogCaptureFixture) -> None:
    """The log has the reason and the delay."""
    google.answers(METADATA, an_error(503, "busy"), an_object(b"print(1)"))
    with caplog.at_level(logging.WARNING):
        assert GCSScript("gs://etl/x.py", conn_id=anonymous).fetch().text == "print(1)"
    assert "gs://etl/x.py cannot be read now: 503 busy; trying again in 0.01 s" in caplog.text


def test_what_is_too_large_is_refused(gcs: GCSServer, anonymous: str) -> None:
    """A large object is refused before it is read, for good (R25)."""
    gcs.put("etl", "wrong", b"#" * (MAX_CONFIG_MAP + 5))
    error = refusal(GCSScript("gs://etl/wrong", conn_id=anonymous))
    assert "has 1,048,581 bytes, more than the 1,048,576" in str(error)
    assert not error.retryable


def test_other_bytes_than_text_are_read_as_they_are(gcs: GCSServer, anonymous: str) -> None:
    """A key or an archive need not be text (R24)."""
    gcs.put("etl", "key.p12", b"\x00\xff\r\n")
    assert GCSScript("gs://etl/key.p12", conn_id=anonymous).fetch().data == b"\x00\xff\r\n"


def test_an_endless_answer_is_left(google: WebServer, anonymous: str) -> None:
    """Reading ends at the limit, whatever size GCS reports (R25)."""
    google.answers(CONTENT, Answer(b"#" * 65536 for _ in iter(int, 1)))
    assert "is larger, more than the 1,048,576" in str(refusal(GCSScript("gs://etl/x.py", conn_id=anonymous)))


@pytest.fixture
def no_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where providers-google is installed, as in a row of `make test-matrix`, it cannot be imported."""
    monkeypatch.setitem(sys.modules, "airflow.providers.google.cloud.hooks.gcs", None)


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The connections that a stand-in for the GCSHook was called with; the real package has 1.2 GB.

    For the connections in ``BROKEN`` it raises the real hook's errors.
    """
    asked = []

    class GCSHook:
        def __init__(self, gcp_conn_id: str) -> None:
            asked.append(gcp_conn_id)

        def get_conn(self) -> Any:
            from google.cloud import storage

            if asked[-1] in BROKEN:
                raise BROKEN[asked[-1]]
            return storage.Client()

    module = types.ModuleType("gcs")
    module.GCSHook = GCSHook  # type: ignore[attr-defined]  # a module made here
    monkeypatch.setitem(sys.modules, "airflow.providers.google.cloud.hooks.gcs", module)
    return asked


def test_where_providers_google_is_installed_its_hook_makes_the_client(
    gcs: GCSServer, anonymous: str, hook: list[str]
) -> None:
    """The hook supports more kinds of credentials."""
    gcs.put("etl", "hook.py", b"print(1)")
    assert GCSScript("gs://etl/hook.py", conn_id=anonymous).fetch().text == "print(1)"
    assert hook == [anonymous]


@pytest.mark.usefixtures("hook")
@pytest.mark.parametrize(
    ("conn_id", "words"), [("no_json", "Invalid key JSON."), ("no_key", "the key has no 'private_key'")]
)
def test_what_the_hook_says_of_a_connection_is_told(connect: Connect, conn_id: str, words: str) -> None:
    """The error names source and connection, and is permanent."""
    error = refusal(GCSScript("gs://etl/x.py", conn_id=connect(conn_id, conn_type="google_cloud_platform")))
    assert str(error) == f"gs://etl/x.py cannot be read: connection {conn_id!r} has no valid credentials: {words}"
    assert not error.retryable


def test_it_is_shown_as_its_uri() -> None:
    """The page Rendered Templates shows the URI."""
    assert str(GCSScript(" gs://etl/x.py\n")) == "gs://etl/x.py"
