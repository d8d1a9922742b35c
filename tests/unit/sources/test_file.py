"""A file that the worker can read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from airflow_script_provider.exceptions import ScriptSourceError
from airflow_script_provider.kube.request.sizes import MAX_CONFIG_MAP
from airflow_script_provider.sources import FileScript


def a_file(folder: Path, name: str = "etl.py", data: bytes = b"print(1)\r\n") -> Path:
    """A file with these bytes."""
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return path


def test_a_path_starts_from_the_dags_folder(tmp_path: Path) -> None:
    """A relative path starts from the folder of the DAG's file."""
    path = a_file(tmp_path, "scripts/etl.py")
    script = FileScript("scripts/etl.py").fetch(folder=str(tmp_path))
    assert (script.text, script.name, script.origin) == ("print(1)\r\n", "etl.py", f"file://{path}")


def test_else_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is not there is looked for in the working directory."""
    a_file(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert FileScript("etl.py").fetch(folder=str(tmp_path / "dags")).name == "etl.py"


@pytest.mark.parametrize("prefix", ["", "file://", "FILE://"])
def test_an_absolute_path_is_itself(tmp_path: Path, prefix: str) -> None:
    """An absolute path needs no folder, with or without the scheme."""
    path = a_file(tmp_path)
    assert FileScript(f"{prefix}{path}").fetch(folder="/elsewhere").text == "print(1)\r\n"


def test_a_uri_may_be_quoted(tmp_path: Path) -> None:
    """``%20`` is a blank in a URI, and unchanged in a path."""
    path = a_file(tmp_path, "my etl.py")
    assert FileScript(f"file://{path}".replace(" ", "%20")).fetch().name == "my etl.py"


def test_a_missing_file_names_every_place(tmp_path: Path) -> None:
    """The error lists every path that was tried, and is retryable (R22)."""
    with pytest.raises(ScriptSourceError) as missing:
        FileScript("none.py").fetch(folder=str(tmp_path))
    assert f"script file 'none.py' does not exist; tried {tmp_path}/none.py, {Path.cwd()}/none.py" in str(missing.value)
    assert missing.value.retryable


def test_a_folder_is_no_script(tmp_path: Path) -> None:
    """A directory is not reported as missing."""
    with pytest.raises(ScriptSourceError, match=f"script file '{tmp_path}' cannot be read: it is a folder, not a file"):
        FileScript(f"{tmp_path}").fetch()


def test_a_folder_does_not_hide_the_next_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory beside the DAG does not hide a file in the working directory."""
    a_file(tmp_path)
    (tmp_path / "dags" / "etl.py").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert FileScript("etl.py").fetch(folder=str(tmp_path / "dags")).origin == f"file://{tmp_path}/etl.py"


def test_a_name_that_no_file_can_have_is_said(tmp_path: Path) -> None:
    """The first line stays short; the next has the paths."""
    with pytest.raises(ScriptSourceError) as refusal:
        FileScript("file://" + "x" * 300).fetch(folder=str(tmp_path))
    first, second = str(refusal.value).split("\n")
    assert first.startswith("script file 'file://xxx")
    assert first.endswith("…' cannot be read: File name too long")
    assert len(first) <= 200
    assert second.startswith(f"Tried {tmp_path}/xxx")


def test_a_folder_that_may_not_be_looked_into_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without access is not reported as missing."""

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", denied)  # root may read every folder
    with pytest.raises(ScriptSourceError, match=r"script file '/closed/etl.py' cannot be read: Permission denied"):
        FileScript("/closed/etl.py").fetch()


def test_a_pipe_is_no_script(tmp_path: Path) -> None:
    """A pipe is refused, because reading it would not end."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ScriptSourceError, match="cannot be read: it is not a regular file"):
        FileScript(str(tmp_path / "pipe")).fetch()


def test_a_large_file_is_refused_before_it_is_read_whole(tmp_path: Path) -> None:
    """The error has size, limit and advice, and is permanent (R25)."""
    path = a_file(tmp_path, data=b"#" * (MAX_CONFIG_MAP + 5))
    with pytest.raises(ScriptSourceError, match="1,048,581 bytes, more than the 1,048,576") as large:
        FileScript(str(path)).fetch()
    assert not large.value.retryable


def test_a_binary_file_is_read_as_it_is(tmp_path: Path) -> None:
    """A key or an archive need not be text (R24)."""
    path = a_file(tmp_path, data=b"PK\x03\x04\x00\xff")
    assert FileScript(str(path)).fetch().data == b"PK\x03\x04\x00\xff"


def test_it_is_shown_as_its_path() -> None:
    """The page Rendered Templates shows the path."""
    assert str(FileScript("scripts/etl.py")) == "file scripts/etl.py"
