"""What the images take over from this machine."""

from __future__ import annotations

from images import pip_index_settings


def test_only_the_way_to_the_index_is_taken_over() -> None:
    """Local folders and matters of taste stay here."""
    listed = "global.index-url='https://pypi.example/simple'\nglobal.cache-dir='/home/me'\nglobal.timeout='60'\n"
    assert pip_index_settings(listed) == {"index-url": "https://pypi.example/simple", "timeout": "60"}


def test_the_environment_has_the_last_word() -> None:
    """As for pip itself, whatever the order of the list."""
    listed = ":env:.index-url='https://env.example'\nglobal.index-url='https://file.example'\n"
    assert pip_index_settings(listed) == {"index-url": "https://env.example"}


def test_several_values_are_lines() -> None:
    """pip prints a list in one line."""
    assert pip_index_settings("global.trusted-host='a\\nb'\n") == {"trusted-host": "a\nb"}
