"""When a server wants to be asked again."""

from __future__ import annotations

import pytest

from airflow_script_provider.kube.durations import retry_after

NOW = "Sun, 29 Nov 2026 06:00:00 GMT"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("Sun, 29 Nov 2026 06:00:09 GMT", 9.0),
        ("Sun, 29 Nov 2026 05:00:00 GMT", 0.0),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("²", None),
        ("Sun, 29 Nov 2026 06:00:09 +9999999999999999", None),
    ],
)
def test_a_number_or_a_date(value: str, seconds: float | None) -> None:
    """A date counts by the server's own clock (R14)."""
    assert retry_after(value, NOW) == seconds


def test_without_the_servers_clock_our_own_counts() -> None:
    """A server may leave out its date."""
    assert retry_after("Sun, 29 Nov 1970 06:00:00 GMT") == 0
