"""The web application with its settings as they are, and two of its users."""

import functools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from web_app import Client, MakeApp, WebApp, running_app


@pytest.fixture
def make_app(database: str, tmp_path: Path) -> MakeApp:
    return functools.partial(running_app, database, tmp_path)


@pytest.fixture
async def app(make_app: MakeApp) -> AsyncIterator[WebApp]:
    async with make_app() as made:
        yield made


@pytest.fixture
async def ana(app: WebApp) -> Client:
    """A user who is logged in."""
    return await app.log_in("ana")


@pytest.fixture
async def admin(app: WebApp) -> Client:
    """An admin who is logged in; named ana, too."""
    return await app.log_in("ana", "admin")
