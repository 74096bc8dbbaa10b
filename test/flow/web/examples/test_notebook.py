"""examples/tweets.ipynb: its cells run one after the other, and no outputs are kept in it.

Run by Python in a process of its own, not by Jupyter.
"""

import asyncio
import json
import sys
from typing import Any

from examples import FOLDER, example
from web_app import WebApp

NOTEBOOK: dict[str, Any] = json.loads((FOLDER / "tweets.ipynb").read_text(encoding="utf-8"))
CODE = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
SHOW = """
import json
print(json.dumps({
    "ids": sorted(tweets["id"]), "hours": int(per_hour.sum()),
    "hashtags": top_hashtags.to_dict(),
}))
"""


def test_it_has_no_outputs() -> None:
    assert NOTEBOOK["nbformat"] == 4
    for cell in NOTEBOOK["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None


async def test_its_cells_read_the_tweets_of_the_last_day(app: WebApp) -> None:
    program = await example(app, "tweets.ipynb")
    await app.add_track("snow", "ana")
    texts = ("snow #Ice #ice", "snow #ICE", "NA snow", "rain")
    await app.store_tweets(*({"text": text} for text in texts))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "\n".join([*CODE, SHOW])),
        env=program.environment | {"TWEETS_ADDRESS": app.address},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    found = json.loads(output.splitlines()[-1])
    wanted = await app.rows("SELECT id::text FROM tweets WHERE text LIKE '%snow%' ORDER BY 1")
    assert found["ids"] == [number for (number,) in wanted]
    assert found["hours"] == 3
    assert found["hashtags"] == {"ice": 2}
