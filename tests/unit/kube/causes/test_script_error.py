"""The error that a script itself printed, in the first line of its failure."""

from __future__ import annotations

import pytest

from airflow_script_provider.kube.causes.script_error import advice_for, last_error
from airflow_script_provider.kube.job.diagnosis import diagnose
from airflow_script_provider.result import Category
from tests.builders import a_case, a_pod, some_limits

PYTHON = """\
loading
Traceback (most recent call last):
  File "/scripts/script.py", line 3, in <module>
    main()
    ~~~~^^
  File "/scripts/script.py", line 1, in main
    import pandas
ModuleNotFoundError: No module named 'pandas'
"""
CHAINED = """\
Traceback (most recent call last):
  File "a.py", line 1, in <module>
KeyError: 'x'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "a.py", line 3, in <module>
    raise ValueError("first\\nsecond")
ValueError: first
second
"""
GROUP = """\
  + Exception Group Traceback (most recent call last):
  |   File "a.py", line 9, in <module>
  |     asyncio.run(main())
  | ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception)
  +-+---------------- 1 ----------------
    | Traceback (most recent call last):
    |   File "a.py", line 3, in work
    |     raise OSError(5, "broken")
    | OSError: [Errno 5] broken
    +------------------------------------
"""
SYNTAX = """\
  File "/scripts/script.py", line 1
    print 1
    ^^^^^^^
SyntaxError: Missing parentheses in call to 'print'. Did you mean print(...)?
"""
OTHER_STREAM = """\
Traceback (most recent call last):
  File "/scripts/script.py", line 5, in <module>
    amount = float(order["amount"])
importing order 1
importing order 2
TypeError: float() argument must be a string or a real number, not 'NoneType'
"""
OWN_NAME = OTHER_STREAM.replace("TypeError: float()", "etl.orders.NoAmount: its")
IGNORED = """\
Traceback (most recent call last):
  File "a.py", line 9, in <module>
ValueError: bad rows
Exception ignored in: <function C.__del__ at 0x7f>
Traceback (most recent call last):
  File "a.py", line 3, in __del__
ModuleNotFoundError: No module named 'ssl'
"""
NEVER_RETRIEVED = """\
Traceback (most recent call last):
  File "a.py", line 9, in <module>
ValueError: bad rows
Task exception was never retrieved
future: <Task finished name='Task-2' coro=<work() done> exception=ConnectionRefusedError()>
Traceback (most recent call last):
  File "a.py", line 3, in work
ConnectionRefusedError: [Errno 111] Connection refused
"""
HANDLED_BEFORE = """\
Traceback (most recent call last):
  File "a.py", line 1, in <module>
ModuleNotFoundError: No module named 'orjson'
falling back to json
ERROR: 3 of 10 checks failed
"""
BASH = """\
/scripts/script.sh: line 2: syntax error near unexpected token `fi'
/scripts/script.sh: line 2: `fi'
"""
PSQL = """\
psql: error: connection to server at "db" (10.0.0.9), port 5432 failed: Connection refused
\tIs the server running on that host and accepting TCP/IP connections?
"""
CURL = """\
curl: (60) SSL certificate problem: self-signed certificate
More details here: https://curl.se/docs/sslcerts.html

curl failed to verify the legitimacy of the server and therefore could not
establish a secure connection to it. To learn more about this situation and
how to fix it, please visit the web page mentioned above.
"""
OLD_CURL = """\
curl: (60) SSL certificate problem: certificate has expired
More details here: https://curl.haxx.se/docs/sslcerts.html

curl performs SSL certificate verification by default, using a "bundle"
 of Certificate Authority (CA) public keys (CA certs). If the default
 bundle file isn't adequate, you can specify an alternate file
 using the --cacert option.
If this HTTPS server uses a certificate signed by a CA represented in
 the bundle, the certificate verification probably failed due to a
 problem with the certificate (it might be expired, or the name might
 not match the domain name in the URL).
If you'd like to turn off curl's verification of the certificate, use
 the -k (or --insecure) option.
HTTPS-proxy has similar options --proxy-cacert and --proxy-insecure.
"""
WGET = """\
ERROR: cannot verify db's certificate, issued by 'CN=db':
  Self-signed certificate encountered.
To connect to db insecurely, use `--no-check-certificate'.
"""
PSQL_SYNTAX = """\
psql:/scripts/script.sql:1: ERROR:  syntax error at or near "selec"
LINE 1: selec 1;
        ^
"""
PERL = """\
Can't locate JSON.pm in @INC (you may need to install the JSON module) at x.pl line 1.
BEGIN failed--compilation aborted at x.pl line 1.
"""
NODE = """\
node:internal/modules/cjs/loader:1080
  throw err;
  ^

Error: Cannot find module 'left-pad'
Require stack:
- /scripts/script.js
    at Module._resolveFilename (node:internal/modules/cjs/loader:1077:15)
    at require (node:internal/modules/helpers:177:18) {
  code: 'MODULE_NOT_FOUND',
  requireStack: [ '/scripts/script.js' ]
}

Node.js v20.11.1
"""
GO = """\
loading
panic: runtime error: index out of range [5] with length 3

goroutine 1 [running]:
main.load(...)
\t/src/main.go:8
main.main()
\t/src/main.go:12 +0x1d
"""
GO_SIGNAL = """\
panic: runtime error: invalid memory address or nil pointer dereference
[signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x4a1b2c]

goroutine 1 [running]:
main.main()
\t/src/main.go:5 +0x1c
exit status 2
"""
GO_DEADLOCK = """\
fatal error: all goroutines are asleep - deadlock!

goroutine 1 [chan receive]:
main.main()
\t/src/main.go:5 +0x2d
"""
RUST = """\
loading
thread 'main' panicked at src/main.rs:4:40:
called `Result::unwrap()` on an `Err` value: ParseIntError { kind: InvalidDigit }
note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace
"""
OLD_RUST = """\
thread 'main' panicked at 'explicit panic', src/main.rs:2:5
note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace
"""
RUST_ERROR = 'Error: Os { code: 2, kind: NotFound, message: "No such file or directory" }\n'
RUBY = """\
script.rb:2:in 'Integer#/': divided by 0 (ZeroDivisionError)
\tfrom script.rb:2:in 'Object#load'
\tfrom script.rb:5:in '<main>'
"""
RUBY_MODULE = """\
<internal:/usr/lib/ruby/3.3.0/rubygems/kernel_require.rb>:136:in `require': cannot load such file -- pg (LoadError)
\tfrom <internal:/usr/lib/ruby/3.3.0/rubygems/kernel_require.rb>:136:in `require'
\tfrom script.rb:1:in `<main>'
"""
R_MODULE = """\
Error in library(dplyr) : there is no package called ‘dplyr’
Execution halted
"""
R_CALLS = """\
Error in load("orders") :
  the table of orders has no rows, which the report needs
Calls: report -> load
Execution halted
"""
PHP = """\
PHP Fatal error:  Uncaught PDOException: SQLSTATE[HY000] [2002] Connection refused in /scripts/script.php:3
Stack trace:
#0 /scripts/script.php(3): PDO->__construct('mysql:host=db')
#1 {main}
  thrown in /scripts/script.php on line 3
"""
PHP_SYNTAX = 'PHP Parse error:  syntax error, unexpected token "}" in /scripts/script.php on line 4\n'
LOGGED = """\
2026-01-01 05:00:00 ERROR cannot reach the cache
Traceback (most recent call last):
  File "/scripts/script.py", line 3, in <module>
ConnectionRefusedError: [Errno 111] Connection refused
going on without it
row 1 read
row 2 read
3 rows are invalid
"""
HANDLED = PYTHON + "trying without pandas\nnothing to do\n"


@pytest.mark.parametrize(
    ("output", "code", "error"),
    [
        (PYTHON, 1, "ModuleNotFoundError: No module named 'pandas'"),
        (CHAINED, 1, "ValueError: first"),
        (GROUP, 1, "OSError: [Errno 5] broken"),
        (OTHER_STREAM, 1, "TypeError: float() argument must be a string or a real number, not 'NoneType'"),
        (OWN_NAME, 1, "etl.orders.NoAmount: its argument must be a string or a real number, not 'NoneType'"),
        (IGNORED, 1, "ValueError: bad rows"),
        (NEVER_RETRIEVED, 1, "ValueError: bad rows"),
        (HANDLED_BEFORE, 1, "ERROR: 3 of 10 checks failed"),
        (BASH, 2, "/scripts/script.sh: line 2: syntax error near unexpected token `fi'"),
        ("bash: -c: line 1: syntax error: unexpected end of file\n", 2,
         "bash: -c: line 1: syntax error: unexpected end of file"),
        ("bash: -c: line 1: unexpected EOF while looking for matching `)'\n", 2,
         "bash: -c: line 1: unexpected EOF while looking for matching `)'"),
        ("/bin/sh: syntax error: unterminated quoted string\n", 2, "/bin/sh: syntax error: unterminated quoted string"),
        ("ERROR 1064 (42000) at line 1: You have an error\n", 1, "ERROR 1064 (42000) at line 1: You have an error"),
        (PSQL, 2, 'psql: error: connection to server at "db" (10.0.0.9), port 5432 failed: Connection refused'),
        (PSQL_SYNTAX, 3, 'psql:/scripts/script.sql:1: ERROR:  syntax error at or near "selec"'),
        (PERL, 2, "Can't locate JSON.pm in @INC (you may need to install the JSON module) at x.pl line 1."),
        (SYNTAX, 1, "SyntaxError: Missing parentheses in call to 'print'. Did you mean print(...)?"),
        (NODE, 1, "Error: Cannot find module 'left-pad'"),
        ("/scripts/script.sh: line 3: foo: command not found\n", 127,
         "/scripts/script.sh: line 3: foo: command not found"),
        ("x\n/scripts/script: 2: set: Illegal option -o pipefail\n", 2,
         "/scripts/script: 2: set: Illegal option -o pipefail"),
        ("psql:/scripts/script.sql:1: ERROR:  relation \"x\" does not exist\n", 3,
         'psql:/scripts/script.sql:1: ERROR:  relation "x" does not exist'),
        ("/usr/bin/python3: No module named etl\n", 1, "/usr/bin/python3: No module named etl"),
        ("curl: (6) Could not resolve host: x\n", 6, "curl: (6) Could not resolve host: x"),
        (CURL, 60, CURL.splitlines()[0]),
        (OLD_CURL, 60, OLD_CURL.splitlines()[0]),
        (CURL + "3 rows are invalid\n", 3, ""),
        (WGET, 5, "ERROR: cannot verify db's certificate, issued by 'CN=db': Self-signed certificate encountered."),
        ("Can't locate JSON.pm at /scripts/script.pl line 1.\n", 2,
         "Can't locate JSON.pm at /scripts/script.pl line 1."),
        (GO, 2, "panic: runtime error: index out of range [5] with length 3"),
        (GO_SIGNAL, 1, "panic: runtime error: invalid memory address or nil pointer dereference"),
        (GO_DEADLOCK, 2, "fatal error: all goroutines are asleep - deadlock!"),
        (RUST, 101, "thread 'main' panicked at src/main.rs:4:40: called `Result::unwrap()` on an `Err` value: "
                    "ParseIntError { kind: InvalidDigit }"),
        (OLD_RUST, 101, "thread 'main' panicked at 'explicit panic', src/main.rs:2:5"),
        (RUST + "3 rows are invalid\n", 3, ""),
        (RUST_ERROR, 1, RUST_ERROR.strip()),
        (RUBY, 1, "script.rb:2:in 'Integer#/': divided by 0 (ZeroDivisionError)"),
        (RUBY_MODULE, 1, RUBY_MODULE.splitlines()[0]),
        ("script.rb:3: syntax errors found (SyntaxError)\n", 1, "script.rb:3: syntax errors found (SyntaxError)"),
        (R_MODULE, 1, "Error in library(dplyr) : there is no package called ‘dplyr’"),
        (R_CALLS, 1, 'Error in load("orders") : the table of orders has no rows, which the report needs'),
        ("Error: object 'x' not found\nExecution halted\n", 1, "Error: object 'x' not found"),
        (PHP, 255, PHP.splitlines()[0]),
        (PHP_SYNTAX, 255, PHP_SYNTAX.strip()),
        (LOGGED, 1, ""),
        (LOGGED.partition("going")[0], 1, "ConnectionRefusedError: [Errno 111] Connection refused"),
        (PYTHON.replace("loading", "the error budget is ok") + "rows: 3\n", 1,
         "ModuleNotFoundError: No module named 'pandas'"),
        (PYTHON.replace("loading", "[error    ] cannot load") + "rows: 3\n", 1, ""),
        (PYTHON.replace("loading", '{"level": "error", "event": "cannot load"}') + "rows: 3\n", 1, ""),
        (PYTHON.replace("loading", "E0101 12:00:00.1 1 load.go:3] cannot load") + "rows: 3\n", 1, ""),
        (PYTHON.replace("loading", "[E 260101 12:00:00 load:3] cannot load") + "rows: 3\n", 1, ""),
        (HANDLED, 3, ""),
        (HANDLED, 1, "ModuleNotFoundError: No module named 'pandas'"),
        (PYTHON + "line\n" * 30, 1, ""),
        ("step 1\nstep 2\n", 3, ""),
        ("", 1, ""),
        ("  at \n", 1, ""),
    ],
)  # fmt: skip
def test_the_error_is_the_last_line_of_its_traceback(output: str, code: int, error: str) -> None:
    """In each language that scripts are written in; an error that was handled is none (R37)."""
    assert last_error(output.splitlines(), code) == error


def test_a_missing_module_names_the_argument_that_adds_it() -> None:
    """The first line has the interpreter's words and what to change (R22, R37)."""
    pods = [a_pod(f"load-{number}", exit_code=1) for number in range(4)]
    case = a_case(*pods, last_lines=PYTHON.splitlines(), limits=some_limits(backoff_limit=3), hide=str)
    assert diagnose(case).headline == (
        "Job etl/load failed: exit code 1 (4 attempts): ModuleNotFoundError: No module named 'pandas'. "
        "Add it to install_dependencies."
    )


RETRYING = "ERROR: could not connect to db: Connection refused, retry in 60 s"


@pytest.mark.parametrize(
    ("code", "line", "category"),
    [
        (137, RETRYING, Category.KILLED),
        (143, RETRYING, Category.SIGNALED),
        (139, RETRYING, Category.SIGNALED),
        (130, "KeyboardInterrupt", Category.SIGNALED),
        (137, "ERROR: No space left on device, cleaning up", Category.KILLED),
        (143, "ConnectionRefusedError: [Errno 111] Connection refused", Category.SIGNALED),
    ],
)
def test_no_line_of_a_script_that_was_killed_is_its_error(code: int, line: str, category: Category) -> None:
    """It was running when the signal came; the line is of what it did until then (R22)."""
    lines = [*PYTHON.splitlines()[1:-1], line]
    assert last_error(lines, code) == ""
    found = diagnose(a_case(a_pod(exit_code=code), last_lines=lines, hide=str))
    assert found.category is category
    assert line not in found.headline
    assert not [advice for advice in ("Check that the server", "mount a larger volume") if advice in found.headline]


def test_no_line_of_a_lost_container_is_its_error() -> None:
    """The node does not know how it ended (R22)."""
    pod = a_pod(exit_code=137, reason="ContainerStatusUnknown")
    found = diagnose(a_case(pod, last_lines=[RETRYING], hide=str))
    assert (found.category, found.advice) == (Category.CONTAINER_STATUS_UNKNOWN, "")
    assert "Check that" not in found.headline


@pytest.mark.parametrize("code", [129, 134, 141, 150])
def test_the_error_of_a_script_that_ends_by_itself_is_its_error(code: int) -> None:
    """``abort()`` is a signal of its own, git ends with 129, a script with any code (R37)."""
    line = "fatal: out of handles"
    assert last_error([line], code) == line
    assert line in diagnose(a_case(a_pod(exit_code=code), last_lines=[line], hide=str)).headline


def test_without_a_way_to_hide_secrets_no_line_is_shown() -> None:
    """Where the values of the run are unknown, its output stays out of the message (R26)."""
    case = a_case(a_pod(exit_code=1), last_lines=PYTHON.splitlines())
    assert diagnose(case).cause == "the script ended with exit code 1"


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        ("chown: changing ownership of '/x': Operation not permitted", "add it in pod_overrides."),
        ("sh: 1: cannot create /work/x: Permission denied", "set run_as_uid, or add the capability DAC_OVERRIDE"),
        ("PermissionError: [Errno 13] Permission denied: '/work/x'", "set run_as_uid, or add the capability"),
        ("Error: EACCES: permission denied, open '/work/x'", "set run_as_uid, or add the capability"),
        ("E: setgroups 65534 failed - setgroups (1: Operation not permitted)", "Use install_packages."),
        ("W: chown to _apt:root of directory x failed (1: Operation not permitted)", "Use install_packages."),
        ("ERROR: Unable to lock database: Permission denied", "Use install_packages."),
        ("Error: This command has to be run with superuser privileges", "Use install_packages."),
        ("OSError: [Errno 30] Read-only file system: '/x'", "Write to /tmp, or mount a volume."),
        ("cp: error writing '/x': No space left on device", "mount a larger volume."),
        ("git@example.com: Permission denied (publickey).", ""),
        ('ERROR:  permission denied for table "x"', ""),
    ],
)
def test_the_last_lines_have_advice(line: str, advice: str) -> None:
    """A right that is missing names what gives it (R18)."""
    found = advice_for(1, "", ["before", line, "after"])
    assert found.endswith(advice) if advice.endswith(".") else advice in found
    assert bool(found) == bool(advice)


@pytest.mark.parametrize(
    ("record", "is_cause"), [("loading", True), ("ERROR cannot load", False), ("first try failed:", False)]
)
def test_a_traceback_before_the_last_line_tells_the_cause(record: str, is_cause: bool) -> None:
    """A script may end with a code of its own after an error; one that a logger printed was handled (R22)."""
    refused = "ConnectionRefusedError: [Errno 111] Connection refused"
    lines = [record, *PYTHON.splitlines()[1:-1], refused, "load failed"]
    found = diagnose(a_case(a_pod(exit_code=2), last_lines=lines, hide=str))
    assert (found.category is Category.CONNECTION_REFUSED) == is_cause
    assert (refused in found.headline) == is_cause
    assert ("Check that the server" in found.headline) == is_cause


@pytest.mark.parametrize("unknown", ["ModuleNotFoundError: No module named 'x'", "MemoryError"])
def test_an_error_that_was_handled_has_no_advice(unknown: str) -> None:
    """A script may do without an optional module."""
    assert advice_for(1, "ValueError: x", [unknown, "went on"]) == ""


class TestTerminationMessage:
    """What the script wrote to ``/dev/termination-log``."""

    def test_it_stands_in_the_first_line(self) -> None:
        """The author's own words for the failure (R37)."""
        case = a_case(a_pod(exit_code=1, message="table is locked\n"), hide=str)
        assert diagnose(case).headline == "Job etl/load failed: exit code 1: table is locked."
        assert diagnose(case).termination_message == ()

    def test_several_lines_are_all_kept(self) -> None:
        """The first line has the first of them; the failure has all."""
        found = diagnose(a_case(a_pod(exit_code=1, message="locked\nby bob\n"), hide=str.upper))
        assert "exit code 1: LOCKED." in found.headline
        assert found.termination_message == ("LOCKED", "BY BOB")

    def test_the_end_of_the_log_is_not_repeated(self) -> None:
        """With ``FallbackToLogsOnError`` the message is what the script printed."""
        case = a_case(a_pod(exit_code=1, message="one\ntwo\n"), last_lines=["zero", "one", "two"], hide=str)
        assert (diagnose(case).cause, diagnose(case).termination_message) == ("the script ended with exit code 1", ())

    @pytest.mark.parametrize("end", [None, -30], ids=["of three containers", "of more containers"])
    @pytest.mark.parametrize("rows", [13, 1], ids=["many lines", "one line"])
    def test_the_end_of_the_log_may_begin_and_end_inside_a_line(self, rows: int, end: int | None) -> None:
        """It has 2,048 bytes, and the pod has 12 KiB for all its containers (R26, R37)."""
        tail = "".join(f"row {row:02} ".ljust(2000 // rows, "a") + "\n" for row in range(rows))
        log = f"token is s3cr3t-{'x9y8z7w6' * 8}\n{tail}"
        message = (log.encode()[-2048:].decode() if rows > 1 else log.splitlines()[1])[7:end]
        found = diagnose(a_case(a_pod(exit_code=1, message=message), last_lines=log.splitlines(), hide=str))
        assert (found.cause, found.termination_message) == ("the script ended with exit code 1", ())

    @pytest.mark.parametrize("size", [2048, 4096])
    def test_the_first_line_of_a_message_that_was_cut_is_not_shown(self, size: int) -> None:
        """It may be the rest of a secret, where the log was not read (R26)."""
        found = diagnose(a_case(a_pod(exit_code=1, message=("9y8z\n" + "a" * size)[:size]), hide=str))
        assert "9y8z" not in found.headline
        assert "exit code 1: aaaa" in found.headline

    def test_a_short_message_may_also_be_a_part_of_what_was_printed(self) -> None:
        """The author wrote it as the message (R37)."""
        case = a_case(a_pod(exit_code=1, message="locked\n"), last_lines=["the table is locked"], hide=str)
        assert diagnose(case).cause == "exit code 1: locked"

    def test_beside_a_traceback_both_are_there(self) -> None:
        """The interpreter's error is what people search for."""
        pod = a_pod(exit_code=1, message="table is locked")
        found = diagnose(a_case(pod, last_lines=PYTHON.splitlines(), hide=str))
        assert "ModuleNotFoundError" in found.headline
        assert found.termination_message == ("table is locked",)

    def test_only_an_installation_can_fail_to_install(self) -> None:
        """A script that installs nothing may write what the installation would write, and end as it ends."""
        written = "airflow-script: could not install packages: curl"
        pod = a_pod(exit_code=97, message=written)
        found = diagnose(a_case(pod, hide=str))
        assert (found.cause, found.category) == (f"exit code 97: {written}", Category.ERROR)
        pod["spec"]["containers"][0]["env"] = [{"name": "AIRFLOW_SCRIPT_PACKAGES", "value": "curl"}]
        found = diagnose(a_case(pod, hide=str))
        assert (found.cause, found.category) == ("could not install packages: curl", Category.INSTALL_FAILED)
