"""The web application with tweets that come, and viewers of them."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from live_app import LiveApp, MakeLive
from web_app import MakeApp


@pytest.fixture
def make_live(make_app: MakeApp) -> MakeLive:
    @contextlib.asynccontextmanager
    async def make(**settings: Any) -> AsyncIterator[LiveApp]:
        async with make_app(**settings) as app, contextlib.AsyncExitStack() as stack:
            yield LiveApp(app, stack)

    return make


@pytest.fixture
async def live(make_live: MakeLive) -> AsyncIterator[LiveApp]:
    async with make_live() as made:
        yield made
