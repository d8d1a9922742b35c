"""The documentation site: it builds without a warning, links lead somewhere, nothing is fetched from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.docs.markdown import ROOT, anchors, links, page

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "benchmarks/README.md"])
SOURCES_OF_BROWSERS = ("script", "img", "iframe", "source", "embed")


@dataclass
class Page(HTMLParser):
    """What a page links to, what it loads by itself, and the anchors that it has."""

    file: Path
    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Read the file."""
        super().__init__()
        self.feed(self.file.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take what counts of a tag."""
        given = {name: value for name, value in attrs if value}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag in SOURCES_OF_BROWSERS and "src" in given:
            self.loaded.append(given["src"])
        if tag == "link" and given.get("rel") in ("stylesheet", "icon", "preload", "preconnect"):
            self.loaded.append(given["href"])


@dataclass
class Sidebar(HTMLParser):
    """The captions of a page's sidebar, and the links below each."""

    file: Path
    groups: dict[str, list[str]] = field(default_factory=dict)
    _in_caption: bool = False

    def __post_init__(self) -> None:
        """Read the file."""
        super().__init__()
        self.feed(self.file.read_text().partition("sidebar-tree")[2].partition('class="main"')[0])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the start of a caption, and file a link under the last caption."""
        given = dict(attrs)
        self._in_caption = given.get("class") == "caption-text"
        if tag == "a" and self.groups:
            self.groups[[*self.groups][-1]].append(str(given["href"]))

    def handle_data(self, data: str) -> None:
        """Start a group."""
        if self._in_caption:
            self.groups[data] = []
            self._in_caption = False


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """The site, built as `make docs` does."""
    site = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", str(ROOT / "docs"), str(site)]
    return subprocess.run(command, capture_output=True, text=True, check=False), site


@pytest.fixture(scope="module")
def site(built: tuple[subprocess.CompletedProcess[str], Path]) -> dict[Path, Page]:
    """All pages of the site."""
    return {file: Page(file) for file in built[1].rglob("*.html")}


def test_it_builds_without_a_warning(built: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    """A warning of Sphinx is an error: a name that does not exist, a page in no table of contents."""
    assert built[0].returncode == 0, built[0].stderr


def test_every_link_leads_somewhere(site: dict[Path, Page]) -> None:
    """A link within the site leads to a file that is there, and to an anchor that it has."""
    dead = [
        f"{page.file.name}: {link}" for page in site.values() for link in page.links if not _leads(page, link, site)
    ]
    assert dead == []


def test_the_sidebar_groups_the_guides_like_their_index(built: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    """Each section of the how-to index is a group of the sidebar, with the same pages in the same order."""
    sections = re.split(r"^## (.+)$", page("docs/howto/index.md"), flags=re.MULTILINE)[1:]
    expected = {
        f"How-to: {name[0].lower()}{name[1:]}": [f"howto/{link}.html" for link in re.findall(r"\]\((\S+)\.md\)", text)]
        for name, text in zip(sections[::2], sections[1::2], strict=True)
    }
    groups = Sidebar(built[1] / "index.html").groups
    assert {caption: links for caption, links in groups.items() if caption.startswith("How-to")} == expected


def test_nothing_is_fetched_from_elsewhere(site: dict[Path, Page]) -> None:
    """Whoever reads the site within a closed network sees all of it, and nobody learns who reads."""
    foreign = [address for page in site.values() for address in page.loaded if urlsplit(address).netloc]
    assert foreign == []


def test_every_picture_is_there(site: dict[Path, Page]) -> None:
    """What a page shows lies beside it."""
    missing = [
        address
        for page in site.values()
        for address in page.loaded
        if not (page.file.parent / unquote(urlsplit(address).path)).is_file()
    ]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_work_where_markdown_is_read(page: Path) -> None:
    """The same pages are read as files: each relative link leads to a file, and to a heading of it."""
    assert [link for link in links(page) if not _leads_from(page, link)] == []


@pytest.mark.parametrize(
    ("link", "leads"),
    [
        ("other.md", True),
        ("other.md#what-is-it", True),
        ("#one--two-1", True),
        ("other.md#what", False),
        ("none.md", False),
        ("#three", False),
        ("https://example.com/none", True),
    ],
)
def test_a_dead_link_is_found(link: str, leads: bool, tmp_path: Path) -> None:
    """A file that is not there, and a heading that is not there; what is elsewhere is not asked."""
    (tmp_path / "other.md").write_text("# What is `it`?\n\n```sh\n# no heading\n[no](link.md)\n```\n")
    page = tmp_path / "page.md"
    page.write_text(f"## One & two\n## One & two\nSee [this]({link}), not `[that](code.md)`.\n")
    assert links(page) == [link]
    assert _leads_from(page, link) == leads


def _leads(page: Page, link: str, site: dict[Path, Page]) -> bool:
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return True
    target = (page.file.parent / unquote(parts.path)).resolve() if parts.path else page.file
    if not target.is_file():
        return False
    return not parts.fragment or target not in site or unquote(parts.fragment) in site[target].anchors


def _leads_from(page: Path, link: str) -> bool:
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return True
    target = page.parent / unquote(parts.path) if parts.path else page
    if not target.exists():
        return False
    return not parts.fragment or target.suffix != ".md" or parts.fragment in anchors(target)
