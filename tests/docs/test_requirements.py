"""The page about requirements and the docstrings of the tests, held against each other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dev.traceability import NOT_TESTED, PAGE, Requirement, misspelt, proofs, requirements, written
from tests.docs.markdown import ROOT, page

TEXT = page("docs/explanation/requirements.md")
REQUIREMENTS = requirements(TEXT)
PROVEN = proofs(ROOT / "tests")
ISSUES = re.findall(r"^\[(\w[\w-]*#\d+)\]: (\S+)$", TEXT, re.MULTILINE)


def named(requirement: Requirement) -> str:
    """The name of a requirement in a report of pytest."""
    return f"R{requirement.number}"


def test_every_number_of_a_docstring_is_on_the_page() -> None:
    """A docstring names no requirement that does not exist, and spells its number as the page does."""
    assert misspelt(ROOT / "tests") == []
    assert sorted(PROVEN.keys() - {requirement.number for requirement in REQUIREMENTS}) == []


def test_the_lists_are_those_of_the_docstrings() -> None:
    """The page lists each test that names a requirement, and no other."""
    assert written(TEXT, PROVEN) == TEXT, f"{PAGE.name} lists other tests than the docstrings do: run `make format`"


def test_the_numbers_have_no_gap() -> None:
    """The sections follow each other from the first number to the last."""
    assert [requirement.number for requirement in REQUIREMENTS] == list(range(1, len(REQUIREMENTS) + 1))
    assert len(REQUIREMENTS) == TEXT.count("\n### ")


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=named)
def test_a_section_is_complete(requirement: Requirement) -> None:
    """A section says what users suffer and what is promised, and has the list of its own tests."""
    parts = ["**What users suffer.** ", "**What is promised.** ", f"<!-- tests of R{requirement.number}, "]
    places = [requirement.text.find(part) for part in parts]
    assert -1 not in places
    assert places == sorted(places)


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=named)
def test_a_requirement_without_a_test_admits_it(requirement: Requirement) -> None:
    """A section either lists tests or says that there is none; without a test the promise counts as open."""
    assert (NOT_TESTED in requirement.text) == (requirement.number not in PROVEN)
    assert requirement.number in PROVEN or requirement.is_open


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=named)
def test_open_defects_are_listed(requirement: Requirement) -> None:
    """A section that calls its promise open lists at least one defect."""
    assert not requirement.is_open or "**Open.**\n\n- " in requirement.text


def test_the_reports_lead_to_their_issues() -> None:
    """A report's address ends in its repository and its number, and each report on the page has one."""
    assert set(re.findall(r"\[(\w[\w-]*#\d+)\](?!:)", TEXT)) == {name for name, _ in ISSUES}
    assert [name for name, address in ISSUES if not _leads_to(address, *name.split("#"))] == []


SECTION = """
<!-- index, written -->
<!-- end of the index -->

### R1

**One Job.**

**Open.**

<!-- tests of R1, written -->
<!-- end of the tests -->

### R2

**No noise.**

<!-- tests of R2, written -->
<!-- end of the tests -->
"""
CONFTEST = '''
def way():
    """Two ways (R3)."""

def cluster(way):
    """A cluster."""
'''
MODULE = '''
"""All of it (R1)."""

def cluster(cluster):
    """The same cluster (R5)."""

def test_one(cluster):
    """One (R1, R2)."""

async def test_two():
    """Two."""

def helper():
    """Not a test (R9)."""
'''


@pytest.fixture
def tests(tmp_path: Path) -> Path:
    """A folder with two tests, and fixtures in the module and above it."""
    folder = tmp_path / "tests"
    (folder / "unit").mkdir(parents=True)
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "unit" / "test_it.py").write_text(MODULE)
    return folder


def test_numbers_come_from_test_module_and_fixtures(tests: Path) -> None:
    """A fixture's number counts for the tests that take it, directly or by another fixture."""
    file = "tests/unit/test_it.py"
    assert proofs(tests) == {
        1: {file: ["test_one", "test_two"]},
        2: {file: ["test_one"]},
        3: {file: ["test_one"]},
        5: {file: ["test_one"]},
    }


@pytest.mark.parametrize("number", ["R1a", "R1 and R2", "(R1,R2)", "(r1, R2)"])
def test_a_misspelt_number_is_found(tests: Path, number: str) -> None:
    """Any other form would be lost without a word."""
    assert misspelt(tests) == []
    (tests / "test_more.py").write_text(f'def test_three():\n    """Three {number}."""\n')
    assert misspelt(tests)


def test_lists_and_index_are_written(tests: Path) -> None:
    """The index counts tests, a list names them by file, and a second run changes nothing."""
    text = written(SECTION, {1: proofs(tests)[1]})
    assert "| [R1](#r1) | One Job. | 2 | open |\n| [R2](#r2) | No noise. | not tested yet |  |\n" in text
    assert "<summary>2 tests in 1 file</summary>" in text
    assert "- [`tests/unit/test_it.py`](../../tests/unit/test_it.py): 2\n  - `test_one`\n  - `test_two`\n" in text
    assert f"<!-- tests of R2, written -->\n{NOT_TESTED}\n<!-- end of the tests -->" in text
    assert written(text, {1: proofs(tests)[1]}) == text


def test_a_test_that_is_gone_leaves_the_list(tests: Path) -> None:
    """A list does not outlive its tests."""
    text = written(SECTION, proofs(tests))
    assert written(text, {}) == written(SECTION, {})


def _leads_to(address: str, repository: str, number: str) -> bool:
    return re.fullmatch(rf"https://github\.com/[\w-]+/{repository}/(issues|pull)/{number}", address) is not None
