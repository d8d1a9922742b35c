"""What is told of where a script and its files came from."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

from airflow_script_provider.kube.request import provenance
from airflow_script_provider.script import Script
from tests.builders import a_script

HELPERS = Script("x = 1\n", origin="s3://etl/helpers.py", name="helpers.py", details='ETag "e1"')
HELPERS_SHA256 = hashlib.sha256(b"x = 1\n").hexdigest()


def annotated(files: dict[str, Script]) -> dict[str, object]:
    """What the annotation says."""
    (text,) = provenance.annotation(files).values()
    found: dict[str, object] = json.loads(text)
    return found


def test_a_script_alone_is_one_line() -> None:
    """Origin, size, digest, and what the source says besides."""
    assert provenance.lines(HELPERS, {}) == [
        f'Script: s3://etl/helpers.py, 6 bytes, sha256 {HELPERS_SHA256}, ETag "e1"'
    ]


def test_files_are_a_folded_group() -> None:
    """Each with the same facts as the script."""
    script, table = a_script("import helpers\n"), a_script("1,2\n")
    assert provenance.lines(script, {"helpers.py": HELPERS, "a.csv": table}) == [
        f"Script: inline, 15 bytes, sha256 {script.sha256}",
        "::group::Files: 2, 10 bytes",
        f'helpers.py: s3://etl/helpers.py, 6 bytes, sha256 {HELPERS_SHA256}, ETag "e1"',
        f"a.csv: inline, 4 bytes, sha256 {table.sha256}",
        "::endgroup::",
    ]


def test_the_result_has_each_file_by_its_path() -> None:
    """Digest, origin and size, as of the script."""
    assert provenance.of_files({"lib/helpers.py": HELPERS}) == {
        "lib/helpers.py": {"sha256": HELPERS_SHA256, "origin": "s3://etl/helpers.py", "bytes": 6}
    }


def test_without_files_there_is_no_annotation() -> None:
    """Nothing to tell is not told."""
    assert provenance.annotation({}) == {}


def test_the_annotation_has_each_file() -> None:
    """The same as the result, as JSON."""
    files = {"lib/ü.py": HELPERS, "empty": a_script("")}
    assert annotated(files) == provenance.of_files(files)


def test_many_files_have_one_digest(tmp_path: Path) -> None:
    """Count, size, and the digest that ``sha256sum * | sha256sum`` gives; the annotation stays small."""
    files = {f"part-{number:04}.csv": a_script(f"{number}\n") for number in range(999, -1, -1)}
    for path, file in files.items():
        (tmp_path / path).write_bytes(file.data)
    sums = subprocess.run("sha256sum * | sha256sum", shell=True, cwd=tmp_path, capture_output=True, check=True)
    (text,) = provenance.annotation(files).values()
    assert len(text) < 200
    assert annotated(files) == {"count": 1000, "bytes": 3890, "sha256": sums.stdout.decode().split()[0]}


def test_the_annotation_is_bounded_in_bytes() -> None:
    """Whatever the paths are: one of four bytes a letter is counted as such."""
    files = {"😀" * 60 + f"/{number}": a_script("x") for number in range(60)}
    assert len(json.dumps(provenance.of_files(files), ensure_ascii=False)) < provenance.MAX_FILES_ANNOTATION
    assert annotated(files)["count"] == 60
