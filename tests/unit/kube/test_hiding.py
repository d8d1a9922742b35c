"""A line that a script printed, safe for a message."""

from __future__ import annotations

import json
import random
import re
import shlex
import time
import unicodedata
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as some

from airflow_script_provider.kube.hiding import (
    MAX_LINE,
    check_digits,
    has_secrets,
    hider,
    hider_of_launched,
    name_of_error,
    values_in,
)
from airflow_script_provider.kube.hiding.known_values import MIN_VALUE, KnownValues
from airflow_script_provider.kube.hiding.secret_lines import MOST_LINES, secret_lines
from airflow_script_provider.kube.job.diagnosis import diagnose
from airflow_script_provider.kube.wording import MAX_HEADLINE
from tests.builders import a_case, a_pod

PIECES = [
    "s3cret", "a b  c", "päss wörd", 'q"u\\o\te', "::group::", "::endgroup::", "\x1b[31m", "\x1b]0;t\x07", "\r",
    "\u202e", "***", "abcde",
    "https://bob:pa/ss@host:8080/x?token=", "postgres://u:p@w@db/x", "/path?sig=", " ", "x" * 50, "…",
    "\n", "ValueError: ", "etl:hunter2xx@/x", "etl:hun@ter2xx@[::1]:3306", "etl/hunter2xx@db:1521/x",
    " postgresql://etl:hun ter2xx@db ",
]  # fmt: skip


def generated(seed: int) -> tuple[str, list[str]]:
    """A line of an error, and values of which some are in it, perhaps torn by what is removed."""
    chance = random.Random(seed)
    values = ["".join(chance.choices(PIECES, k=chance.randint(1, 3))) for _ in range(4)]
    parts = [chance.choice([*PIECES, *values, *(value[:3] + "\x00" + value[3:] for value in values)]) for _ in range(9)]
    return "ValueError: " + "".join(parts), values


@pytest.mark.parametrize("seed", range(0, 2000, 500))
def test_no_secret_of_any_line_is_left(seed: int) -> None:
    """Whatever a script prints of whatever values (R22, R26, R35)."""
    for one in range(seed, seed + 500):
        line, values = generated(one)
        shown = hider(values)(line)
        assert not [value for value in values if len(value) >= MIN_VALUE and value in shown], one
        assert not [part for part in ("::group::", "::endgroup::", "pa/ss", "p@w", "hun", "ter2") if part in shown], one
        assert not any(unicodedata.category(character)[0] == "C" for character in shown)
        assert len(shown) <= MAX_LINE
        headline = diagnose(a_case(a_pod(exit_code=1), last_lines=[line], hide=hider(values))).headline
        assert len(headline) <= MAX_HEADLINE
        assert headline.isprintable()


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("KeyError: 'hunter2'", "KeyError: '***'"),
        (
            "OperationalError: postgresql://bob:p@ss/w0rd@db:5432/x?sslmode=a",
            "OperationalError: postgresql://***@db:5432/x?…",
        ),
        ("HTTPError: 403 for https://host/file?X-Amz-Signature=abc#frag", "HTTPError: 403 for https://host/file?…"),
        (
            "Max retries exceeded with url: /a/b?sig=abc (Caused by x)",
            "Max retries exceeded with url: /a/b?… (Caused by x)",
        ),
        ("Max retries exceeded with url: /hook?s3cr3t (Caused", "Max retries exceeded with url: /hook?… (Caused"),
        ('"POST /hook?s3cr3t HTTP/1.1" 403', '"POST /hook?… HTTP/1.1" 403'),
        ("Error: GET api.example.com?token=abc123 failed", "Error: GET api.example.com?… failed"),
        ("no answer of api.example.com:8443?token=abc123", "no answer of api.example.com:8443?…"),
        ("no answer of cache:8080?token=abc123", "no answer of cache:8080?…"),
        ("Error: url=https%3A%2F%2Fu%3Apw12345%40h%2Fx", "Error: url=https%3A%2F%2F***%40h%2Fx"),
        ("to=https%253a%252f%252fu%253apw12345%2540h", "to=https%253a%252f%252f***%2540h"),
        ("npm error 404 https://host/@scope/x", "npm error 404 https://host/@scope/x"),
        ("connect bob:p4ss@host failed", "connect ***@host failed"),
        ("\x1b[1;31mValueError\x1b[0m: ::gro::group::up:: a\tb", "ValueError: a b"),
        ("ValueError: line\u2028break\x00", "ValueError: line break"),
        ("ValueError: 12345678 is masked", "ValueError: *** is masked"),
        ("ValueError: abcd is short", "ValueError: abcd is short"),
        ("ValueError: first line", "ValueError: ***"),
    ],
)
def test_a_line_for_a_message(line: str, shown: str) -> None:
    """Values, logins, queries, control characters and group markers are gone; the rest stays readable (R26)."""
    values = values_in({"A": "hunter2", "B": "abcd", "C": "first line\nsecond"}, '{"id": 12345678}')
    assert hider(values)(line) == shown


@pytest.mark.parametrize(
    "line",
    [
        "etl:hunter2xx@/x", "etl:hunter2xx@(db)/x", "etl:hunter2xx@tcp(db:3306)/x", "etl:hunter2xx@[::1]:3306",
        "etl:hun@ter2xx@db:5432", "etl:hunter2xx@", "etl:hunter2xx@'/x'", "etl:1hunter2xx@1.2.3",
        "dsn=etl/hunter2xx@db:1521/x", "sqlplus etl/hunter2xx@ORCL failed", "jdbc:oracle:thin:etl/hunter2xx@//db",
        'etl/"hun/ter2 xx"@db', "etl/hun/ter2xx@db:1521/x", "etl/hunter2xx@(DESCRIPTION=", "etl/hunter2xx@10.0.0.5",
        "postgresql://etl:hun ter2xx@db", "postgresql://etl:hun/t er2xx@db", "postgresql://etl:hunter2xx",
        "x https://a:b@c/?u=postgresql://etl:hun ter2xx@db", "redis://:hunter2xx@cache:6379/0",
        "jdbc:sqlserver://db:1433;user=etl;password=hunter2xx", "mongodb://etl:hunter2xx@h1:27017,h2:27017/x",
        "etl:hunter2://xx@db", "see https://host/x,etl:hunter2xx@db",
    ],
)  # fmt: skip
def test_a_login_before_an_at_sign_is_hidden(line: str) -> None:
    """In the forms of URLs, of Go's drivers and of Oracle, also if a password has other signs (R26)."""
    assert not [part for part in ("hun", "ter2", "er2xx") if part in hider()(line)]


@pytest.mark.parametrize(
    "line",
    [
        "sent to bob@example.com: refused", "user@host: Permission denied (publickey)", "{'to': 'bob@example.com'}",
        "git@github.com:org/repo.git: not found", "Access denied for user 'etl'@'10.0.0.5' (using password: YES)",
        "404 https://host:4873/@scope%2fx", "http://host:8080/a/b@c", "/usr/lib/node_modules/left-pad@1.3.0",
        "node_modules/left-pad@1.3.0: not found", "@types/node@20.1.0-rc.1 is missing", "actions/checkout@v4",
        "etl/app:9@sha256:0123456789abcdef not found", "host/etl/app@sha256:0123456789abcdef not found",
        "http://[::1]:8080/x refused, see bob@example.com", "data/in/x@y.csv: no such file", "./x@y",
        "ls: cannot access '/data/in/part-?.csv': No such file", "did you mean /usr/bin/python3?",
        "is it app.example.com? or x=1", "value?.name == user.name?.first", "curl: (3) bad URL: what?",
        "https%3A%2F%2Fregistry%2F%40scope%2Fx was not found",
        "mongodb://h1:27017,h2:27017/x: no primary, see bob@example.com", "see (http://host:8080), or bob@example.com",
    ],
)  # fmt: skip
def test_what_only_looks_like_a_login_stays(line: str) -> None:
    """Addresses of mail, users at hosts, images, packages and paths (R22)."""
    assert hider()(line) == line


def test_a_long_line_without_spaces_keeps_its_beginning() -> None:
    """A program may print an error as JSON on one line (R22, R26)."""
    rows = ",".join(f'"id{row}":"order {row}"'.replace(" ", "_") for row in range(400))
    for begin in ("", "ERROR "):
        assert hider()(begin + '{"error":"no_orders","rows":{' + rows).startswith(begin + '{"error":"no_orders"')


@pytest.mark.parametrize("end", [0, 1, 2, 250, 299, 300, 301, 1_680, 1_720])
@pytest.mark.parametrize("login", ["etl:hunter2xx@h", "etl/hunter2xx@h:1521/x", "pg://etl:hunter2xx@h", "hunter2xx"])
def test_a_login_is_hidden_wherever_a_long_line_is_cut(login: str, end: int) -> None:
    """A part of it is not recognised by its form (R26)."""
    for cut in range(len(login)):
        value = ("0123456789" * 200)[: 2_000 - end - cut - 1]  # so what is read of the line is short without it
        for between in " ,":
            line = f"{value}{between}{login}{',x' * 2_000}"
            shown = hider([value], mask=lambda line: line.replace("hunter2xx", "***"))(line)
            assert "hun" not in shown
            assert "ter2" not in shown


def test_airflows_masker_comes_first() -> None:
    """What Airflow hides in the log is hidden here as well (R26)."""
    assert hider(mask=lambda line: line.replace("top  secret", "***"))("ValueError: top  secret") == "ValueError: ***"


def test_values_of_any_depth_are_known() -> None:
    """In mappings and lists, and where a text is their JSON."""
    found = set(values_in({"a": ["b", {"c": 1.5}]}, '["d", {"e": 7}]', None, True))
    assert {"b", "1.5", "d", "7"} <= found


@pytest.mark.parametrize(
    ("values", "line", "shown"),
    [
        (["abcdefgh", "fghijklm"], "x abcdefghijklm y", "x *** y"),
        (["password=hunter22"], 'ERROR:  syntax error at or near "hunter22"', 'ERROR: syntax error at or near "***"'),
        (["--token=abcde/fgh"], "GET abcde%2ffgh", "GET ***"),
        (["p@ss(w)!"], "p%40ss(w)!", "***"),
        (["g\u00e4nsehaut"], "b'g\\xc3\\xa4nsehaut'", "b'***'"),
        (["aaaaa"], "aaaaaaaaa b", "*** b"),
        (["p\u00e4ssw\u00f6rd"], r"'p\xe4ssw\xf6rd' or 'p\u00E4ssw\u00F6rd'", "'***' or '***'"),
        (["p\u00e4ssw\u00f6rd"], r'"p\xC3\xA4ssw\xC3\xB6rd" (KeyError)', '"***" (KeyError)'),
        (["p\u00e4ssw\u00f6rd"], r"b'p\xe4ssw\xf6rd' or $'p\303\244ssw\303\266rd'", "b'***' or $'***'"),
        (["it's-me"], r"+ mysql -p 'it'\''s-me'", "+ mysql -p '***'"),
        (["it's-me"], """['mysql', "'it'\\"'\\"'s-me'"]""", """['mysql', "'***'"]"""),
        (["x9k'2Lq"], "at or near 'x9k''2Lq'", "at or near '***'"),
        (['a"b tiger'], r'"{\"x\": \"a\\\"b tiger\"}"', r'"{\"x\": \"***\"}"'),
    ],
)
def test_values_that_overlap_or_are_encoded_are_hidden(values: list[str], line: str, shown: str) -> None:
    """Nothing of a value is left, also of options and of psql's variables (R26)."""
    assert hider(values_in(values))(line) == shown


ESCAPES = (
    str, repr, ascii, json.dumps, quote, quote_plus, lambda text: quote(text, safe=""),
    lambda text: repr(text.encode()),
    lambda text: re.sub("%..", lambda code: code[0].lower(), quote(text)),
    lambda text: json.dumps(text, ensure_ascii=False), lambda text: json.dumps(json.dumps({"a": text})),
    lambda text: "".join(chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}" for byte in text.encode()),
    shlex.quote, lambda text: "'" + text.replace("'", r"'\''") + "'", lambda text: "'" + text.replace("'", "''") + "'",
    lambda text: repr(["mysql", shlex.quote(text)]),
)  # fmt: skip


@given(text=some.text("ab1Z-_/+=#@:%&?'\"\\ .$!äöß€😀\n\t{}", max_size=40), escape=some.sampled_from(ESCAPES))
def test_a_value_is_hidden_however_a_program_escapes_it(text: str, escape: Callable[[str], str]) -> None:
    """As a literal of a language, of a shell or of SQL, in a URL, and one in another (R26)."""
    value = f"x7{text}y9"
    if len(value) >= MIN_VALUE:
        shown = hider([value])(f"ValueError: not {escape(value)} of it")
        assert re.fullmatch(r"""ValueError: not [b'"\\{a: \[mysql,]*\*\*\*['"\\}\] ]*of it""", shown)


@given(values=some.lists(some.text("ab", min_size=MIN_VALUE, max_size=12)), line=some.text("ab c", max_size=60))
def test_each_value_is_found_beside_others_that_begin_alike(values: list[str], line: str) -> None:
    """The longest one that fits, and of a cut line also its last one (R26)."""
    values += [value[:MIN_VALUE] for value in values]
    known = KnownValues(values)
    shown = known.without_values(line, "*")
    assert not [value for value in values if value in shown]
    for value in values:
        assert known.without_values(f"{line} {value[:-1]}", "*", is_cut=True).endswith("*")
        assert known.without_values(f"{value}c", "*") == "*c"


def test_the_first_use_takes_a_moment() -> None:
    """Hiding may run in the event loop of a triggerer (R35)."""
    hide = hider(f"https://h{n}.example.com/{n}?token=x{n:09x} and other text" * 3 for n in range(3_600))
    begin = time.process_time()
    hide("ValueError: nothing of it")
    assert time.process_time() - begin < HANG


HANG = 10.0
"""Seconds of CPU in which what grows with the square of the values does not end."""

DATABASE = "postgresql://etl:hunter22#77xyz@db.example.com:5432/orders"
TOKEN = "eyJhbGciOiJSUzI1NiIsImtpZCI6Ij" + "".join(f"{number:05x}" for number in range(1000, 1060))


@pytest.mark.parametrize(
    ("value", "line", "shown"),
    [
        (DATABASE, "ValueError: Port could not be cast to integer value as 'hunter22'",
         "ValueError: Port could not be cast to integer value as '***'"),
        (DATABASE, "http.client.InvalidURL: nonnumeric port: 'hunter22'",
         "http.client.InvalidURL: nonnumeric port: '***'"),
        (TOKEN, f"ValueError: invalid literal for int() with base 10: '{TOKEN[:199]}",
         "ValueError: invalid literal for int() with base 10: '***"),
        ("hunter22abcdefgh", """SyntaxError: Unexpected token 'h', "hunter22ab"... is not valid JSON""",
         """SyntaxError: Unexpected token 'h', "***"... is not valid JSON"""),
        ("hunterabcdefgh", """SyntaxError: Unexpected token 'h', "hunterabcd"... is not valid JSON""",
         """SyntaxError: Unexpected token 'h', "***"... is not valid JSON"""),
        ("host=db password=hunter 77xyz99 user=etl",
         'psql: error: missing "=" after "77xyz99" in connection info string',
         'psql: error: missing "=" after "***" in connection info string'),
        ("etl:hunter22abc", "RuntimeError: login failed for etl with hunter22abc",
         "RuntimeError: login failed for etl with ***"),
        ("user=u;password=tigerscott;host=x", "RuntimeError: bad password tigerscott",
         "RuntimeError: bad password ***"),
        ("user: u\npassword: tigerscott\n", "RuntimeError: bad password tigerscott", "RuntimeError: bad password ***"),
        ("https://h/x?a=1&token=tigerscott", "RuntimeError: bad token tigerscott", "RuntimeError: bad token ***"),
        ("https://hooks.example.com/services/T00/Xy12Zq34", "with url: /services/T00/Xy12Zq34 (x",
         "with url: *** (x"),
        ("password=hunter22 etl:hunter22abc", "RuntimeError: with hunter22abc", "RuntimeError: with ***"),
        ("a b c hunter22xyz", "bash: line 1: hunter22xyz: command not found", "bash: line 1: ***: command not found"),
        ("5f3a-99d1-77ab-x0z1", "RuntimeError: 99d1-77ab of the key", "RuntimeError: *** of the key"),
        ("correcthorse-battery", "KeyError: 'correcthorse-batt'", "KeyError: '***'"),
        ("moonlight-sunset", "ValueError: invalid literal for int() with base 10: b'moonlight'",
         "ValueError: invalid literal for int() with base 10: b'***'"),
        ("moonlight-sunset", "KeyError: u'moonlight'", "KeyError: u'***'"),
        ("moonlight-sunset", 'could not read rb"moonlight"', 'could not read rb"***"'),
        ("moonlight-sunset", "LINE 1: insert E'moonlight'", "LINE 1: insert E'***'"),
        ("first\nhunterabcd", r"ValueError: 'st\nhunterab'", "ValueError: '***'"),
        ("abcd-hunterabcd", r"ValueError: '\nhunterab'", r"ValueError: '\n***'"),
        ("2026-11-29T00:00:00", "ValueError: '2026-11-29T00'", "ValueError: '***'"),
    ],
)  # fmt: skip
def test_a_part_of_a_value_is_hidden(value: str, line: str, shown: str) -> None:
    """Programs quote what they could not read of it, often cut (R26)."""
    assert hider(values_in({"A": value}))(line) == shown


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("https://files.example.com/pandas/orders.csv", "ModuleNotFoundError: No module named 'pandas'"),
        ("postgresql+psycopg2://etl:x1y2z3@db/x", "ModuleNotFoundError: No module named 'psycopg2'"),
        ("/usr/bin/python3", "/usr/local/bin/python3: No module named etl"),
        ("/data/pandas/2026-01-01", "ModuleNotFoundError: No module named 'pandas'"),
        ("import pandas and orders", "ModuleNotFoundError: No module named 'pandas'"),
        ("/data/config/orders.yaml", "FileNotFoundError: [Errno 2] No such file or directory: '/data/config/x.yaml'"),
        ("app.errors.ModuleNotFoundError", "ModuleNotFoundError: No module named 'x'"),
        ("moonlight-sunset", "ValueError: invalid literal '' beside moonlight"),
        ("moonlight-sunset", "d'accord: l'avion, moonlight"),
        ("etl-connection-pool", "ConnectionRefusedError: [Errno 111] Connection refused"),
        (DATABASE, 'could not translate host name "db.example.com" to address: Name or service not known'),
        (DATABASE, 'connection to server at "db.example.com" (10.0.0.9), port 5432 failed: Connection refused'),
        ("https://db.a1b2c3d4e5.example.com/x", "HTTPSConnectionPool(host='db.a1b2c3d4e5.example.com', port=443)"),
        ("http://api.example.com/v1/orders", "Max retries exceeded with url: /v1/orders (Caused by x)"),
        ("the connection failed in the end, so what", "RuntimeError: the connection failed in the morning"),
        ("2026-01-01", "ValueError: no orders of 2026"),
        ("production", 'psycopg2.errors.UndefinedTable: relation "transactions" does not exist'),
        ("production", "No such file or directory: '/data/in/transactions.csv'"),
        ("international", "Unknown column 'creation_date' in 'field list'"),
        ("start_date", "KeyError: 'creation_date'"),
        ("customer_export", "KeyError: 'customers'"),
        ("customer_export", "Invalid object name 'CustomerAddress'"),
        ("international", "sqlalchemy.exc.OperationalError: (psycopg2.OperationalError) server failed"),
        ("spark.executor.memory=4g", "error: java.lang.OutOfMemoryError: Java heap space"),
        ("Base-ValueError-x", "error: ValueError in the load"),
        ("connection", "requests.ConnectionError: ('Connection aborted.', RemoteDisconnected('Remote end'))"),
        ("2026-11-29", "ValueError: no orders of 2026-11-28"),
        ("20261129", "ValueError: no file '20261128.csv'"),
        ("2026-11-29T00:00:00+00:00", "TimeoutError: gave up after 00:00:30"),
        ("2026-11-29T00:00:00+00:00", "ValueError: '2026-11-28T00:00:30' is too early"),
    ],
)
def test_an_ordinary_word_that_a_value_has_as_well_stays(value: str, line: str) -> None:
    """Words of the error itself, of paths, of URLs, and hosts (R22)."""
    assert hider(values_in({"A": value}))(line) == line


@given(
    value=some.text("abcXYZ0189-_+/=#", min_size=40, max_size=400),
    first=some.integers(0, 16),
    length=some.integers(MIN_VALUE, 400),
    quote=some.sampled_from(["'", '"', ""]),
)
def test_no_part_of_a_token_is_left(value: str, first: int, length: int, quote: str) -> None:
    """Wherever a program cuts it. What is no word of letters, and not short, is hidden (R26)."""
    part = value[first : first + length]
    shown = hider(values_in({"A": value}))(f"ValueError: unknown {quote}{part}{quote}")
    assert not [word for word in re.findall(r"[^\W_]{5,}", part) if re.search(r"\d", word) and word in shown]


@pytest.mark.parametrize(
    "value",
    ["".join(f"{line} rows, text\n" for line in range(4_000)), "a1b2" * 100_000, "key" * 100_000,
     '"http://h:80/",' * 20_000, "a.b." * 100_000],
    ids=["lines", "token", "keys", "urls", "words"],
)  # fmt: skip
def test_parts_of_a_long_value_take_a_moment(value: str) -> None:
    """A Secret has 1 MiB of values (R35)."""
    assert len(hider([value])("ValueError: " + f"x1y2 of text, {value[:99]}!" * 100)) <= MAX_LINE


@pytest.mark.parametrize("password", ["hunter@22/xyz", "a b c-9Zq", "päss#wörd9", "S0mmer#2026/x", "x7+Q/9a=="])
@pytest.mark.parametrize("text", ["ValueError: bad password {}", "KeyError: '{}'"])
def test_the_password_of_a_url_is_hidden_as_drivers_decode_it(password: str, text: str) -> None:
    """URLs of connections have it with escapes (R26)."""
    uri = f"postgresql://etl:{quote(password, safe='')}@db.example.com:5432/orders"
    assert hider(values_in({"DB": uri}))(text.format(password)) == text.format("***")


@pytest.mark.parametrize(
    "value",
    [
        "postgres://app:sunshine@db/x?options=a@b", "smtp://a:sunshine@m:587?from=x@y.z",
        "amqp://a:sunshine@h1,amqp://b:moonlight@h2", "amqp://a:sunshine@h1;amqp://b:moonlight@h2",
        "amqp://a:sunshine@h1 amqp://b:moonlight@h2", "redis://:sunshine@h1|redis://:moonlight@h2",
        "--url=redis://:sunshine@h --to ops@example.com", "smtp://bob@example.com:sunshine@m",
        "smtp://bob@example.com:sun@shine@m,amqp://b:moonlight@h2", "amqp%3A%2F%2Fa%3Asunshine%40h1%2Fx",
    ],
)  # fmt: skip
def test_the_password_of_every_url_in_a_value_is_hidden(value: str) -> None:
    """Also beside further at signs: of a query, of another URL, of an address (R26)."""
    passwords = [word for word in ("sunshine", "sun@shine", "moonlight") if word in value]
    shown = hider(values_in({"A": value}))("RuntimeError: not " + " or ".join(passwords))
    assert shown == "RuntimeError: not " + " or ".join("***" for _ in passwords)


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ("http://h/x?__extra__=%7B%22api_key%22%3A+%22tiger+scott%22%7D", "tiger scott"),
        ("https://h/x?token=tiger%2Fscott", "tiger/scott"),
        ("https://h/in%C3%A4/Xy12%23Zq34?a", "Xy12#Zq34"),
    ],
)
def test_other_parts_of_a_url_are_hidden_as_programs_decode_them(value: str, part: str) -> None:
    """Also the JSON in Airflow's own form of a connection (R26)."""
    assert hider(values_in({"A": value}))(f"RuntimeError: not {part}") == "RuntimeError: not ***"


def test_parts_are_hidden_of_the_shortest_values() -> None:
    """A large value leaves the parts of a short one hidden; whole, it is hidden itself (R26, R35)."""
    large = "".join(f"{number:x}-" for number in range(40_000))
    hide = hider(values_in({"A": large, "B": "hunter22-abcdef"}))
    assert hide("ValueError: 'hunter22'") == "ValueError: '***'"
    assert hide(f"ValueError: '{large}'") == "ValueError: '***"


def test_many_values_cost_no_more_than_a_few() -> None:
    """Hiding may run in the event loop of a triggerer (R35)."""
    rows = [{"id": row, "name": f"name {row}", "path": f"/data/in/{row}.csv"} for row in range(6_000)]
    hide = hider(values_in({"ROWS": json.dumps(rows)}))
    hide("warm")
    begin = time.process_time()
    for row in range(20):
        hide(f"FileNotFoundError: No such file or directory: '/data/in/{row}/orders.csv'" + " and name" * 20)
    assert time.process_time() - begin < HANG


def test_a_secret_of_airflow_inside_a_value_hides_no_less() -> None:
    """The whole value is sought before the masker changes the line (R26)."""
    hide = hider(["zz-abcde-rest"], mask=lambda line: line.replace("abcde", "***"))
    assert hide("at zz-abcde-rest of") == "at *** of"


def test_a_line_of_any_length_takes_a_moment() -> None:
    """A script may print markers inside markers, and pass thousands of values (R35)."""
    line = "::gr" * 200_000 + "::group::" + "oup::" * 200_000
    assert "::group::" not in hider()(line)
    assert len(hider(str(number) * 3 for number in range(10_000, 15_000))("9" * 900_000)) <= MAX_LINE


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("psycopg2.OperationalError: password hunter2 is wrong", "psycopg2.OperationalError: …"),
        ("MemoryError", "MemoryError"),
        ("java.sql.SQLException: hunter2", "java.sql.SQLException: …"),
        ("error: hunter2", ""),
        ("hunter2: ValueError: x", ""),
        ("script.sh: line 3: hunter2: not found", ""),
        ("", ""),
    ],
)
def test_of_a_line_with_unknown_values_only_the_errors_name_stays(line: str, shown: str) -> None:
    """Whatever else it has may be a value (R26)."""
    assert name_of_error(line) == shown


def test_a_job_that_was_launched_with_other_values_shows_only_the_name_of_its_error() -> None:
    """A secret may be rotated between the launch and the end of a deferred task (R26)."""
    old, new = ["old-launched-token"], ["new-rotated-token"]
    line = "ValueError: token old-launched-token rejected"
    digits = check_digits(old)
    assert hider_of_launched(digits, old)(line) == "ValueError: token *** rejected"
    for unlike in (new, [], [*old, *new]):
        assert hider_of_launched(digits, unlike)(line) == "ValueError: …"
    assert hider_of_launched("", old)(line) == "ValueError: …"
    assert hider_of_launched(check_digits([]), [])("ValueError: 3 rows") == "ValueError: 3 rows"


def test_check_digits_are_too_few_to_confirm_a_value() -> None:
    """They stand in Airflow's database; of ten thousand PINs some have the same ones (R26)."""
    same = [pin for pin in range(10_000) if check_digits([f"{pin:04}"]) == check_digits(["1234"])]
    assert len(same) > 1


def test_a_flag_is_no_secret() -> None:
    """``False`` stands in many messages (R22)."""
    hide = hider(values_in({"dry_run": False}, '{"dry_run": false}'))
    assert hide("ValueError: False is false, not 12345") == "ValueError: False is false, not 12345"
    assert hider(values_in({"pin": 12345}))("ValueError: 12345") == "ValueError: ***"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("a password", "password"),
        (json.dumps({"password": 'pass"word'}), 'pass"word'),
        (json.dumps({"password": "pass\\word"}), "pass\\word"),
        (json.dumps([{"password": "pass\tword"}]), "pass\tword"),
        ("login=" + json.dumps({"password": "pass\\word"}), "pass\\word"),
        ("postgres://u:p%40ss%2Fword@h/db", "p@ss/word"),
        (["query", "postgres://u:p%40ss%2Fword@h/db"], "p@ss/word"),
        ('print("' + "p\\u0040ss" + '-word")', "p@ss-word"),
        ({"spec": {"containers": [{"env": [{"name": "PASSWORD", "value": "password"}]}]}}, "password"),
    ],
)
def test_a_secret_is_known_in_each_form(text: Any, secret: str) -> None:
    """The script prints it as it is, and a masker knows only that form (R26)."""
    assert has_secrets(["plain", text], lambda text: text.replace(secret, "***"))


@pytest.mark.parametrize("texts", [[], ["plain", {"pin": [1, True, None]}]])
def test_what_is_no_secret(texts: list[Any]) -> None:
    """What the masker does not change (R26)."""
    assert not has_secrets(texts, lambda text: text.replace("password", "***"))


@pytest.mark.parametrize(
    ("value", "lines"),
    [
        ("hunter2-hunter2", []),
        ("-----BEGIN PRIVATE KEY-----\nMIIEvQIBADAN\nBKcwggSjAgEA\n-----END PRIVATE KEY-----\n",
         ["MIIEvQIBADAN", "BKcwggSjAgEA"]),
        ("-----BEGIN PRIVATE KEY-----\r\nMIIEvQIBADAN\r\nshort\r\n", ["MIIEvQIBADAN"]),
        ('{"private_key": "-----BEGIN PRIVATE KEY-----\\nMIIEvQIBADAN\\n-----END PRIVATE KEY-----\\n"}',
         ['{"private_key": "-----BEGIN PRIVATE KEY-----', "MIIEvQIBADAN"]),
        ("user: bob\n  password: hunter2\n----------\n\n  password: hunter2\n", ["user: bob", "password: hunter2"]),
        ("\n".join(f"line-{number:05}" for number in range(1000)),
         [f"line-{number:05}" for number in range(MOST_LINES)]),
    ],
)  # fmt: skip
def test_the_secret_lines_of_a_value(value: str, lines: list[str]) -> None:
    """What frames a key is in every key, and a short line in any text (R23, R26)."""
    assert secret_lines(value) == lines
