"""What makes a request, and what is refused before anything is created."""

from __future__ import annotations

import gzip
import io
import re
import zipfile
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from airflow_script_provider.kube.durations import positive_seconds
from airflow_script_provider.kube.request.options import JobOptions, exit_codes
from airflow_script_provider.kube.request.payload import Payload
from airflow_script_provider.kube.request.request import JobRequest, request_facts
from airflow_script_provider.kube.request.sizes import MAX_CONFIG_MAP
from airflow_script_provider.script import Script
from tests.builders import a_request, a_script

A_CIRCLE: list[Any] = []
A_CIRCLE.append(A_CIRCLE)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("image_pull_policy", "Sometimes", "image_pull_policy='Sometimes' must be one of Always, IfNotPresent, Never"),
        ("run_as_uid", 0, "run_as_uid=0 must be a user id from 1"),
        ("run_as_uid", True, "run_as_uid=True must be a user id"),
        ("run_as_uid", 2**31, "run_as_uid=2147483648 must be a user id from 1 to 2147483647"),
        ("tolerations", A_CIRCLE, "tolerations is nested more than 100 levels deep, or holds itself"),
        ("pod_overrides", {"spec": A_CIRCLE}, "pod_overrides is nested more than 100 levels deep"),
        ("install_dependencies", A_CIRCLE, "install_dependencies is nested more than 100 levels deep"),
        ("backoff_limit", -1, "backoff_limit=-1 must be a whole number, 0 or more"),
        ("backoff_limit", 1.5, "backoff_limit=1.5 must be a whole number"),
        ("interpreter", "bash -eu", "interpreter must be a list of strings"),
        ("interpreter", [], "interpreter must be a list of strings"),
        ("timeout", 0, "timeout=0 must be more than 0 seconds"),
        ("timeout", "600", "timeout='600' must be seconds or a timedelta"),
        ("timeout", float("nan"), "timeout=nan must be seconds"),
        ("startup_timeout", None, "startup_timeout=None must be seconds"),
        ("termination_grace_period", -1, "termination_grace_period=-1 must be at least 0 seconds"),
        ("ttl_seconds_after_finished", -1, "ttl_seconds_after_finished=-1 must be at least 0"),
        ("unread_ttl", 0, "unread_ttl=0 must be more than 0"),
        ("skip_on_exit_code", 0, "skip_on_exit_code contains 0; exit codes are whole numbers from 1 to 255"),
        ("fail_on_exit_code", [256], "fail_on_exit_code contains 256"),
        ("fail_on_exit_code", "3", "fail_on_exit_code='3' must be an exit code or a list of exit codes"),
        ("skip_on_exit_code", iter([3]), "skip_on_exit_code=<list_iterator"),
        ("fail_on_exit_code", True, "fail_on_exit_code contains True"),
    ],
)
def test_wrong_whatever_the_templates_say(option: str, value: Any, words: str) -> None:
    """What needs no rendering is refused at DAG parse, naming argument and value (R29)."""
    with pytest.raises(ValueError, match="^" + words.replace("(", r"\(")):
        JobOptions(**{option: value}).check_before_rendering()


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("image", "Python 3", "image='Python 3' is not an image reference"),
        ("name", "My_Job", "name='My_Job' is not a legal Kubernetes name"),
        ("service_account_name", "Me", "service_account_name='Me' is not a legal Kubernetes name"),
        ("name", 5, "name=5 is not a legal Kubernetes name"),
        ("labels", {"team": "a b"}, "labels['team']='a b' is not a legal label value"),
        ("labels", ["team"], "labels must be a mapping, not list"),
        ("annotations", {"note": 1}, "annotations['note'] must be a string, not int"),
        ("node_selector", {"disk": True}, "node_selector['disk']=True is not a legal label value"),
        (
            "container_resources",
            {"limit": {}},
            "container_resources has an unknown key 'limit'; did you mean 'limits'?",
        ),
        ("volumes", {"name": "x"}, "volumes must be a list, not dict"),
        ("image_pull_secrets", [1], "image_pull_secrets contains 1; each entry must be a name"),
        ("env_from", ["x"], "env_from[0] must be a mapping, not str"),
        ("tolerations", [{}, None], "tolerations[1] must be a mapping, not NoneType"),
        ("volumes", ["data"], "volumes[0] must be a mapping, not str"),
        ("volume_mounts", ["/data"], "volume_mounts[0] must be a mapping, not str"),
        ("labels", {"app.kubernetes.io/managed-by": "me"}, "labels may not set 'app.kubernetes.io/managed-by'"),
        ("labels", {"airflow-script-provider/x": "y"}, "labels may not set 'airflow-script-provider/x'"),
        (
            "annotations",
            {"airflow-script-provider/dag-id": "y"},
            "annotations may not set 'airflow-script-provider/dag",
        ),
    ],
)
def test_wrong_once_rendered(option: str, value: Any, words: str) -> None:
    """What the API server would refuse is refused before it is asked, naming the argument."""
    with pytest.raises(ValueError) as refusal:  # noqa: PT011  # the words are compared below, unescaped
        JobOptions(**{option: value}).checked()
    assert words in str(refusal.value)


def test_a_strange_object_is_a_type_error() -> None:
    """What has no place in a manifest is named with its type."""
    with pytest.raises(TypeError, match="affinity holds a object"):
        JobOptions(affinity=object()).checked()


def test_a_service_account_may_have_dots() -> None:
    """A service account's name is a DNS subdomain, not a label."""
    assert JobOptions(service_account_name="team.loader").checked().service_account_name == "team.loader"


def test_exit_codes_cannot_both_skip_and_fail() -> None:
    """One exit code means one thing."""
    with pytest.raises(ValueError, match="exit code 3 is in both skip_on_exit_code and fail_on_exit_code"):
        JobOptions(skip_on_exit_code=[3, 4], fail_on_exit_code=3).check_before_rendering()


def test_both_kinds_of_exit_codes_are_final() -> None:
    """After a code that skips or fails the task there is no other attempt."""
    options = JobOptions(skip_on_exit_code=99, fail_on_exit_code=range(1, 3)).checked()
    assert (options.skip_codes, options.final_codes) == (frozenset({99}), frozenset({1, 2, 99}))


def test_no_exit_codes_are_none() -> None:
    """None is the empty set."""
    assert exit_codes(None, "skip_on_exit_code") == frozenset()


def test_pull_secrets_may_be_plain_names() -> None:
    """A name stands for the object that holds it."""
    options = JobOptions(image_pull_secrets=["registry"]).checked()
    assert options.image_pull_secrets == [{"name": "registry"}]


def test_checked_options_have_whole_seconds() -> None:
    """Every duration is a number, however it was written, so that none is converted again."""
    options = JobOptions(
        timeout=timedelta(minutes=2),
        startup_timeout=0.5,
        ttl_seconds_after_finished=timedelta(0),
        unread_ttl=60,
        termination_grace_period=timedelta(seconds=1.5),
    ).checked()
    times = (options.timeout, options.startup_timeout, options.ttl_seconds_after_finished, options.unread_ttl)
    assert (*times, options.termination_grace_period) == (120, 1, 0, 60, 2)


def test_checked_options_have_no_end_where_none_was_written() -> None:
    """None is the only value that is not a number."""
    options = JobOptions(timeout=None, ttl_seconds_after_finished=None).checked()
    assert (options.timeout, options.ttl_seconds_after_finished) == (None, None)


def test_options_are_known_by_their_arguments() -> None:
    """As they were written: a digest of 90 seconds is not that of a minute and a half."""
    options = JobOptions(timeout=timedelta(seconds=90), skip_on_exit_code=3).checked()
    assert options.by_argument.keys() == JobOptions.__dataclass_fields__.keys()
    assert options.by_argument["timeout"] == timedelta(seconds=90)
    assert options.by_argument["skip_on_exit_code"] == 3


def test_exit_codes_of_an_own_type_are_known_by_their_numbers() -> None:
    """Its repr may hold an address, which is another one in each process (R2)."""

    class Own:
        def __iter__(self) -> Iterator[int]:
            return iter([3, 2])

        def __len__(self) -> int:
            return 2

        def __contains__(self, code: object) -> bool:
            return code in (3, 2)

    options = JobOptions(skip_on_exit_code=Own(), fail_on_exit_code=[1]).checked()
    assert (options.by_argument["skip_on_exit_code"], options.by_argument["fail_on_exit_code"]) == ([2, 3], [1])


def test_arguments_that_are_empty_are_not_given() -> None:
    """A refusal names only arguments that the author has set to something."""
    given = JobOptions(volumes=[], labels={"a": "b"}, fail_on_exit_code=3).checked().given
    assert "volumes" not in given
    assert {"labels", "fail_on_exit_code", "image"} <= set(given)


@pytest.mark.parametrize(("value", "seconds"), [(1, 1), (0.2, 1), (1.5, 2), (timedelta(minutes=2), 120)])
def test_durations_become_whole_seconds(value: float | timedelta, seconds: int) -> None:
    """Seconds are rounded up: no timeout becomes none."""
    assert positive_seconds(value, "timeout") == seconds


@pytest.mark.parametrize("value", [2**31, 2**31 - 0.5, timedelta(days=30_000), float("inf"), float("nan"), True])
def test_a_duration_that_kubernetes_cannot_store_is_refused(value: Any) -> None:
    """A TTL has 32 bits (R25)."""
    with pytest.raises(ValueError, match="must be seconds or a timedelta"):
        positive_seconds(value, "ttl_seconds_after_finished")


def test_none_is_a_duration_where_it_is_allowed() -> None:
    """``timeout=None`` means no end."""
    assert positive_seconds(None, "timeout", none_allowed=True) is None


def test_an_empty_script_is_refused() -> None:
    """A script of blanks is a mistake, not a success."""
    with pytest.raises(ValueError, match=r"script is empty \(file:///x.py\)"):
        a_request(a_script(" \n", origin="file:///x.py"))


def a_script_of(data: bytes) -> Script:
    """A script that was read."""
    return Script.from_bytes(data, origin="file:///x.py", name="x.py")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"a\0b", "contains a NUL character"),
        (b"a\0\xff", "contains a NUL character"),
        (b"\x7fELF\x02", "is a binary program, not text; put it into the image"),
        (gzip.compress(b"print(1)", mtime=0), "is compressed with gzip; unpack it"),
        ("\ufeffprint(1)".encode("utf-16-le"), "is UTF-16 text; save it as UTF-8"),
        (b"print('h\xfc')", r"is not UTF-8 text \(file:///x.py\): byte 8 is 0xfc; save it as UTF-8, or write its"),
        ("print('ü')".encode() + b"\xe9", r"is not UTF-8 text \(file:///x.py\): byte 11 is 0xe9"),
        (b"# -*- coding: klingon -*-\nx = '\xe9'", "is not UTF-8 text"),
        (b"# -*- coding: utf-8 -*-\nx = '\xe9'", "is not UTF-8 text"),
        (b"# -*- coding: hex -*-\nx = '\xe9'", "is not UTF-8 text"),
    ],
)
def test_what_cannot_run_is_refused(data: bytes, words: str) -> None:
    """What Python or a shell would refuse is refused before anything exists, with what to do."""
    with pytest.raises(ValueError, match=words):
        a_request(a_script_of(data))


def test_bytes_that_are_no_utf_8_may_run() -> None:
    """Python finds an encoding in the first two lines, and a zip archive in any bytes; a shell takes all (R24)."""
    archive = io.BytesIO(b"#!/usr/bin/env python3\n")
    with zipfile.ZipFile(archive, "a") as packed:
        packed.writestr("__main__.py", "print(1)")
    for data in (
        b"#!/usr/bin/env python3\n# -*- coding: latin-1 -*-\nx = '\xe9'",
        b"#!/bin/sh\necho \xe9",
        archive.getvalue(),
    ):
        assert a_request(a_script_of(data)).script.data == data


def test_files_are_any_bytes() -> None:
    """A key, an archive, a program (R24)."""
    data = b"\x7fELF\0\xff"
    assert a_request(files={"program": a_script_of(data)}).files["program"].data == data


def test_other_bytes_than_text_count_as_json() -> None:
    """base64 makes four characters of three bytes; a full ConfigMap of them fits (R25)."""
    assert a_request(files={"x": a_script_of(b"\xff" * (MAX_CONFIG_MAP - 100))})


def test_what_utf_8_cannot_spell_is_refused() -> None:
    """Half of a surrogate pair has no bytes to run."""
    with pytest.raises(ValueError, match=r"script is no text that UTF-8 can spell \(inline\): character 5"):
        a_request("echo \ud800")


def test_the_largest_script_is_accepted() -> None:
    """A ConfigMap holds 1 MiB (R25)."""
    assert a_request("#" * MAX_CONFIG_MAP).script.size == MAX_CONFIG_MAP


def test_a_larger_script_is_refused_with_the_way_out() -> None:
    """One byte more is refused with size, limit and what to do (R25)."""
    with pytest.raises(ValueError, match=r"1,048,577 bytes.*1,048,576 that a ConfigMap holds; put code into the image"):
        a_request("#" * (MAX_CONFIG_MAP + 1))


def test_files_count_with_the_script() -> None:
    """Script and files share one ConfigMap (R25)."""
    with pytest.raises(ValueError, match="script and files have 1,048,577 bytes"):
        a_request("x", files={"data.csv": a_script("#" * MAX_CONFIG_MAP)})


def test_a_file_cannot_take_the_scripts_path() -> None:
    """The script's own path is named."""
    with pytest.raises(ValueError, match=r"files has the path 'script.py', which is the script's own"):
        a_request(files={"script.py": a_script()})


def test_a_file_cannot_leave_the_folder() -> None:
    """Paths with ``..`` are refused."""
    with pytest.raises(ValueError, match=r"files has an illegal path '\.\./x'"):
        a_request(files={"../x": a_script()})


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        (["a", "a/b"], "files has the path 'a/b', but 'a' is a file, not a folder"),
        (["a/b/c", "a"], "files has the path 'a/b/c', but 'a' is a file"),
        (["script.py/x"], "files has the path 'script.py/x', but 'script.py' is a file"),
    ],
)
def test_a_path_is_a_file_or_a_folder(paths: list[str], words: str) -> None:
    """One path cannot be both."""
    with pytest.raises(ValueError, match=words):
        a_request(files={path: a_script() for path in paths})


def test_files_may_share_a_folder() -> None:
    """Paths that only begin alike don't meet."""
    assert len(a_request(files={"a/b": a_script(), "a/c": a_script(), "a.py": a_script()}).files) == 3


@pytest.mark.parametrize("place", ["script", "files['data.bin']"])
def test_what_grows_too_large_as_json_is_refused(place: str) -> None:
    """A MiB of control characters has six MiB as JSON, which the API server refuses (R25)."""
    large = a_script("\x01" * (MAX_CONFIG_MAP - 100))
    files = {} if place == "script" else {"data.bin": large}
    with pytest.raises(ValueError, match=f"^{re.escape(place)} has 6,290,858 bytes as JSON.*accepts 3,080,192 in all"):
        a_request(a_script() if files else large, files=files)


def test_an_illegal_namespace_is_refused() -> None:
    """A namespace is a DNS label."""
    with pytest.raises(ValueError, match="namespace='Etl' is not a legal Kubernetes name"):
        a_request(namespace="Etl")


def test_a_request_shows_no_payload() -> None:
    """The repr of a request holds no value of env or args (R26)."""
    assert "hunter2" not in repr(a_request(env={"KEY": "hunter2"}, args={"k": "hunter2"}))


def facts_of(request: JobRequest) -> dict[str, Any]:
    """What makes this request the same as another."""
    return request_facts(request.script, request.files, request.options, request.payload, request.namespace)


def test_facts_hold_names_not_values() -> None:
    """The launch id is made without a secret value (R26)."""
    facts = facts_of(a_request(env={"KEY": "hunter2"}))
    assert facts["variables"] == ["KEY"]
    assert "hunter2" not in str(facts)


def test_facts_hold_no_login_of_a_requirement() -> None:
    """A password in a requirement's URL does not count, so a renewed one is the same request (R26)."""
    first, renewed = (f"pkg @ https://me:{password}@pypi.example.com/pkg.whl" for password in ("hunter2", "hunter3"))
    facts = facts_of(a_request(install_dependencies=[first]))
    assert facts == facts_of(a_request(install_dependencies=[renewed]))
    assert "hunter2" not in str(facts)


@pytest.mark.parametrize("change", [{"script": "other"}, {"image": "node:22"}, {"namespace": "other"}, {"timeout": 5}])
def test_facts_tell_requests_apart(change: dict[str, Any]) -> None:
    """Another script, option or namespace is another request."""
    assert facts_of(a_request(**change)) != facts_of(a_request())


def test_a_checked_request_has_plain_options() -> None:
    """Empty objects stand for those that nobody gave, so that a manifest needs no None checks."""
    options = a_request().options
    assert (options.labels, options.volumes, options.pod_overrides) == ({}, [], {})


def test_a_request_without_payload_has_none() -> None:
    """By default nothing is passed to the script."""
    assert a_request().payload == Payload()


def test_what_a_script_is_given() -> None:
    """Also what only the container has: a script may print its variables and its argv (R26)."""
    overrides = {"spec": {"containers": [{"name": "script", "env": [{"name": "PW", "value": "in-the-pod"}]}]}}
    request = a_request("print('in-the-script')", env={"A": "in-env"}, interpreter=["python3", "-X", "in-argv"],
                        files={"a.txt": a_script("in-a-file")}, pod_overrides=overrides)  # fmt: skip
    given = str(request.known_to_script())
    assert all(text in given for text in ("in-the-script", "in-a-file", "in-env", "in-argv", "in-the-pod"))
