"""The settings that images copy from this machine."""

from __future__ import annotations

from images import pip_index_settings


def test_only_settings_of_the_package_index_are_copied() -> None:
    """Local folders and preferences are left out."""
    listed = "global.index-url='https://pypi.example/simple'\nglobal.cache-dir='/home/me'\nglobal.timeout='60'\n"
    assert pip_index_settings(listed) == {"index-url": "https://pypi.example/simple", "timeout": "60"}


def test_environment_variables_win() -> None:
    """pip has the same rule; the order of the list does not matter."""
    listed = ":env:.index-url='https://env.example'\nglobal.index-url='https://file.example'\n"
    assert pip_index_settings(listed) == {"index-url": "https://env.example"}


def test_several_values_are_lines() -> None:
    """pip prints a list as one line; pip.conf needs one line per value."""
    assert pip_index_settings("global.trusted-host='a\\nb'\n") == {"trusted-host": "a\nb"}
