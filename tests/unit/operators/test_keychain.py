"""What the names in a spec's templates stand for, with connections and variables from the environment."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk._shared.secrets_masker import redact
from jinja2 import StrictUndefined, UndefinedError
from jinja2.sandbox import SandboxedEnvironment

from airflow_script_provider.exceptions import ScriptProviderError
from airflow_script_provider.operators._keychain import template_names
from airflow_script_provider.spec.arguments import PlaybookNames, names_of_tokens


def rendered(template: str, context: dict[str, Any] | None = None, **names: Any) -> str:
    """The template as Airflow renders it, with a spec's names."""
    known = PlaybookNames(short_lived=names_of_tokens(template), **names)
    environment = SandboxedEnvironment(undefined=StrictUndefined)
    return environment.from_string(template).render(template_names(context or {}, known))


@pytest.fixture(autouse=True)
def connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections and variables as Airflow reads them from the environment."""
    warehouse = {"conn_type": "postgres", "host": "db.example.com", "port": 5432, "login": "etl",
                 "password": "warehouse-password", "schema": "sales", "extra": {"sslmode": "require"}}  # fmt: skip
    keyfile = {"conn_type": "google_cloud_platform", "extra": {"keyfile_dict": json.dumps({"type": "service_account"})}}
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(warehouse))
    monkeypatch.setenv("AIRFLOW_CONN_PARTNER", json.dumps({"conn_type": "http", "password": "partner-password"}))
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_KEY", json.dumps(keyfile))
    nested = {"conn_type": "http", "extra": {"nested": {"list": ["listed-password"], "pin": 918273645}}}
    monkeypatch.setenv("AIRFLOW_CONN_NESTED", json.dumps(nested))
    monkeypatch.setenv("AIRFLOW_VAR_API_TOKEN", "token-of-a-variable")
    monkeypatch.setenv("AIRFLOW_VAR_PARTNER_ID", "4711-partner-id")


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ keychain.warehouse.password }}", "warehouse-password"),
        ("{{ keychain.warehouse.secret_key }}", "warehouse-password"),
        ("{{ keychain.warehouse.username }}@{{ keychain.warehouse.host }}", "etl@db.example.com"),
        ("{{ keychain.warehouse.port }}/{{ keychain.warehouse.database }}", "5432/sales"),
        ("{{ keychain.warehouse.sslmode }}", "require"),
        ("{{ keychain['partner'].api_key }}", "partner-password"),
        ("{{ keychain.partner.token }}", "partner-password"),
        ("{{ keychain.google_key.service_account_json | tojson }}", '{"type": "service_account"}'),
        ("{{ keychain.partner.missing | default('none') }}", "none"),
    ],
)
def test_fields_of_the_keychain(template: str, text: str) -> None:
    """A field is one of the connection's extra, else the part that the Script tool calls so."""
    assert rendered(template) == text


@pytest.mark.parametrize("credential", ["{{ workload.cred }}", "{{ cred }}", "ware{{ workload.rest }}"])
def test_a_credential_may_be_a_template(credential: str) -> None:
    """The run's values name the connection."""
    names = {"keychain": {"db": credential}, "workload": {"cred": "partner", "rest": "house"}}
    context = {"params": {"cred": "warehouse"}}
    assert rendered("{{ keychain.db.host }} {{ db.host }}", context, **names) == "db.example.com db.example.com"


def test_the_keychain_says_the_connection() -> None:
    """An entry's credential is the connection; the name can be written alone, too."""
    template = "{{ keychain.db.password }} {{ db.login }}"
    assert rendered(template, keychain={"db": "warehouse"}) == "warehouse-password etl"


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ secret.api_token }}", "token-of-a-variable"),
        ("{{ secrets.API_TOKEN }}", "token-of-a-variable"),
        ("{{ secret.partner }}", "partner-password"),
        (
            "{{ secret.warehouse }}",
            "postgres://etl:warehouse-password@db.example.com:5432/sales?sslmode=require",
        ),
    ],
)
def test_secrets(template: str, text: str) -> None:
    """A variable, else a connection's password, or its URI where it has a host."""
    assert rendered(template) == text


@pytest.mark.parametrize(
    "template",
    [
        "{{ secret.partner_id }}",
        "{{ keychain.warehouse.password }}",
        "{{ keychain.nested.nested.list[0] }}",
        "{{ keychain.nested.nested.pin }}",
    ],
)
def test_what_was_resolved_is_masked(template: str) -> None:
    """A value from a connection or variable is masked in the log, whatever it is called (R26)."""
    assert redact(f"it is {rendered(template)}!") == "it is ***!"


def test_the_workload_is_the_runs() -> None:
    """The run's conf goes before params, which go before the spec's own values."""
    context = {"params": {"b": "params", "c": "params"}, "dag_run": SimpleNamespace(conf={"c": "conf"})}
    workload = {"a": "spec", "b": "spec", "c": "spec"}
    assert rendered("{{ workload.a }} {{ workload.b }} {{ workload.c }}", context, workload=workload) == (
        "spec params conf"
    )


def test_names_of_the_workload_alone() -> None:
    """A value can be written without ``workload.``, unless Airflow has that name itself."""
    assert rendered("{{ bucket }} {{ run_id }}", {"run_id": "r1"}, workload={"bucket": "b", "run_id": "x"}) == "b r1"


@pytest.mark.parametrize("name", ["items", "keys", "values", "get", "copy"])
def test_values_may_have_any_name(name: str) -> None:
    """Names of Python's own methods are values first."""
    assert rendered(f"{{{{ workload.{name} }}}}", workload={name: "mine"}) == "mine"


def test_a_missing_value_may_have_a_default() -> None:
    """Jinja's own ways to ask whether there is a value."""
    template = "{{ workload.a | default('x') }} {{ 'b' in workload }} {{ workload.b is defined }} {{ workload | list }}"
    assert rendered(template, workload={"b": 1}) == "x True True ['b']"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ workload.bukcet }}", "workload.bukcet stands neither in the run's conf and params nor in the spec; has a"),
        (
            "{{ keychain.partner.user }}",
            "keychain.partner.user: 'partner' has no such field; it has password",
        ),
    ],
)
def test_what_is_missing_is_named(template: str, message: str) -> None:
    """With the names that there are, never with values."""
    with pytest.raises(UndefinedError) as error:
        rendered(template, workload={"a": "hunter2"})
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ keychain.db.token }}", "keychain.db.token: the connection 'nowhere' does not exist; create it, or name"),
        ("{{ secret.nothing }}", "secret.nothing: there is neither a variable nor a connection 'nothing'"),
    ],
)
def test_what_nobody_defined_is_named(template: str, message: str) -> None:
    """The message says what to create."""
    with pytest.raises(ValueError, match=message):
        rendered(template, keychain={"db": "nowhere"})


@pytest.fixture(scope="module")
def token_server() -> Iterator[str]:
    """A server that gives OAuth tokens, as Google's does."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.dumps({"access_token": "ya29.short-lived", "expires_in": 3600}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/token"
    server.shutdown()
    server.server_close()


def a_google_connection(token_uri: str) -> str:
    """A connection with the key of a service account."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    account = {"type": "service_account", "client_email": "etl@example.com", "token_uri": token_uri}
    keyfile = json.dumps(account | {"private_key": key.decode(), "private_key_id": "1", "project_id": "p"})
    return json.dumps({"conn_type": "google_cloud_platform", "extra": {"keyfile_dict": keyfile}})


def test_the_token_of_a_google_connection(token_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is minted with the connection's key and masked; the key stays here (R26)."""
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE", a_google_connection(token_server))
    assert rendered("{{ keychain.google.token }}") == "ya29.short-lived"
    assert redact("Bearer ya29.short-lived") == "Bearer ***"


def test_a_token_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the connection and Google's reason."""
    keyless = {"conn_type": "google_cloud_platform", "extra": {"key_path": "/none.json"}}
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE", json.dumps(keyless))
    with pytest.raises(ScriptProviderError, match=r"keychain.google.token: 'google' gives no token: .*/none.json"):
        rendered("{{ keychain.google.token }}")


@pytest.mark.parametrize("host", ["127.0.0.1:1", "bad host", "127.0.0.1:1/?token=hunter22"])
def test_an_endpoint_that_gives_no_token_is_shown_without_its_login(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3's reason names the endpoint; of that the message has neither password nor query (R26)."""
    once = {"retries": {"total_max_attempts": 1}}
    extra = {"endpoint_url": f"http://minio:hunter22@{host}", "region_name": "us-east-1", "config_kwargs": once}
    connection = {"conn_type": "aws", "login": "key", "password": "secret-key", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_STORE", json.dumps(connection))
    with pytest.raises(ScriptProviderError, match=r"keychain.store.token: 'store' gives no token: ") as error:
        rendered("{{ keychain.store.token }}")
    assert "hunter22" not in str(error.value)


@pytest.fixture(scope="module")
def aws_server() -> Iterator[str]:
    """AWS' protocol on loopback."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


AWS = ("access_key", "secret_key", "token")


@pytest.fixture
def aws(aws_server: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make the AWS connection ``aws``; keys of its own, and perhaps a role."""

    def define(**extra: str) -> None:
        sts = {"sts": {"endpoint_url": aws_server}}
        settings = {"endpoint_url": aws_server, "region_name": "us-east-1", "service_config": sts} | extra
        connection = {"conn_type": "aws", "login": "AKIAOWN", "password": "own-secret-key", "extra": settings}
        monkeypatch.setenv("AIRFLOW_CONN_AWS", json.dumps(connection))

    return define


@pytest.mark.parametrize("extra", [{}, {"role_arn": "arn:aws:iam::123456789012:role/etl"}], ids=["keys", "role"])
def test_the_token_of_an_aws_connection(aws: Any, extra: dict[str, str]) -> None:
    """Keys and token are of one short-lived set, by STS, whether the connection has a role or keys of its own."""
    aws(**extra)
    key, secret, token = rendered(" ".join(f"{{{{ keychain.aws.{field} }}}}" for field in AWS)).split()
    assert "AKIAOWN" not in key
    assert "own-secret-key" not in secret
    assert token


def test_an_aws_connections_own_keys(aws: Any) -> None:
    """Without a token the connection's own keys are meant: short-lived ones would be of no use."""
    aws()
    assert rendered("{{ keychain.aws.access_key }} {{ keychain.aws.secret_key }}") == "AKIAOWN own-secret-key"
