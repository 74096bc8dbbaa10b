"""A query over archives of which some may be broken: the other days stay readable."""

from collections.abc import Callable, Iterator, Sequence

import duckdb
import pyarrow as pa

from monitor.archive.checking import check_file
from monitor.archive.files import Rows
from monitor.archive.manifest import ROOT, ArchiveError, Manifest, Role, mending
from monitor.archive.querying import ask, opened
from monitor.archive.store import Store

_ASKED: tuple[Role, ...] = ("tweets", "matches", "tracks")
# The query is at fault, and no file.
_OF_THE_QUERY = (
    duckdb.ParserException,
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.PermissionException,
)


def answer(
    store: Store, made: Sequence[Manifest], query: str, warn: Callable[[str], None]
) -> Iterator[pa.RecordBatch]:
    """The rows of a SELECT over all archives that can be read; one warning for each that cannot."""
    good = _there(store, made, warn)
    given = False
    try:
        with opened(store, good) as duck:
            for batch in ask(duck, query):
                given = True
                yield batch
    except (ArchiveError, duckdb.Error) as error:
        cause = error if isinstance(error, duckdb.Error) else error.__cause__
        if given or cause is None or isinstance(cause, _OF_THE_QUERY):
            raise
        whole = _readable(store, good, str(error), warn)
        if len(whole) == len(good):
            raise
    else:
        return
    with opened(store, whole) as duck:
        yield from ask(duck, query)


def _there(store: Store, made: Sequence[Manifest], warn: Callable[[str], None]) -> list[Manifest]:
    """Those whose files are there and of the right size, which one list of the store tells."""
    sizes = {entry.path: entry.bytes for entry in store.list(ROOT)}
    good = []
    for each in made:
        wrong = [role for role in _ASKED if sizes.get(each.path(role)) != each.files[role].bytes]
        for role in wrong:
            path = each.path(role)
            how = "damaged: it has another size than was written" if path in sizes else "missing"
            warn(f"{each.day} is left out: {path} is {how}. {mending(path)}")
        if not wrong:
            good.append(each)
    return good


def _readable(
    store: Store, made: Sequence[Manifest], said: str, warn: Callable[[str], None]
) -> list[Manifest]:
    """Those whose files can be opened; one that an error names is read as a whole."""
    good = []
    for each in made:
        try:
            for role in _ASKED:
                Rows(store, each.path(role))
                if f"day={each.day}/{each.part}-{each.files[role].name}" in said:
                    check_file(store, each, role)
        except ArchiveError as error:
            warn(f"{each.day} is left out: {error}")
        else:
            good.append(each)
    return good
