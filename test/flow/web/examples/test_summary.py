"""examples/summary.sql, run by psql for a user and for an administrator."""

import asyncio
import os
import subprocess

import pytest

from examples import FOLDER
from sql_login import sql_login
from stream.postgres.unprivileged import installed_programs
from web_app import WebApp


def _psql(address: str, *options: str) -> str:
    done = subprocess.run(
        [installed_programs() / "psql", "-X", address, "-f", FOLDER / "summary.sql", *options],
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


@pytest.fixture
async def filled(app: WebApp) -> WebApp:
    await app.user("ana")
    await app.add_track("snow", "ana")
    tags = [{"hashtags": [{"text": tag}], "urls": []} for tag in ("Ice", "ICE", "Frost")]
    await app.store_tweets(
        *({"text": f"snow {number}", "entities": each} for number, each in enumerate(tags)),
        {"text": "not Ana's", "lang": "fr"},
    )
    return app


async def test_a_user_sees_a_summary_of_their_own_tweets(filled: WebApp) -> None:
    async with sql_login(filled, "ana") as address:
        text = await asyncio.to_thread(_psql, address, "--csv")
    assert "Tweets by network, last 24 hours\nnetwork,tweets,authors,first,last\nx_v1,3,1," in text
    assert "Hashtags\nhashtag,tweets,authors\nice,2,1\nfrost,1,1\n" in text
    assert "Languages\nlang,tweets\nen,3\n" in text
    assert (
        "Authors, without reposts\nnetwork,author,display_name,tweets,likes\nx_v1,ann,,3,\n" in text
    )


async def test_an_administrator_sees_one_of_all_tweets(filled: WebApp, database: str) -> None:
    text = await asyncio.to_thread(_psql, database, "--csv", "-v", "hours=2", "-v", "rows=1")
    assert "last 2 hours\nnetwork,tweets,authors,first,last\nx_v1,4,1," in text
    assert "Languages\nlang,tweets\nen,3\nLinked" not in text
    assert "Languages\nlang,tweets\nen,3\nHashtags\nhashtag,tweets,authors\nice,2,1\n" in text
