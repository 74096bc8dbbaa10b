"""The credentials of sources: sealed only with the collector's key, used only for their address."""

import contextlib
import socket
from collections.abc import Iterator

from stream import credentials
from stream.db import Executor
from stream.errors import TwitterstreamError
from stream.networks.registry import NETWORKS
from stream.store import daemons, sources
from stream.store.sources import SourceRow
from stream.tweet import Source
from stream.vault import Vault
from web.problem import Problem

_OTHER_KEY = (
    "Keys cannot be saved from this machine: they would be encrypted with another key than the"
    " collector's. Copy the file secret.key from the data_dir of the collector into the data_dir"
    " of these pages (readable by their user only), or use `source secrets` on the collector's"
    " machine."
)


async def require_same_key(connection: Executor, vault: Vault) -> None:
    """Problem when the collector could not open credentials that are sealed here.

    The pages may run on another machine than the collector, without its key or with another one.
    If a collector on this machine cannot open anything either, its key was lost: then entering the
    credentials again is the remedy.
    """
    sealed = [row for row in await sources.get_all(connection) if row.secrets is not None]
    if any(can_unseal(vault, row) for row in sealed):
        return
    hosts = {each.host for each in await daemons.running(connection) if "collect" in each.roles}
    here = socket.gethostname() in hosts
    if not sealed:
        is_fine = here or not hosts or vault.has_key()
    else:
        collected = await sources.collected_ids(connection)
        is_fine = here and not any(row.id in collected for row in sealed)
    if not is_fine:
        raise Problem("conflict", _OTHER_KEY)


def can_unseal(vault: Vault, row: SourceRow) -> bool:
    """Whether the source's credentials can be read on this machine."""
    try:
        vault.unseal(row.secrets or b"")
    except TwitterstreamError:
        return row.secrets is None
    return True


def unseal(vault: Vault, row: SourceRow, url: str | None, proxy: str | None) -> dict[str, str]:
    """The stored keys, if they were entered for this address. Problem that asks for them again."""
    with _as_problem(row):
        return credentials.unseal(vault, row, url=url, proxy=proxy)


def stored_source(vault: Vault, row: SourceRow) -> Source:
    """The source as it is saved, with its keys. Problem when they cannot be used."""
    with _as_problem(row):
        return credentials.source_of(vault, row)


def check_destination(vault: Vault, row: SourceRow, url: str | None, proxy: str | None) -> None:
    """Problem when the address changes, and the stored keys were not entered for the new one."""
    there = credentials.destination(row.network, url, proxy)
    if there != credentials.destination(row.network, row.url, row.proxy):
        unseal(vault, row, url, proxy)


@contextlib.contextmanager
def _as_problem(row: SourceRow) -> Iterator[None]:
    """Turn errors with the keys of a source into problems of its form."""
    try:
        yield
    except credentials.OtherAddress as error:
        field = next(iter(NETWORKS[row.network].missing_credentials({})), None)
        raise Problem("invalid", f"{error}.", field=field) from error
    except TwitterstreamError as error:
        raise Problem("conflict", f"{error}.") from error
