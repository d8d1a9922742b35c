"""What the installer makes of pip's and uv's words."""

from __future__ import annotations

import pytest

PIP_MISSING = "ERROR: No matching distribution found for pandaz"


@pytest.fixture
def installer(monkeypatch: pytest.MonkeyPatch) -> object:
    """The program, as it is imported where it runs."""
    monkeypatch.setenv("AIRFLOW_SCRIPT_TARGET", "/airflow-packages")
    from airflow_script_provider.in_container import install_dependencies

    return install_dependencies


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
        (
            ["ERROR: HTTP error 404 while getting x"],
            "could not install: the server refuses it (see the error above)",
            True,
        ),
        (["ERROR: HTTP error 503 while getting x"], "could not install: ERROR: HTTP error 503 while getting x", False),
        (["ERROR: ResolutionImpossible: for help"], "could not install: the requirements conflict", True),
        (["ERROR: Failed building wheel for x"], "could not install: a package cannot be built", True),
        (["/usr/bin/python3: No module named pip"], "could not install: the image has neither pip nor uv", True),
    ],
)
def test_causes_and_whether_they_pass(installer: object, lines: list[str], cause: str, is_permanent: bool) -> None:
    """A cause that another attempt would meet again is permanent, a connection's is not."""
    assert installer.explain(lines) == (cause, is_permanent)  # type: ignore[attr-defined]  # a module


def test_logins_of_urls_are_not_repeated(installer: object) -> None:
    """What pip or uv print of a URL loses its login."""
    line = "Looking in indexes: https://user:hunter2@host/simple"
    assert installer.without_login(line) == "Looking in indexes: https://***@host/simple"  # type: ignore[attr-defined]  # a module
