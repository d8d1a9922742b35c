"""The choice of an installer, and the causes in its output."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from airflow_script_provider.kube.request.provision import cause_in_our_words

PIP_MISSING = "ERROR: No matching distribution found for pandaz"
DENIED = "could not install: the index denies access (see the error above); check its credentials"
SEE_ABOVE = "could not install: the server refuses it (see the error above)"


@pytest.fixture
def installer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The program, imported as in its container."""
    monkeypatch.setenv("AIRFLOW_SCRIPT_TARGET", "/airflow-packages")
    from airflow_script_provider.in_container import install_dependencies

    return install_dependencies


@pytest.fixture
def image(installer: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of an image's programs with uv; its home has no settings."""
    (tmp_path / "uv").write_text("#!/bin/sh\n")
    (tmp_path / "uv").chmod(0o755)
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    # This machine may also have settings of pip.
    monkeypatch.setattr(installer, "_PIP_CONF", [path for path in installer._PIP_CONF if path.startswith("~")])
    return tmp_path


def program_of(command: list[str]) -> str:
    """The program that runs: pip or uv."""
    return "uv" if command[0] == "uv" else command[2]


@pytest.mark.parametrize(
    ("lines", "cause", "is_permanent"),
    [
        ([PIP_MISSING], 'could not install "pandaz": no matching distribution', True),
        (
            ["Collecting psycopg-connection-pool", PIP_MISSING],
            'could not install "pandaz": no matching distribution',
            True,
        ),
        (["Retrying (Retry(total=4", PIP_MISSING], 'could not install "pandaz": no matching distribution', False),
        (["ERROR: HTTP error 404 while getting x"], SEE_ABOVE, True),
        (["ERROR: HTTP error 503 while getting x"], "could not install: ERROR: HTTP error 503 while getting x", False),
        (["ERROR: ResolutionImpossible: for help"], "could not install: the requirements conflict", True),
        (["ERROR: Failed building wheel for x"], "could not install: a package cannot be built", True),
        ([PIP_MISSING, "Could not fetch URL http://h/: 401 Client Error: Unauthorized for url"], DENIED, True),
        (
            [PIP_MISSING, "Could not fetch URL http://h/: HTTPConnectionPool: Max retries exceeded with url"],
            'could not install "pandaz": no matching distribution',
            False,
        ),
        (
            [PIP_MISSING, "Could not fetch URL http://h/: 502 Server Error: Bad Gateway for url: http://h/"],
            'could not install "pandaz": no matching distribution',
            False,
        ),
    ],
)
def test_pips_causes_and_whether_they_pass(installer: Any, lines: list[str], cause: str, is_permanent: bool) -> None:
    """A cause that another attempt would meet again is permanent; a connection's is not."""
    assert installer.explain(lines) == (cause, is_permanent)


@pytest.mark.parametrize(
    ("said", "cause", "is_permanent"),
    [
        (
            "Because pandaz was not found in the package registry and you require pandaz, we can conclude that your "
            "requirements are unsatisfiable.",
            'could not install "pandaz": no matching distribution',
            True,
        ),
        (
            "╰─▶ Because pandaz was not found in the package\n      registry and you require pandaz",
            'could not install "pandaz": no matching distribution',
            True,
        ),
        (
            "Because there is no version of six==99.1 and you require six==99.1, we can conclude",
            'could not install "six==99.1": no matching distribution',
            True,
        ),
        (
            "Because you require six==1 and six==2, we can conclude that your requirements are unsatisfiable.",
            "could not install: the requirements conflict",
            True,
        ),
        (
            "error: Couldn't parse requirement in `r.txt` at position 0",
            "could not install: not a requirement (see the error above)",
            True,
        ),
        (
            "  cause: failed to read from file `/scripts/no.txt`: No such file or directory (os error 2)",
            'could not install "/scripts/no.txt": no such file; pass it in files',
            True,
        ),
        ("  cause: Hash mismatch for `six==1.16.0`", "could not install: a hash does not match", True),
        (
            "error: In `--require-hashes` mode, all requirements must have a hash, but none were provided for: six",
            "could not install: a requirement has no hash",
            True,
        ),
        (
            "Because six was not found in the package registry\nhint: An index URL (http://h) could not be queried "
            "due to a lack of valid authentication credentials (401 Unauthorized)",
            DENIED,
            True,
        ),
        ("hint: An index (http://h) returned a 403 Forbidden error. Check that", DENIED, True),
        ("  cause: HTTP status client error (403 Forbidden) for url (http://h/x.whl)", SEE_ABOVE, True),
        ("  cause: HTTP status client error (429 Too Many Requests) for url (http://h/x.whl)", SEE_ABOVE, False),
        (
            "error: Request failed after 3 retries in 9s\n  cause: HTTP status server error (503 Service Unavailable)",
            "could not install: error: Request failed after 3 retries in 9s",
            False,
        ),
        (
            "error: Request failed after 3 retries in 7s\n  cause: error sending request for url (http://h/simple/six/)",
            "could not install: error: Request failed after 3 retries in 7s",
            False,
        ),
    ],
)
def test_uvs_causes_and_whether_they_pass(installer: Any, said: str, cause: str, is_permanent: bool) -> None:
    """The messages of uv 0.13, and those of older versions with wrapped lines."""
    assert installer.explain(said.splitlines()) == (cause, is_permanent)


@pytest.mark.parametrize("url", ["https://user:hunter2@host/simple", "https://user:hun@ter2@host/simple"])
def test_logins_of_urls_are_not_repeated(installer: Any, url: str) -> None:
    """URLs in the output of pip and uv lose their login, and nothing else (R26)."""
    assert installer.without_login(f"Looking in indexes: {url}") == "Looking in indexes: https://***@host/simple"
    assert installer.without_login("https://host/@scope/x") == "https://host/@scope/x"


def test_uv_installs_where_the_image_has_it(installer: Any, image: Path) -> None:
    """uv installs for the Python that runs the script."""
    expected = ["uv", "pip", "install", "--no-cache", "--python", sys.executable, "--target", "/airflow-packages"]
    assert installer.command("/tmp/r.txt", "/tmp/log") == [*expected, "-r", "/tmp/r.txt"]


def test_pip_installs_where_there_is_no_uv(installer: Any, image: Path) -> None:
    """Without uv, pip installs for the same Python."""
    (image / "uv").unlink()
    command = installer.command("/tmp/r.txt", "/tmp/log")
    assert command[:4] == [sys.executable, "-m", "pip", "install"]
    assert command[-5:] == ["--prefix=", "--target", "/airflow-packages", "-r", "/tmp/r.txt"]


@pytest.mark.parametrize(
    ("settings", "program"),
    [
        ({"PIP_INDEX_URL": "https://pypi.example/simple"}, "pip"),
        ({"PIP_FIND_LINKS": "/wheels"}, "pip"),
        ({"PIP_NO_CACHE_DIR": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}, "uv"),
        ({"PIP_INDEX_URL": "https://pypi.example/simple", "UV_DEFAULT_INDEX": "https://uv.example/simple"}, "uv"),
    ],
)
def test_whoever_is_told_where_to_look_installs(
    installer: Any, image: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], program: str
) -> None:
    """The installer that has an index set installs, because uv ignores pip's settings."""
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert program_of(installer.command("r.txt", "log")) == program


@pytest.mark.parametrize("place", ["pip.conf", ".config/pip/pip.conf", ".pip/pip.conf"])
def test_a_file_of_pips_settings_counts_too(installer: Any, image: Path, place: str) -> None:
    """A settings file of the user or of the Python also counts."""
    (image / place).parent.mkdir(parents=True, exist_ok=True)
    (image / place).write_text("[global]\nindex-url = https://pypi.example/simple\n")
    assert program_of(installer.command("r.txt", "log")) == "pip"


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ({"PIP_USER": "true"}, {"PIP_USER": "0"}),
        ({"PIP_NO_USER": "0"}, {"PIP_NO_USER": None, "PIP_USER": "0"}),
        ({"PIP_REQUIRE_VIRTUALENV": "1"}, {"PIP_REQUIRE_VIRTUALENV": "0"}),
        ({"PIP_REQUIRE_VENV": "1"}, {"PIP_REQUIRE_VENV": None}),
        ({"PIP_DRY_RUN": "1"}, {"PIP_DRY_RUN": "0"}),
        ({"PIP_ROOT": "/y"}, {"PIP_ROOT": "/"}),
        ({"PIP_PREFIX": "/x", "PIP_TARGET": "/x"}, {"PIP_PREFIX": None, "PIP_TARGET": None}),
        ({"PIP_PYTHON": "/usr/bin/python2"}, {"PIP_PYTHON": None}),
        ({"UV_LINK_MODE": "symlink"}, {"UV_LINK_MODE": "copy"}),
        ({"PIP_CONSTRAINT": "c.txt", "UV_INDEX_URL": "u"}, {"PIP_CONSTRAINT": "c.txt", "UV_INDEX_URL": "u"}),
    ],
)
def test_settings_that_contradict_the_folder_do_not_count(
    installer: Any, image: Path, given: dict[str, str], left: dict[str, str | None]
) -> None:
    """What would install elsewhere or nothing is dropped or overruled; all other settings reach the installer."""
    settings = installer.settings(given)
    assert {name: settings.get(name) for name in left} == left


@pytest.mark.parametrize("name", ["USER", "REQUIRE_VIRTUALENV", "PREFIX", "ROOT", "TARGET", "DRY_RUN", "PYTHON"])
def test_a_setting_of_the_place_does_not_choose_pip(
    installer: Any, image: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """It says nothing of an index, so uv still installs."""
    monkeypatch.setenv(f"PIP_{name}", "1")
    assert program_of(installer.command("r.txt", "log")) == "uv"


@pytest.mark.parametrize(
    "printed",
    [
        "ERROR: Can not combine '--user' and '--target'",
        "ERROR: Cannot set --home and --prefix together",
        "ERROR: Could not find an activated virtualenv (required).",
    ],
)
def test_a_setting_that_cannot_be_overruled_is_named_once(installer: Any, printed: str) -> None:
    """Another attempt would meet it again."""
    cause, is_permanent = installer.explain([printed])
    assert (cause.startswith("could not install: a setting of pip does not allow --target"), is_permanent) == (
        True,
        True,
    )


def test_an_image_without_any_installer(installer: Any, image: Path) -> None:
    """An image without an installer is a permanent failure."""
    (image / "uv").unlink()
    lines = ["/usr/bin/python3: No module named pip"]
    assert installer.explain(lines) == ("could not install: the image has neither pip nor uv", True)


def test_settings_of_pip_for_an_image_with_uv_alone(
    installer: Any, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The public index does not replace the one that is set."""
    monkeypatch.setenv("PIP_INDEX_URL", "https://user:hunter2@pypi.example/simple")
    cause = "could not install: the image has uv but no pip, and uv ignores PIP_INDEX_URL; set UV_DEFAULT_INDEX"
    assert installer.explain(["/usr/bin/python3: No module named pip"]) == (cause, True)


def test_what_an_index_answered_is_in_pips_log(
    installer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An index's errors are shown without logins; its "not found" is not an error."""
    denied = "Could not fetch URL http://u:hunter2@h/six/: 401 Client Error: Unauthorized for url: http://h/six/"
    (tmp_path / "log").write_text(f"Looking\n{denied}\nCould not fetch URL http://h/six/: 404 Client Error\n")
    shown = denied.replace("u:hunter2", "***")
    assert installer.refusals_in(str(tmp_path / "log")) == [shown]
    assert capsys.readouterr().out == f"{shown}\n"


def test_without_pips_log_nothing_was_refused(
    installer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """uv writes no log, so there are no errors of an index."""
    assert installer.refusals_in(str(tmp_path / "none")) == []
    assert capsys.readouterr().out == ""


def test_every_cause_is_in_our_words(installer: Any) -> None:
    """Where values are unknown, as on nodes, these are shown; a line of pip is not (R22, R26)."""
    for _, why in installer._CAUSES:
        assert cause_in_our_words(f'could not install "pandas": {why}') == f'could not install "pandas": {why}'
    assert cause_in_our_words("could not install: ERROR: 404 for https://host/t0ken/simple") == "could not install"
