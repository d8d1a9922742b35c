"""The how-to pages show code that runs, and only such."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from airflow.providers.cncf.kubernetes.operators.job import KubernetesJobOperator
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator

from tests.docs.howto import EXAMPLES, FOLDER, PAGES, Page, is_in

SHOWN = [
    *EXAMPLES.glob("example_*.py"),
    *EXAMPLES.glob("scripts/*.py"),
    *EXAMPLES.glob("manifests/*.yaml"),
    EXAMPLES / "exec_app" / "exec_app.py",
    EXAMPLES / "task_file" / "airflow-script.yaml",
]
NOT_SHOWN = {"daily_totals.py"}
"""Scripts that a page needs not: the playbook that runs them is shown."""

ABOUT_PYTHON = [page for page in PAGES if page.path.name not in ("index.md", "reading-the-ui.md")]


def name_of(path: Path | Page) -> str:
    """What a parametrised test is called after."""
    return path.path.stem if isinstance(path, Page) else path.stem


@pytest.mark.parametrize("path", [path for path in SHOWN if path.name not in NOT_SHOWN], ids=name_of)
def test_every_example_is_shown(path: Path) -> None:
    """An example that no page includes would be found by nobody."""
    assert any(path in page.included for page in PAGES)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_python_is_pasted(page: Page) -> None:
    """Python stands in example files, which run in the tests."""
    assert not re.search(r"^(```|~~~) ?\{?(code-block\}? )?(python|py)\b", page.text, re.MULTILINE)
    assert not re.search(r"^\s*(from \S+ import |with DAG\(|@task\b|def \w+\()", page.text, re.MULTILINE)


@pytest.mark.parametrize("page", ABOUT_PYTHON, ids=name_of)
def test_a_page_includes_what_exists(page: Page) -> None:
    """A page is about something that can be run."""
    assert page.included
    assert [path for path in page.included if not path.is_file()] == []


@pytest.mark.parametrize("page", [page for page in PAGES if page.path.name != "index.md"], ids=name_of)
def test_every_page_is_in_the_index(page: Page) -> None:
    """The index leads to each page."""
    assert f"({page.path.name})" in (FOLDER / "index.md").read_text()


@pytest.mark.parametrize("page", ABOUT_PYTHON, ids=name_of)
def test_a_page_shows_a_log_and_leads_on(page: Page) -> None:
    """Of what it includes, a page says what its log says (an example's test compares), and what to read next."""
    examples = [path for path in page.included if path.suffix == ".py" and path.parent.name != "scripts"]
    without = [path.name for path in examples if not page.quoted_log(path)]
    assert set(without) <= {"example_gpu.py"}
    assert "\n## See also\n" in page.text


OF_POD = set(inspect.signature(KubernetesPodOperator.__init__).parameters) - {"self", "kwargs"}
OF_JOB = set(inspect.signature(KubernetesJobOperator.__init__).parameters) - {"self", "kwargs"} - OF_POD


@pytest.mark.parametrize(("page", "arguments"), [("pod", OF_POD), ("job", OF_JOB)])
def test_every_argument_has_its_place(page: str, arguments: set[str]) -> None:
    """Who comes from another operator finds each of its arguments."""
    text = (FOLDER / f"from-kubernetes-{page}-operator.md").read_text()
    assert [name for name in sorted(arguments) if f"`{name}`" not in text] == []


def test_a_quoted_line_is_found_whatever_varies() -> None:
    """Names, digests and numbers of a run may differ, words may not."""
    log = "[info] Job default/script-count-70e145f0e1 completed in 1.9 s, exit code 0, 105 bytes of output"
    assert is_in("Job default/script-count-0123456789 completed in 2 s, …, 7 bytes of output", log)
    assert not is_in("Job default/script-count-0123456789 failed in 2 s", log)
    assert is_in("jobs -l airflow-script-provider/nodes=0123456789", "jobs -l airflow-script-provider/nodes=c9a3bb0832")
