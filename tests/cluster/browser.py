"""Airflow's web interface in a browser: the pages of a task instance, as a person sees them."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from playwright.sync_api import Error, expect, sync_playwright
from playwright.sync_api import TimeoutError as NotDrawn

from tests.cluster.airflow_tasks import RunningTask
from tests.patience import PATIENCE, wait_for

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page, Request

WIDTH = 1280
"""Pixels of all screenshots."""
TALL = 2400
"""Pixels that hold every line of the tests' logs: the page keeps only those near the visible ones."""
_MILLISECONDS = 1000 * PATIENCE
"""For whatever is waited for: a page on a busy machine draws when it can."""
_NETWORK_CHANGED = "ERR_NETWORK_CHANGED"
"""With this Chromium ends all requests when an interface of the machine comes or goes, such as that of a pod."""
DRAWN = 60_000
"""Milliseconds after which a page that shows nothing is opened again."""

_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_ENTRY = re.compile(r"(?:(?P<number>\d+)\s+)?(?:\[(?P<time>[^]]*)\] )?(?:(?P<level>[A-Z]+) - )?(?P<text>.*)", re.DOTALL)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, without a window."""
    program = shutil.which("chromium")
    if program is None:
        raise AssertionError("no chromium on the PATH; run dev/chromium")
    expect.set_options(timeout=_MILLISECONDS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_FLAGS, timeout=_MILLISECONDS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def page_of(browser: Browser) -> Iterator[Page]:
    """A page that is light and reads English, in UTC."""
    page = browser.new_page(
        viewport={"width": WIDTH, "height": TALL}, color_scheme="light", locale="en-GB", timezone_id="UTC"
    )
    page.set_default_timeout(_MILLISECONDS)
    try:
        yield page
    finally:
        page.close()


def is_loaded(page: Page, url: str) -> bool:
    """Load a page; whether it is whole: Chromium may have ended a request, of the page or of a part of it."""
    ended: list[str] = []

    def note(request: Request) -> None:
        if _NETWORK_CHANGED in (request.failure or ""):
            ended.append(request.url)

    page.on("requestfailed", note)
    try:
        page.goto(url)
    except Error as error:
        if _NETWORK_CHANGED not in error.message:
            raise
        return False
    finally:
        page.remove_listener("requestfailed", note)
    return not ended


@dataclass(frozen=True)
class Entry:
    """A line of the page Logs: its level and text, or the title of a group."""

    text: str
    level: str = ""
    is_group: bool = False


@dataclass(frozen=True)
class TaskPages:
    """The pages of one task instance, in one tab of the browser."""

    page: Page
    task: RunningTask

    def logs(self, last: str, *, try_number: int = 1) -> None:
        """Open the page Logs and wait for a text that stands in one of its last lines."""
        self._open(f"?try_number={try_number}")
        self.page.get_by_test_id("virtualized-list").get_by_text(last).last.wait_for()

    def rendered_templates(self) -> dict[str, Locator]:
        """Open the page Rendered Templates; its fields by name, whose ``text_content()`` is the code as it stands."""
        self._open("/rendered_templates")
        self.page.locator("tbody tr pre").first.wait_for()
        rows = self.page.locator("tbody tr").all()
        return {row.locator("td").first.inner_text().strip(): row.locator("pre code").last for row in rows}

    def xcoms(self) -> list[str]:
        """Open the page XCom; the keys that it lists."""
        self._open("/xcom")
        self.page.get_by_role("cell", name="return_value").first.wait_for()
        self.page.get_by_test_id("expand-all-button").click()
        return [row.locator("td").first.inner_text().strip() for row in self.page.locator("tbody tr").all()]

    def xcom_line(self, text: str) -> None:
        """Wait until the page XCom shows a line; at times its editors draw nothing until the page is opened again."""

        def is_shown() -> bool:
            self.xcoms()
            with contextlib.suppress(NotDrawn):
                self.page.locator(".view-line", has_text=text).last.wait_for(timeout=DRAWN)
                return True
            return False

        wait_for(is_shown, f"a line with {text!r}")

    def details(self) -> None:
        """Open the page Details and wait until it says what became of the task."""
        self._open("/details")
        self.page.get_by_role("row", name=f"Task ID {self.task.task_id}").first.wait_for()

    def entries(self) -> list[Entry]:
        """What the page Logs shows now, without what is folded."""
        listed = self.page.locator("[data-testid=virtualized-list] [data-index]")
        rows = sorted(listed.all(), key=lambda row: int(row.get_attribute("data-index") or 0))
        return [_entry(row) for row in rows]

    def unfold_all(self) -> None:
        """Unfold all groups of the page Logs."""
        self._press("e")
        self.page.get_by_text("▼").first.wait_for()

    def make_presentable(self) -> None:
        """Break the long lines of the page Logs, and fold away the frames of exceptions."""
        self._press("w")
        for summary in self.page.locator("details[open] > summary").all():
            summary.click(position={"x": 1, "y": 1})

    def _press(self, key: str) -> None:
        self.page.get_by_test_id("virtualized-list").click(position={"x": 1, "y": 1})
        self.page.keyboard.press(key)

    def _open(self, rest: str) -> None:
        task = self.task
        path = f"/dags/{quote(task.dag_id)}/runs/{quote(task.run_id)}/tasks/{quote(task.task_id)}{rest}"
        wait_for(lambda: is_loaded(self.page, f"{task.airflow.url}{path}"), f"the page {path}")


def _entry(row: Locator) -> Entry:
    text = row.inner_text().strip()
    if (row.get_attribute("data-testid") or "").startswith("group-header"):
        return Entry(text.lstrip("▶▼ "), is_group=True)
    found = _ENTRY.fullmatch(text)
    if found is None:
        raise AssertionError(f"no line of a log: {text}")
    return Entry(found["text"], (found["level"] or "").lower())


def texts(entries: list[Entry]) -> list[str]:
    """What a person reads, line by line."""
    return [entry.text for entry in entries]


def save_screenshot(page: Page, path: Path, height: int = 800) -> None:
    """A picture of the page with few colours, and so small."""
    from PIL import Image

    page.set_viewport_size({"width": WIDTH, "height": height})
    picture = Image.open(io.BytesIO(page.screenshot(animations="disabled")))
    picture.convert("RGB").quantize(colors=64, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(
        path, optimize=True
    )
    page.set_viewport_size({"width": WIDTH, "height": TALL})


def screenshots() -> Path | None:
    """The folder that screenshots for the documentation are wanted in, None where they aren't."""
    folder = os.environ.get("SCREENSHOTS")
    return Path(folder).absolute() if folder else None
