"""The whole program with its pages in a real browser.

A browser of the machine is used (apt install chromium); without one these tests are skipped, in
continuous integration they fail. Every error in a console and every request that leaves the
machine fails the test in which it happens.
"""

import os
import shutil
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from browser import ROOT, TIMEOUT_MS, MakeProgram, OpenTab, Program, Tab
from stream.store.users import Role
from web.auth import SESSION

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
)
AXE = ROOT / "web/node_modules/axe-core/axe.min.js"


def browser_executable() -> str:
    """The browser of this machine."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        missing = "no Chromium is installed (Debian, Ubuntu: apt install chromium)"
        if os.environ.get("CI_NEEDS_TOOLS"):
            pytest.fail(missing)
        pytest.skip(missing)
    return found


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    executable = browser_executable()
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=executable, args=[*FLAGS, *sandbox], timeout=TIMEOUT_MS
        )
        yield browser
        await browser.close()


@pytest.fixture(scope="session")
def make_program(tmp_path_factory: pytest.TempPathFactory) -> MakeProgram:
    return lambda name, database, **settings: Program(
        tmp_path_factory.mktemp(name), database, settings
    )


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def program(
    empty_database: Callable[[], str], make_program: MakeProgram
) -> AsyncIterator[Program]:
    """A program for all tests that do not disturb others."""
    async with make_program("program", empty_database()) as made:
        yield made


@pytest.fixture(scope="session")
def axe() -> str:
    """The script that finds accessibility faults in a page."""
    return AXE.read_text()


@pytest_asyncio.fixture(loop_scope="session")
async def open_tab(chromium: Browser) -> AsyncIterator[OpenTab]:
    """Opens tabs; at the end nothing may have gone wrong in any of them."""
    opened: list[Tab] = []

    async def make(
        program: Program, name: str = "admin", role: Role = "admin", **options: Any
    ) -> Tab:
        context = await chromium.new_context(
            **({"viewport": {"width": 1200, "height": 900}} | options)
        )
        context.set_default_timeout(TIMEOUT_MS)
        program.contexts.append(context)
        if name:
            key = await program.session(name, role)
            await context.add_cookies(
                [{"name": SESSION, "value": key, "url": program.address, "httpOnly": True}]
            )
        opened.append(Tab(await context.new_page(), program.address))
        return opened[-1]

    yield make
    for tab in opened:
        await tab.page.context.close()
    assert [fault for tab in opened for fault in tab.faults] == []
