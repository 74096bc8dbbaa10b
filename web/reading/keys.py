"""Whether keys of networks that are sealed here can be opened where they are needed."""

import socket

from stream import sources
from stream.db import Executor
from stream.errors import TwitterstreamError
from stream.sources import SourceRow
from stream.tweet import Source
from stream.vault import Vault
from web.problem import Problem

_ELSEWHERE = (
    "Keys cannot be saved from this machine: they would be sealed with another key than the"
    " collector has. Copy the file secret.key from the data_dir of the collector into the data_dir"
    " of these pages (readable by their user only), or use `source secrets` where it runs."
)


async def require_seal(connection: Executor, vault: Vault) -> None:
    """Problem when a collector could not open what is sealed here.

    The pages may run on another machine than the collector, without its key or with another one.
    Where a collector runs beside us and cannot open anything itself, its key was lost: then giving
    the credentials once more is the remedy.
    """
    sealed = [row for row in await sources.everything(connection) if row.secrets is not None]
    if any(opens(vault, row) for row in sealed):
        return
    hosts = {daemon["host"] for daemon in await sources.daemons(connection)}
    here = socket.gethostname() in hosts
    if not sealed:
        is_fine = here or not hosts or vault.has_key()
    else:
        collected = await sources.collected(connection)
        is_fine = here and not any(row.id in collected for row in sealed)
    if not is_fine:
        raise Problem("conflict", _ELSEWHERE)


def opens(vault: Vault, row: SourceRow) -> bool:
    """Whether its credentials can be read here."""
    try:
        unsealed(vault, row)
    except TwitterstreamError:
        return False
    return True


def unsealed(vault: Vault, row: SourceRow) -> Source:
    """The source with its credentials; TwitterstreamError when they cannot be read here."""
    secrets = vault.open(row.secrets) if row.secrets is not None else {}
    return Source(row.id, row.name, row.network, row.url, row.proxy, secrets, enabled=row.enabled)
