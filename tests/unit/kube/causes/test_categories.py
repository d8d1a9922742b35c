"""The category of a failure, and Kubernetes' own word for it."""

from __future__ import annotations

import re

import pytest

from airflow_script_provider.kube.causes import signs
from airflow_script_provider.kube.causes.script_error import advice_for, category_of
from airflow_script_provider.kube.exec.request import ExecOptions
from airflow_script_provider.kube.request.options import JobOptions
from airflow_script_provider.result import Category, ScriptResult
from tests.builders import a_failed_result
from tests.causes import EXAMPLES, Example

REFUSED = [
    "Traceback (most recent call last):",
    '  File "script.py", line 3, in <module>',
    "ConnectionRefusedError: [Errno 111] Connection refused",
]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"{example.category}-{example.message()[:40]}")
def test_a_cause_has_its_category_and_kubernetes_own_word(example: Example) -> None:
    """By what the node, the scheduler, admission, an event or the output says (R22)."""
    assert example.found() == (example.category, example.reason)


def test_every_category_is_reached() -> None:
    """The list is closed, and no word of it is idle."""
    assert {example.category for example in EXAMPLES} == set(Category)


@pytest.mark.parametrize("word", [None, "", "Error", "Completed", "SomethingNew", "ModuleNotFound", "Killed"])
def test_a_word_that_tells_nothing_has_no_category(word: str | None) -> None:
    """What a newer Kubernetes says is not mistaken for what it does not say."""
    assert signs.category_of_word(word) is None


def test_an_error_that_was_handled_is_not_the_category() -> None:
    """With an error at the end, only that error counts; a program that failed in its turn tells nothing itself."""
    earlier = "curl: (6) Could not resolve host: db"
    assert category_of(1, "ValueError: x", [earlier, "ValueError: x"]) is Category.ERROR
    wrapper = "subprocess.CalledProcessError: Command 'curl' returned non-zero exit status 6."
    assert category_of(1, wrapper, [earlier, wrapper]) is Category.NAME_NOT_RESOLVED
    assert category_of(6, "", [earlier, "giving up"]) is Category.NAME_NOT_RESOLVED


@pytest.mark.parametrize(
    ("code", "lines", "category"),
    [
        (137, ["retry 1: connection refused", *["row"] * 15], Category.KILLED),
        (143, ["WARN cache: Permission denied", *["row"] * 15], Category.SIGNALED),
        (3, ["rm: cannot remove 'x': No such file or directory", *["row"] * 15, "3 rows differ"], Category.ERROR),
        (3, ["INFO name resolution of 12 entities done", "validation: 3 rows differ"], Category.ERROR),
        (134, ["FATAL ERROR: JavaScript heap out of memory", *["1: 0xb7 node"] * 12], Category.MEMORY_ERROR),
        (1, ["Permission denied (publickey,password)."], Category.AUTHENTICATION_FAILED),
        (1, ['Exception in thread "main" java.lang.OutOfMemoryError: Java heap space'], Category.MEMORY_ERROR),
        (100, ["E: You don't have enough free space in /var/cache/apt/archives/."], Category.NO_SPACE_LEFT),
        (1, ["cp: cannot create '/var/lib/apt/x': Read-only file system"], Category.READ_ONLY_FILE_SYSTEM),
        (1, ["dpkg: error processing package foo (--configure):"], Category.ERROR),
        (1, ["wget: bad address 'db'"], Category.NAME_NOT_RESOLVED),
        (28, ["curl: (28) Failed to connect to db port 80: Timeout was reached"], Category.HOST_UNREACHABLE),
        (1, ["FATAL:  remaining connection slots are reserved for superusers"], Category.CONNECTION_REFUSED),
        (1, ["WARN retrying after java.lang.OutOfMemoryError: Java heap space", "batch ok", "3 orders failed"],
         Category.ERROR),
        (3, ["worker 2: Command '['x']' died with <Signals.SIGKILL: 9>., restarted", "all done", "3 checks failed"],
         Category.ERROR),
        (3, ["ERROR etl: BrokenProcessPool, trying again", "all done", "3 checks failed"], Category.ERROR),
        (3, ["Terminating due to java.lang.OutOfMemoryError: Java heap space", *["row"] * 5], Category.MEMORY_ERROR),
        (1, ["Caused by: java.lang.OutOfMemoryError: x", *["\tat A.b(A.java:1)"] * 5, "failed"],
         Category.MEMORY_ERROR),
        (1, ["subprocess.CalledProcessError: Command 'x' died with <Signals.SIGKILL: 9>.", "failed", "bye", "."],
         Category.KILLED),
        (1, ["ERROR:root:load failed, trying the replica", *REFUSED, "3 checks failed"], Category.ERROR),
        (1, ["ERROR:root:load failed", *REFUSED, "replica used", "2 rows", "3 checks failed"], Category.ERROR),
        (3, ["first try failed:", *REFUSED, "3 checks failed"], Category.ERROR),
        (3, [*REFUSED, "psql: error: could not translate host name"], Category.NAME_NOT_RESOLVED),
        (1, ["requests.exceptions.SSLError: certificate verify failed: Hostname mismatch"],
         Category.CERTIFICATE_INVALID),
    ],
)  # fmt: skip
def test_only_the_end_of_the_output_tells_a_cause(code: int, lines: list[str], category: Category) -> None:
    """What stands further above was handled; what ended a process counts in any case."""
    assert category_of(code, "", lines) is category


@pytest.mark.parametrize(
    ("code", "lines", "category", "advice"),
    [
        (1, ["java.lang.OutOfMemoryError: Java heap space", "trying in parts", "ValueError: bad rows"],
         Category.ERROR, ""),
        (1, ["RuntimeError: x", "java.lang.OutOfMemoryError: Java heap space"], Category.MEMORY_ERROR, "Raise"),
        (1, ["mkdir: cannot create directory 'x': Permission denied", "FATAL:  password authentication failed",
             "subprocess.CalledProcessError: Command 'psql' returned non-zero exit status 2."],
         Category.AUTHENTICATION_FAILED, ""),
    ],
)  # fmt: skip
def test_category_and_advice_are_of_the_same_line(code: int, lines: list[str], category: Category, advice: str) -> None:
    """What stands above the script's own error was handled; no line gives advice that did not decide (R22)."""
    error = lines[0] if lines[0].startswith("RuntimeError") else lines[-1]
    assert category_of(code, error, lines) is category
    found = advice_for(code, error, lines)
    assert found.startswith(advice)
    assert bool(found) == bool(advice)


@pytest.mark.parametrize(
    "line",
    [
        "botocore.exceptions.ClientError: An error occurred (AccessDeniedException) when calling the GetSecretValue "
        "operation: User: arn:aws:sts::1:assumed-role/x is not authorized",
        "npm error ERESOLVE could not resolve",
        "[ERROR] Failed to execute goal: Could not resolve dependencies for project com.example:etl:jar:1",
        "RuntimeError: Could not resolve column 'id'",
        "RuntimeError: row 3 has a bad address",
        "OSError: [Errno 14] Bad address",
        "RuntimeError: unexpected number of rows (111)",
    ],
)
def test_words_with_another_meaning_have_no_category(line: str) -> None:
    """A wrong category is worse than none (R22)."""
    assert category_of(1, line, [line]) is Category.ERROR
    assert category_of(1, "", [line]) is Category.ERROR
    assert advice_for(1, line, [line]) == ""


@pytest.mark.parametrize(
    ("error", "category"),
    [
        ("numpy._core._exceptions._ArrayMemoryError: Unable to allocate 745. GiB for an array", Category.MEMORY_ERROR),
        ("pyarrow.lib.ArrowMemoryError: malloc of size 800000000 failed", Category.MEMORY_ERROR),
        ("java.nio.file.AccessDeniedException: /work/x", Category.PERMISSION_DENIED),
        ("W: Failed to fetch http://deb.debian.org/x  Could not resolve 'deb.debian.org'", Category.NAME_NOT_RESOLVED),
        ("curl: (5) Could not resolve proxy: proxy", Category.NAME_NOT_RESOLVED),
        ("wget: unable to resolve host address ‘db’", Category.NAME_NOT_RESOLVED),
        ("curl: (60) SSL certificate problem: EE certificate key too weak", Category.CERTIFICATE_INVALID),
        ("curl: (60) SSL: no alternative certificate subject name matches target host", Category.CERTIFICATE_INVALID),
        ("ERROR: The certificate of ‘db’ is not trusted.", Category.CERTIFICATE_INVALID),
        ("ERROR: The certificate of ‘db’ has expired.", Category.CERTIFICATE_INVALID),
        ("The certificate's owner does not match hostname ‘db’", Category.CERTIFICATE_INVALID),
        ("ERROR: no certificate subject alternative name matches", Category.CERTIFICATE_INVALID),
        ("ValueError: the certificate of course 3 is missing", Category.ERROR),
        ("ERROR 2003 (HY000): Can't connect to MySQL server on 'db:3306' (111)", Category.CONNECTION_REFUSED),
        ("Error in library(dplyr) : there is no package called ‘dplyr’", Category.MODULE_NOT_FOUND),
        ("script.rb:1:in `require': cannot load such file -- pg (LoadError)", Category.MODULE_NOT_FOUND),
        ("script.rb:3: syntax errors found (SyntaxError)", Category.SYNTAX_ERROR),
        ("PHP Parse error:  syntax error, unexpected end of file in x.php on line 4", Category.SYNTAX_ERROR),
        ("panic: dial tcp 10.0.0.1:5432: connect: connection refused", Category.CONNECTION_REFUSED),
        ("Error: package or namespace load failed for 'x'", Category.ERROR),
        ("Error in loadNamespace(x) : there is no package called ‘dplyr’", Category.MODULE_NOT_FOUND),
        ("Error [ERR_MODULE_NOT_FOUND]: Cannot find package 'pg' imported from /x.mjs", Category.MODULE_NOT_FOUND),
        ("/usr/local/bin/python3.11: No module named etl", Category.MODULE_NOT_FOUND),
        ('/scripts/script: 2: Syntax error: "fi" unexpected', Category.SYNTAX_ERROR),
        ("/scripts/script.sh: line 2: syntax error near unexpected token `fi'", Category.SYNTAX_ERROR),
        ("bash: -c: line 1: syntax error near unexpected token `fi'", Category.SYNTAX_ERROR),
        ("sh: syntax error: unexpected end of file", Category.SYNTAX_ERROR),
        ('psql:/scripts/script.sql:1: ERROR:  syntax error at or near "selec"', Category.SYNTAX_ERROR),
        ("ERROR:  syntax error at end of input", Category.SYNTAX_ERROR),
        ('syntax error at x.pl line 3, near "foo bar"', Category.SYNTAX_ERROR),
        ('psycopg2.errors.SyntaxError: syntax error at or near "selec"', Category.SYNTAX_ERROR),
        ("sqlalchemy.exc.ProgrammingError: (psycopg2.errors.SyntaxError) syntax error at", Category.SYNTAX_ERROR),
        ('sqlite3.OperationalError: near "selec": syntax error', Category.SYNTAX_ERROR),
        ("jq: error: syntax error, unexpected end of file at <top-level>, line 1:", Category.SYNTAX_ERROR),
        ("google.api_core.exceptions.BadRequest: 400 Syntax error: Unexpected keyword SELECT", Category.SYNTAX_ERROR),
        ("ERROR 1064 (42000) at line 1: You have an error in your SQL syntax; check", Category.SYNTAX_ERROR),
        ('pymysql.err.ProgrammingError: (1064, "You have an error in your SQL syntax")', Category.SYNTAX_ERROR),
        ("jq: error (at <stdin>:3): syntax error in the order", Category.ERROR),
        ("ValueError: syntax error in line 3 of orders.csv", Category.ERROR),
        ("ValueError: SyntaxError in input", Category.ERROR),
        ("KeyError: 'Syntax error'", Category.ERROR),
        ("RuntimeError: Syntax error in template orders.tmpl line 3", Category.ERROR),
        ("ERROR: syntax error in orders.csv", Category.ERROR),
        ("ValueError: Cannot find package 'blue' in order 12", Category.ERROR),
        ("RuntimeError: Cannot find package 'blue' in order 12", Category.ERROR),
        ("AssertionError: there is no package called x", Category.ERROR),
        ("RuntimeError: there is no package called x", Category.ERROR),
        ("KeyError: 'connection timeout'", Category.ERROR),
        ("ValueError: permission denied", Category.ERROR),
        ("ImportError: cannot import name 'x' from 'etl'", Category.ERROR),
        ("SyntaxError: Unexpected token < in JSON at position 0", Category.ERROR),
        ("TypeError: fetch failed", Category.NAME_NOT_RESOLVED),
        ("concurrent.futures.process.BrokenProcessPool: A process was terminated abruptly", Category.KILLED),
    ],
)
def test_an_error_is_known_by_its_kind_and_its_details(error: str, category: Category) -> None:
    """Data of the script in an error's text tells nothing; what follows the error belongs to it."""
    details = ["    at load (x.js:1:2) {", "  [cause]: Error: getaddrinfo ENOTFOUND db"] if "fetch" in error else []
    assert category_of(1, error, ["before", error, *details]) is category


@pytest.mark.parametrize(
    ("answer", "word", "category"),
    [
        ("not found", "ErrImagePull", Category.IMAGE_NOT_FOUND),
        ("no matching manifest for linux/arm64 in the manifest list entries", "ErrImagePull", Category.IMAGE_NOT_FOUND),
        ('no image found in image index for architecture "arm64"', "ErrImagePull", Category.IMAGE_NOT_FOUND),
        ("failed to fetch oauth token: unexpected status: 403 Forbidden", "ErrImagePull", Category.IMAGE_UNAUTHORIZED),
        ("requested access to the resource is denied", "ErrImagePull", Category.IMAGE_UNAUTHORIZED),
        ("SignatureValidationFailed: image pull failed", "ImagePullBackOff", Category.SIGNATURE_VALIDATION_FAILED),
        ("parent snapshot sha256:1 does not exist: not found", "ErrImagePull", Category.ERR_IMAGE_PULL),
        ("content digest sha256:1 : not found", "ErrImagePull", Category.ERR_IMAGE_PULL),
        ("exec: docker-credential-gcloud: executable file not found in $PATH", "ErrImagePull", Category.ERR_IMAGE_PULL),
    ],
)
def test_answers_about_an_image(answer: str, word: str, category: Category) -> None:
    """A fault of the node is not one of the image, which would be given up at once (R15)."""
    assert signs.category_of(signs.OF_A_REGISTRY, answer, word) is category


@pytest.mark.parametrize(
    ("message", "advice"),
    [
        ("0/3 nodes are available: 3 Insufficient ephemeral-storage.", "Ask for less in container_resources"),
        ('Usage of EmptyDir volume "work" exceeds the limit "1Mi".', "Raise the volume's sizeLimit"),
        ("The node was low on resource: ephemeral-storage. Container script was using 5Gi", ""),
        ("2 node(s) had untolerated taint {gpu: }.", "Set tolerations."),
        ("2 node(s) had untolerated taint {node.kubernetes.io/disk-pressure: }.", ""),
        ("2 node(s) had untolerated taint(s) {node.kubernetes.io/not-ready: }.", ""),
    ],
)
def test_advice_does_no_harm(message: str, advice: str) -> None:
    """More of a resource is no way to get onto a full node, and a sick node is not to be tolerated."""
    found = signs.advice(signs.OF_THE_CLUSTER, message)
    assert found.startswith(advice)
    assert bool(found) == bool(advice)


def test_a_result_of_a_newer_version_can_be_read() -> None:
    """Its category may be a word that did not exist yet."""
    result = a_failed_result(category=Category.ERROR)
    assert ScriptResult.from_dict(result.to_dict()) == result
    assert ScriptResult.from_dict(result.to_dict() | {"category": "Newer"}).category is Category.UNKNOWN
    without = {name: value for name, value in result.to_dict().items() if name != "category"}
    assert ScriptResult.from_dict(without).category is None


@pytest.mark.parametrize("sign", [*signs.OF_AN_ERROR, *signs.OF_A_CRASH, *signs.OF_OUTPUT])
def test_advice_for_a_running_pod_has_no_argument_of_a_job(sign: signs.Sign) -> None:
    """Image, user and limits of the pod are its author's (R37)."""
    of_a_job = set(JobOptions.__dataclass_fields__) - set(ExecOptions.__dataclass_fields__) - {"image", "name"}
    advice = signs.advice_in_a_running_pod(sign.advice, sign.category or Category.ERROR)
    assert not of_a_job & set(re.findall(r"[a-z_]+", advice))
