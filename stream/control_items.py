"""Apply what a batch has besides tweets: deletions, withholdings, notes of the daemon."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import assert_never

from stream.batch import Batch, ControlItem
from stream.db import Executor
from stream.keys import server_id
from stream.notes import (
    Alive,
    EventNote,
    GapClosed,
    GapOpened,
    GapRefilled,
    Note,
    Passed,
    StateNote,
    StreamOpened,
    TracksCovered,
    TracksInForce,
    TracksLapsed,
)
from stream.row_locks import Concerned
from stream.store import accounts, author_tombstones, deletions, events, gaps, sources
from stream.store.author_tombstones import AuthorRestrictions
from stream.store.rollups import CountChanges
from stream.store.tweet_ids import IdRow
from stream.tweet import (
    AccountStatus,
    AuthorDeletion,
    AuthorResync,
    ControlNotice,
    Deletion,
    GeoScrub,
    HandleChange,
    NativeId,
    NetworkName,
    SourceId,
    Tweet,
    Withheld,
)

SILENT_NOTICES = ("limit", "ignored")  # counted, but no event
RESYNC = "stored posts may be out of date and are compared with those of their author:"
SHOWN = AuthorRestrictions(withheld=())


async def apply_control(connection: Executor, batch: Batch, item: ControlItem) -> None:
    """Apply a message about the stream, or a note of the daemon."""
    what, source_id = item.what, batch.source_id
    match what:
        case (
            Deletion()
            | AuthorDeletion()
            | AccountStatus()
            | GeoScrub()
            | Withheld()
            | HandleChange()
            | AuthorResync()
        ):
            pass  # see apply_changes
        case ControlNotice(kind=kind, text=text):
            if kind not in SILENT_NOTICES:
                note = EventNote("control", f"{kind}: {text}", item.at.timestamp())
                await events.add(connection, source_id, note)
        case Tweet():
            raise AssertionError("a tweet is not a control item")
        case _:
            await _apply_note(connection, source_id, what)


async def _apply_note(connection: Executor, source_id: SourceId, note: Note) -> None:
    match note:
        case StateNote(state=state, reason=reason, at=at):
            await sources.write_state(connection, source_id, note)
            await events.add_state(connection, source_id, state, reason, at)
        case GapOpened():
            await gaps.open_gap(connection, source_id, note)
        case GapClosed():
            await gaps.close_gap(connection, source_id, note)
        case GapRefilled():
            await gaps.note_refilled(connection, source_id, note)
        case TracksLapsed():
            await gaps.open_track_gaps(connection, source_id, note)
        case TracksCovered():
            await gaps.close_track_gaps(connection, source_id, note)
        case Alive(at=at):
            await sources.note_last_byte(connection, source_id, at)
        case EventNote():
            await events.add(connection, source_id, note)
        case StreamOpened() | TracksInForce() | Passed():
            raise AssertionError("a batch has no item of these")
        case _:
            assert_never(note)


class _Changes:
    """The changes of stored tweets and known accounts in a batch; the last of each counts."""

    def __init__(self, source_id: SourceId, items: Iterable[ControlItem]) -> None:
        self.deleted: dict[NativeId, datetime] = {}
        self.withheld: dict[NativeId, Sequence[str]] = {}
        self.renamed: dict[str, str | None] = {}
        self.outdated: set[str] = set()
        self.authors: defaultdict[str, AuthorRestrictions] = defaultdict(AuthorRestrictions)
        for item in items:
            match item.what:
                case Deletion() as deletion:
                    self.deleted.setdefault(deleted_name(source_id, deletion), item.at)
                case Withheld(native_id=str(native_id), countries=countries):
                    self.withheld[NativeId(native_id)] = countries
                case HandleChange(author_id=author_id, handle=handle):
                    self.renamed[author_id] = handle
                case AuthorResync(author_id=author_id):
                    self.outdated.add(author_id)
                case _:
                    for author_id, limits in restrictions(item):
                        self.authors[author_id] = self.authors[author_id].merged(limits)


async def apply_changes(
    connection: Executor,
    batch: Batch,
    network: NetworkName,
    track_counts: CountChanges,
    *,
    erase: bool,
) -> None:
    """Apply the network's deletions, withholdings and new handles of the batch, all at once.

    The transaction has locked what they concern.
    """
    changes = _Changes(batch.source_id, batch.control_items)
    authors = changes.authors
    if changes.deleted:
        await deletions.delete(connection, network, changes.deleted, track_counts, erase=erase)
    if changes.withheld:
        await deletions.withhold(connection, network, changes.withheld)
    if changes.renamed:
        await accounts.outdate(connection, network, changes.renamed)
    if changes.outdated:
        for author_id in await accounts.request_resync(connection, network, changes.outdated):
            note = EventNote(
                "control", f"{RESYNC} {author_id}", batch.control_items[-1].at.timestamp()
            )
            await events.add(connection, batch.source_id, note)
    shown = {author_id for author_id, each in authors.items() if each == SHOWN}
    if shown:
        # Most accounts that are shown again were never hidden by us.
        hidden = await author_tombstones.author_restrictions(connection, network, shown)
        for author_id in shown - hidden.keys():
            del authors[author_id]
    if authors:
        await author_tombstones.restrict_authors(connection, network, authors)


def concerned_by(source_id: SourceId, items: Iterable[ControlItem]) -> Concerned:
    """What these control messages change."""
    found = Concerned()
    for item in items:
        match item.what:
            case HandleChange(author_id=author_id) | AuthorResync(author_id=author_id):
                found.authors.add(author_id)
            case Deletion() as deletion:
                found.ids[deleted_name(source_id, deletion)] = IdRow(deleted_at=item.at)
            case Withheld(native_id=str(native_id), countries=countries):
                found.ids.setdefault(NativeId(native_id), IdRow(withheld=countries))
            case _:
                found.authors.update(author_id for author_id, _ in restrictions(item))
    return found


def deleted_name(source_id: SourceId, deletion: Deletion) -> NativeId:
    """The id of a deleted tweet in the tables."""
    native_id = deletion.native_id
    return server_id(source_id, native_id) if deletion.of_server else native_id


def restrictions(item: ControlItem) -> Iterator[tuple[str, AuthorRestrictions]]:
    """Restrictions of authors' tweets that a control message makes."""
    match item.what:
        case AuthorDeletion(author_id=author_id):
            yield author_id, AuthorRestrictions(deleted_at=item.at)
        case AccountStatus(author_id, "deleted"):
            until = item.at + author_tombstones.CLOCK_ERROR_MAX
            yield author_id, AuthorRestrictions(deleted_at=until)
        case AccountStatus(author_id, "active"):
            yield author_id, SHOWN
        case AccountStatus(author_id):
            # Deactivated, suspended and removed accounts may come back: hidden, and erased later.
            yield author_id, AuthorRestrictions(withheld=("XX",), hidden_at=item.at)
        case GeoScrub(author_id=author_id, up_to=up_to):
            yield author_id, AuthorRestrictions(scrubbed_to=up_to)
        case Withheld(author_id=str(author_id), countries=countries):
            yield author_id, AuthorRestrictions(withheld=countries)
