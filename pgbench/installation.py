"""An installation to measure: settings, tracks, a source of a simulated network, and webhooks."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from pgbench.end_to_end import ADD_TRACKS, CREDENTIALS
from stream.db import connect
from stream.sinks import webhook_secrets
from stream.sinks.reader import head_position
from stream.store import users, webhooks
from stream.store.webhooks import NewWebhook
from stream.tweet import NetworkName
from stream.vault import Vault

NETWORK: NetworkName = "x_v2"
ADD_SOURCE = """
INSERT INTO sources (name, network, url, secrets, enabled) VALUES ('bench', $1, $2, $3, false)
"""


async def prepare(
    url: str,
    folder: Path,
    port: int,
    tracks: Sequence[str],
    settings: Mapping[str, object],
    receivers: Sequence[str] = (),
) -> None:
    """Write `config.yaml` with these settings, and the rows of the tables.

    The source is disabled, and its network listens on `port`. `receivers`: addresses of webhooks
    that follow all tracks.
    """
    data = folder / "data"
    data.mkdir(parents=True)
    given = {"database": url, "data_dir": str(data), "monitor": {"listen": ""}, **settings}
    (folder / "config.yaml").write_text(json.dumps(given), encoding="utf-8")
    vault = Vault(data)
    async with connect(url) as database, database.transaction() as connection:
        await connection.execute(ADD_TRACKS, ["keyword"] * len(tracks), tracks)
        secrets = vault.seal(CREDENTIALS[NETWORK])
        await connection.execute(ADD_SOURCE, NETWORK, f"http://127.0.0.1:{port}", secrets)
        user = await users.add(connection, "bench", "admin", None)
        position = str(await head_position(connection))
        for number, address in enumerate(receivers):
            sealed = webhook_secrets.seal(vault, webhook_secrets.new_secret())
            new = NewWebhook(f"hook {number}", address, None, sealed, position)
            await webhooks.add(connection, user, new)
