"""S3: moto for the protocol, and a web server for answers that moto never gives."""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from airflow_script_provider.exceptions import ScriptSourceError
from airflow_script_provider.kube.request.sizes import MAX_CONFIG_MAP
from airflow_script_provider.sources import S3Script
from tests.servers import Answer, S3Server, WebServer, moto_server
from tests.unit.sources.conftest import Connect


def refusal(source: S3Script) -> ScriptSourceError:
    """The error of a script that cannot be read."""
    with pytest.raises(ScriptSourceError) as error:
        source.fetch()
    return error.value


def an_error(code: str, message: str = "said", status: int = 400, **headers: str) -> Answer:
    """S3's error answer."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return Answer(body.encode(), status, {"Content-Type": "application/xml"} | headers)


@pytest.fixture
def aws(s3: S3Server, connect: Connect) -> str:
    """A connection to the S3 server."""
    return connect("aws", s3.connection())


@pytest.fixture
def fake(web: WebServer, connect: Connect) -> str:
    """A connection to a web server in the place of S3."""
    return connect("fake", S3Server(web.url).connection(config_kwargs={"s3": {"addressing_style": "path"}}))


@pytest.fixture
def checking() -> Iterator[S3Server]:
    """A moto that checks rights, also where another server has the objects."""
    with moto_server() as server:
        yield server


@pytest.fixture
def user_without_rights(checking: S3Server) -> Iterator[tuple[str, str]]:
    """The keys of a user, while every moto of this process checks rights."""
    iam = checking.client("iam")
    iam.create_user(UserName="bob")
    key = iam.create_access_key(UserName="bob")["AccessKey"]
    requests.post(f"{checking.url}/moto-api/reset-auth", data=b"0", timeout=5)
    yield key["AccessKeyId"], key["SecretAccessKey"]
    requests.post(f"{checking.url}/moto-api/reset-auth", data=b"inf", timeout=5)


def test_a_script_is_an_object(s3: S3Server, aws: str) -> None:
    """Text, name, origin, ETag and version; CRLF is kept, a byte order mark dropped (R24)."""
    body = b"\xef\xbb\xbfprint('\xc3\xbc ${#a[@]} {{ x }}')\r\n"
    version = s3.put("etl", "daily/load it.py", body)
    script = S3Script("s3://etl/daily/load it.py", conn_id=aws).fetch()
    assert (script.data, script.name, script.origin) == (body[3:], "load it.py", "s3://etl/daily/load it.py")
    assert script.details.startswith('ETag "')
    assert script.details.endswith(f", version {version}")


def test_an_older_version(s3: S3Server, aws: str) -> None:
    """``version_id`` reads an older version."""
    old = s3.put("etl", "versions.py", b"print('old')")
    s3.put("etl", "versions.py", b"print('new')")
    assert S3Script("s3://etl/versions.py", conn_id=aws).fetch().text == "print('new')"
    assert S3Script("s3://etl/versions.py", conn_id=aws, version_id=old).fetch().text == "print('old')"


def test_a_version_in_the_uri(s3: S3Server, aws: str) -> None:
    """``?versionId=`` is understood as other tools write it; the name is the key's."""
    old = s3.put("etl", "versions/uri.sh", b"echo old")
    s3.put("etl", "versions/uri.sh", b"echo new")
    script = S3Script(f"s3://etl/versions/uri.sh?versionId={old}", conn_id=aws).fetch()
    assert (script.text, script.name) == ("echo old", "uri.sh")
    error = refusal(S3Script("s3://etl/versions/uri.sh?versionId=none", conn_id=aws))
    assert "bucket 'etl' has no object 'versions/uri.sh' of version 'none'" in str(error)


def test_a_key_that_looks_like_a_version(s3: S3Server, aws: str) -> None:
    """The key itself goes first."""
    for key in ("real.sh?versionId=1", "real.sh#1", "real.sh?x=1"):
        s3.put("etl", key, key.encode())
        assert S3Script(f"s3://etl/{key}", conn_id=aws).fetch().text == key
    s3.put("etl", "real.sh", b"echo")
    assert "has no object 'real.sh?x=2'" in str(refusal(S3Script("s3://etl/real.sh?x=2", conn_id=aws)))


def test_a_compressed_object_is_unpacked(s3: S3Server, aws: str) -> None:
    """Its Content-Encoding says so; a name or first bytes alone do not (R24)."""
    packed = gzip.compress(b"echo hi", mtime=0)
    s3.put("etl", "as-is.sh.gz", packed)
    assert S3Script("s3://etl/as-is.sh.gz", conn_id=aws).fetch().data == packed
    s3.client().put_object(Bucket="etl", Key="run.sh", Body=packed, ContentEncoding="gzip")
    assert S3Script("s3://etl/run.sh", conn_id=aws).fetch().text == "echo hi"


@pytest.mark.parametrize(
    ("encoding", "body", "words"),
    [
        (
            "gzip",
            gzip.compress(b"rm -rf /tmp/x", mtime=0)[:-9],
            "s3://etl/bad.sh breaks off in the middle of its gzip data",
        ),
        (
            "gzip",
            gzip.compress(b"#" * (MAX_CONFIG_MAP + 1), mtime=0),
            "s3://etl/bad.sh is larger, more than the 1,048,576",
        ),
        ("gzip", b"echo hi", "s3://etl/bad.sh cannot be decompressed as its Content-Encoding says (gzip)"),
        ("br", b"echo hi", "s3://etl/bad.sh has the Content-Encoding 'br', which cannot be unpacked"),
    ],
)
def test_a_compression_that_is_not_whole(s3: S3Server, aws: str, encoding: str, body: bytes, words: str) -> None:
    """Half of it is never run, and the limit is that of the content (R1, R25)."""
    s3.client().put_object(Bucket="etl", Key="bad.sh", Body=body, ContentEncoding=encoding)
    assert words in str(refusal(S3Script("s3://etl/bad.sh", conn_id=aws)))


def test_a_checksum_that_does_not_fit_names_the_setting(web: WebServer, connect: Connect) -> None:
    """Some stores report checksums of something else; with the setting the object is read."""
    wrong = Answer(b"print(1)", headers={"x-amz-checksum-crc32": "AAAAAA=="})
    web.answers("/etl/x.py", wrong)
    path_style: dict[str, Any] = {"s3": {"addressing_style": "path"}}
    conn_id = connect("store", S3Server(web.url).connection(config_kwargs=path_style))
    error = refusal(S3Script("s3://etl/x.py", conn_id=conn_id))
    assert "s3://etl/x.py has another checksum than the store reports (FlexibleChecksumError: Expected" in str(error)
    assert '{"response_checksum_validation": "when_required"} as config_kwargs in the extra of connection' in str(error)
    setting = path_style | {"response_checksum_validation": "when_required"}
    conn_id = connect("store", S3Server(web.url).connection(config_kwargs=setting))
    assert S3Script("s3://etl/x.py", conn_id=conn_id).fetch().text == "print(1)"


def test_without_a_connection_the_environment_counts(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """``aws_default`` need not exist, and no warning is logged (R32)."""
    s3.put("etl", "plain.py", b"print(1)")
    for name, value in {"ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "testtest123", "ENDPOINT_URL": s3.url}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    assert S3Script("s3://etl/plain.py").fetch().text == "print(1)"


def test_the_endpoint_may_be_the_sources_own(s3: S3Server, connect: Connect) -> None:
    """The source's endpoint replaces the connection's."""
    s3.put("etl", "endpoint.py", b"print(1)")
    conn_id = connect("aws", S3Server("http://127.0.0.1:1").connection())
    assert S3Script("s3://etl/endpoint.py", conn_id=conn_id, endpoint_url=s3.url).fetch().text == "print(1)"


def test_a_role_is_assumed(s3: S3Server, connect: Connect) -> None:
    """providers-amazon assumes the connection's role."""
    s3.put("etl", "role.py", b"print(1)")
    services = {"sts": {"endpoint_url": s3.url}}
    role = "arn:aws:iam::123456789012:role/reader"
    conn_id = connect("aws", s3.connection(role_arn=role, service_config=services))
    assert S3Script("s3://etl/role.py", conn_id=conn_id).fetch().text == "print(1)"


def test_a_role_that_nobody_may_assume(web: WebServer, connect: Connect) -> None:
    """The error names the role."""
    web.answers("/", Answer(b"<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>", 403))
    role, services = "arn:aws:iam::123456789012:role/reader", {"sts": {"endpoint_url": web.url}}
    conn_id = connect("aws", S3Server(web.url).connection(role_arn=role, service_config=services))
    error = refusal(S3Script("s3://etl/x.py", conn_id=conn_id))
    assert f"the role {role} cannot be assumed: AccessDenied" in str(error)
    assert not error.retryable


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("s3://none/x.py", "s3://none/x.py: bucket 'none' does not exist"),
        ("s3://etl/none.py", "s3://etl/none.py: bucket 'etl' has no object 'none.py'"),
        ("s3://etl", "uri='s3://etl' is not of the form s3://bucket/key"),
        ("gs://etl/x.py", "is not of the form s3://bucket/key"),
        ("https://etl.s3.amazonaws.com/x.py?sig=1", "uri='https://etl.s3.amazonaws.com/x.py?…' is not of the form"),
    ],
)
def test_what_is_missing_is_named(s3: S3Server, aws: str, uri: str, words: str) -> None:
    """The error names bucket or object, and is permanent (R22)."""
    s3.put("etl", "there.py", b"print(1)")
    error = refusal(S3Script(uri, conn_id=aws))
    assert words in str(error)
    assert not error.retryable


def test_a_version_that_is_missing_is_named(s3: S3Server, aws: str) -> None:
    """The error names object and version."""
    s3.put("etl", "there.py", b"print(1)")
    error = refusal(S3Script("s3://etl/there.py", conn_id=aws, version_id="none"))
    assert "bucket 'etl' has no object 'there.py' of version 'none'" in str(error)


def test_denied_says_to_whom_and_what_is_needed(
    checking: S3Server, connect: Connect, user_without_rights: tuple[str, str]
) -> None:
    """The error names the user's ARN and the permission, and is permanent."""
    conn_id = connect("bob", checking.connection(*user_without_rights))
    error = refusal(S3Script("s3://etl/x.py", conn_id=conn_id))
    assert "access denied (AccessDenied) to arn:aws:iam::123456789012:user/bob, which needs s3:GetObject" in str(error)
    assert user_without_rights[1] not in str(error)
    assert not error.retryable


def test_denied_without_sts_names_the_key(web: WebServer, fake: str) -> None:
    """Without STS the error names the access key; a version needs another permission."""
    web.answers("/etl/x.py", an_error("AccessDenied", status=403))
    error = refusal(S3Script("s3://etl/x.py", conn_id=fake, version_id="v1"))
    assert (
        "access denied (AccessDenied) to access key test of connection 'fake', which needs s3:GetObjectVersion"
        in str(error)
    )


def test_credentials_that_are_wrong_are_said(web: WebServer, fake: str) -> None:
    """The error names the connection of the credentials."""
    web.answers("/etl/x.py", an_error("InvalidAccessKeyId", "no such key", 403))
    error = refusal(S3Script("s3://etl/x.py", conn_id=fake))
    assert "S3 does not accept the credentials of connection 'fake': InvalidAccessKeyId: no such key" in str(error)
    assert not error.retryable


def test_no_credentials_at_all(s3: S3Server, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to set."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    conn_id = connect("aws", json.dumps({"conn_type": "aws", "extra": {"endpoint_url": s3.url}}))
    error = refusal(S3Script("s3://etl/x.py", conn_id=conn_id))
    assert "connection 'aws' has no AWS credentials (NoCredentialsError)" in str(error)
    assert not error.retryable


def test_the_wrong_region_names_the_right_one(web: WebServer, fake: str) -> None:
    """The error names the right region, and is permanent."""
    headers = {"x-amz-bucket-region": "eu-west-1"}
    web.answers("/etl/x.py", an_error("PermanentRedirect", status=301, **headers))
    web.answers("/etl", Answer(b"", 301, headers))
    error = refusal(S3Script("s3://etl/x.py", conn_id=fake, region="us-west-2"))
    assert "bucket 'etl' is in eu-west-1, not in " in str(error)
    assert str(error).endswith("; set region")
    assert not error.retryable


def test_what_is_no_aws_is_said(web: WebServer, connect: Connect) -> None:
    """An answer that is not S3's protocol is retryable, such as a proxy's page."""
    web.answers("/", Answer(b"Log in first", 200))
    services = {"sts": {"endpoint_url": web.url}}
    role = "arn:aws:iam::123456789012:role/reader"
    conn_id = connect("aws", S3Server(web.url).connection(role_arn=role, service_config=services))
    error = refusal(S3Script("s3://etl/x.py", conn_id=conn_id))
    assert "the server's answer is not S3's protocol; check endpoint_url" in str(error)


def test_another_refusal_is_told(web: WebServer, fake: str) -> None:
    """Any other error has S3's own message."""
    web.answers("/etl/x.py", an_error("InvalidObjectState", "it is in Glacier", 403))
    assert "S3 answered InvalidObjectState: it is in Glacier" in str(refusal(S3Script("s3://etl/x.py", conn_id=fake)))


def test_half_an_object_is_none(web: WebServer, fake: str) -> None:
    """A broken connection is repeated, and never taken for the end (R1)."""
    half = Answer(b"print", headers={"Content-Length": "8"})
    web.answers("/etl/x.py", half, Answer(b"print(1)"))
    assert S3Script("s3://etl/x.py", conn_id=fake).fetch().text == "print(1)"


def test_a_busy_store_is_asked_again(web: WebServer, fake: str, caplog: pytest.LogCaptureFixture) -> None:
    """The log has the reason and the delay."""
    web.answers("/etl/x.py", an_error("SlowDown", "reduce your rate", 503), Answer(b"print(1)"))
    with caplog.at_level(logging.WARNING):
        assert S3Script("s3://etl/x.py", conn_id=fake).fetch().text == "print(1)"
    assert "s3://etl/x.py cannot be read now: SlowDown: reduce your rate; trying again in 0.01 s" in caplog.text


def test_a_connection_that_is_not_defined_is_named() -> None:
    """An undefined connection is not replaced by other credentials."""
    assert "connection 'nobody' is not defined" in str(refusal(S3Script("s3://etl/x.py", conn_id="nobody")))


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        (
            "http://minio:hunter22@127.0.0.1:1/",
            "s3://etl/x.py cannot be read: http://127.0.0.1:1/ refused the connection",
        ),
        ("http://minio:hunter22/x@127.0.0.1:1", "check endpoint_url, here and of {}"),
        ("http://minio:hunter22@bad host", "check endpoint_url, here and of {}"),
        ("http://127.0.0.1:1/?token=hunter22", "check endpoint_url, here and of {}"),
        ("http://[hunter22", "check endpoint_url, here and of {}"),
        ("hunter22", "check endpoint_url, here and of {}"),
    ],
)
def test_an_endpoint_is_shown_without_its_login(connect: Connect, endpoint: str, words: str) -> None:
    """The error names script and argument, and has no part of a login or a query (R22, R26)."""
    own = connect("own", S3Server(endpoint).connection())
    error = refusal(S3Script("s3://etl/x.py", conn_id=own))
    assert words.format("connection 'own'") in str(error)
    assert "hunter22" not in str(error)
    other = connect("other", S3Server("http://127.0.0.1:1").connection())
    assert words.format("connection 'other'") in str(refusal(S3Script("s3://etl/x.py", other, endpoint_url=endpoint)))


def test_the_endpoint_of_another_service_is_not_shown(web: WebServer, connect: Connect) -> None:
    """The error has no part of STS' endpoint, whether the role or the caller's name needs it (R26)."""
    services = {"sts": {"endpoint_url": "http://minio:hunter22@bad host"}}
    path_style = {"s3": {"addressing_style": "path"}}
    web.answers("/etl/x.py", an_error("AccessDenied", status=403))
    conn_id = connect("denied", S3Server(web.url).connection(config_kwargs=path_style, service_config=services))
    assert "access denied (AccessDenied) to access key test" in str(refusal(S3Script("s3://etl/x.py", conn_id)))
    role = "arn:aws:iam::123456789012:role/reader"
    conn_id = connect("assumed", S3Server(web.url).connection(role_arn=role, service_config=services))
    error = refusal(S3Script("s3://etl/x.py", conn_id))
    assert "check endpoint_url, here and of connection 'assumed'" in str(error)


def test_a_store_with_tls_that_nobody_vouches_for(tls_web: WebServer, connect: Connect) -> None:
    """The error for an unknown CA names the solution, and is permanent."""
    conn_id = connect("aws", S3Server(tls_web.url).connection())
    error = refusal(S3Script("s3://etl/x.py", conn_id=conn_id))
    assert f"{tls_web.url} failed TLS verification (CERTIFICATE_VERIFY_FAILED)" in str(error)
    assert not error.retryable


def test_a_store_with_a_ca_bundle(tls_web: WebServer, connect: Connect, ca_file: str) -> None:
    """The CA bundle is set in the connection's extra."""
    path_style = {"s3": {"addressing_style": "path"}}
    conn_id = connect("aws", S3Server(tls_web.url).connection(verify=ca_file, config_kwargs=path_style))
    tls_web.answers("/etl/x.py", b"print(1)")
    assert S3Script("s3://etl/x.py", conn_id=conn_id).fetch().text == "print(1)"


def test_what_is_too_large_is_refused(s3: S3Server, aws: str) -> None:
    """A large object is refused before it is read, for good (R25)."""
    s3.put("etl", "wrong", b"#" * (MAX_CONFIG_MAP + 5))
    error = refusal(S3Script("s3://etl/wrong", conn_id=aws))
    assert "has 1,048,581 bytes, more than the 1,048,576" in str(error)
    assert not error.retryable


def test_other_bytes_than_text_are_read_as_they_are(s3: S3Server, aws: str) -> None:
    """A key or an archive need not be text (R24)."""
    s3.put("etl", "key.p12", b"\x00\xff\r\n")
    assert S3Script("s3://etl/key.p12", conn_id=aws).fetch().data == b"\x00\xff\r\n"


def test_it_is_shown_as_its_uri() -> None:
    """The page Rendered Templates shows the URI."""
    assert str(S3Script(" s3://etl/x.py\n")) == "s3://etl/x.py"


def test_a_list_shows_it_without_its_endpoint() -> None:
    """An endpoint may have a login (R26)."""
    assert "hunter22" not in str([S3Script("s3://etl/x.py", endpoint_url="http://minio:hunter22@store")])
