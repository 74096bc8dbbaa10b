"""The feed of all cells as one: `stream.store.feed` of each, merged by key.

Keys are unique over all cells, and a cursor holds a position for each run of each lane: so a cursor
over several cells is like that over one. Where a cell does not answer, its positions stay where
they are, and nothing of it is skipped when it is back.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from stream.cells.databases import Answers, Cells
from stream.db import Executor
from stream.errors import DatabaseAway
from stream.keys import EPOCH, MAX_KEY, Cursor, KeyRange, Run, tweet_key
from stream.store import feed
from stream.store.feed import Page, StoredMatch, StoredTweet
from stream.store.lanes import HOME
from stream.tweet import LaneId, TrackId, TweetId

Matches = Mapping[TweetId, Sequence[StoredMatch]]
Pick = Callable[[Executor, Sequence[TweetId]], Awaitable[Collection[TweetId]]]


class MergedPage(msgspec.Struct, frozen=True):
    """The next tweets of all cells, and the cells that did not answer."""

    page: Page
    missing: tuple[str, ...]
    matches: Matches  # these two if they were asked for
    picked: Collection[TweetId]


class _CellPage(msgspec.Struct, frozen=True):
    page: Page
    matches: Matches
    picked: Collection[TweetId]


async def after(
    cells: Cells,
    connection: Executor,
    cursor: Cursor,
    limit: int,
    tracks: Sequence[TrackId] | None = None,
    *,
    pick: Pick | None = None,
    with_matches: bool = False,
) -> MergedPage:
    """The next tweets after the cursor, at most `limit`; of these tracks only, or of all.

    `pick` chooses among the tweets of a cell by what that cell knows.
    """
    parts = await cells.split(connection, cursor)

    async def read(own: Executor, name: str) -> _CellPage:
        page = await feed.after(own, parts[name], limit, tracks)
        return _CellPage(
            page,
            await feed.matches(own, page.tweets) if with_matches else {},
            await pick(own, [tweet.id for tweet in page.tweets]) if pick is not None else (),
        )

    answers = await cells.ask(connection, read)
    if not cells.others:
        found = answers.by_cell[HOME]
        return MergedPage(found.page, (), found.matches, found.picked)
    matches: dict[TweetId, Sequence[StoredMatch]] = {}
    picked: set[TweetId] = set()
    for found in answers.by_cell.values():
        matches |= found.matches
        picked.update(found.picked)
    pages = {name: found.page for name, found in answers.by_cell.items()}
    return MergedPage(_merged(pages, parts, limit), answers.missing, matches, picked)


async def matches(
    cells: Cells, connection: Executor, tweets: Sequence[StoredTweet]
) -> dict[TweetId, list[StoredMatch]]:
    """The matches of these tweets. DatabaseAway when a cell that has some does not answer."""
    if not cells.others:
        answer = await cells.ask(connection, lambda own, _: feed.matches(own, tweets))
        return answer.by_cell[HOME]
    places = await cells.by_cell(connection, [tweet.id for tweet in tweets])
    cell_of = {key: name for name, keys in places.items() for key in keys}

    async def read(own: Executor, name: str) -> dict[TweetId, list[StoredMatch]]:
        return await feed.matches(own, [each for each in tweets if cell_of[each.id] == name])

    answers = await cells.ask(connection, read, places)
    if answers.missing:
        raise DatabaseAway(f"cells that cannot be used: {', '.join(answers.missing)}")
    return {key: found for each in answers.by_cell.values() for key, found in each.items()}


def _merged(pages: Mapping[str, Page], parts: Mapping[str, Cursor], limit: int) -> Page:
    # Beyond the least of these a cell may have tweets that it did not return.
    reached = min((page.reached for page in pages.values() if page.more), default=MAX_KEY)
    tweets = sorted((each for page in pages.values() for each in page.tweets), key=lambda t: t.id)
    tweets = [each for each in tweets if each.id <= reached]
    if len(tweets) > limit:
        tweets = tweets[:limit]
        reached = tweets[-1].id
    ranges = [each for page in pages.values() for each in page.ranges]
    ranges += [
        KeyRange(run, key, key, is_first=False)
        for name, part in parts.items()
        if name not in pages or not pages[name].ranges
        for run, key in part.positions.items()
    ]
    page = Page(tweets, Cursor({}), reached < MAX_KEY, ranges, TweetId(reached))
    return msgspec.structs.replace(page, cursor=page.cursor_after(page.reached))


async def head(cells: Cells, connection: Executor) -> Cursor:
    """The cursor after everything that is stored now."""
    answers = await cells.ask(connection, lambda own, _: feed.head(own))
    return await _joined(cells, connection, answers, datetime.now(UTC))


async def since(cells: Cells, connection: Executor, time: datetime) -> Cursor:
    """The cursor before everything that was received at this time or later."""
    answers = await cells.ask(connection, lambda own, _: feed.since(own, time))
    return await _joined(cells, connection, answers, time)


async def _joined(
    cells: Cells, connection: Executor, answers: Answers[Cursor], time: datetime
) -> Cursor:
    """One cursor; in cells that did not answer, it is at this time."""
    positions: dict[Run, TweetId] = {}
    for name, cursor in answers.by_cell.items():
        cells.note_runs(name, cursor.positions)
        positions |= cursor.positions
    microseconds = round((time - EPOCH).total_seconds() * 1e6)
    key = TweetId(max(0, tweet_key(microseconds, LaneId(0)) - 1))
    for name in answers.missing:
        for run in await cells.runs_of(connection, name):
            positions[run] = key
    return Cursor(positions)


async def count(cells: Cells, connection: Executor, cursor: Cursor, limit: int) -> int:
    """About how many tweets are stored after the cursor; counting stops at the limit."""
    parts = await cells.split(connection, cursor)
    answers = await cells.ask(connection, lambda own, name: feed.count(own, parts[name], limit))
    return min(sum(answers.by_cell.values()), limit)


async def newest(cells: Cells, connection: Executor, cursor: Cursor, number: int) -> Cursor:
    """The cursor after all but about the newest `number` tweets, if there are more after this one.

    Each cell leaves as many as is its share.
    """
    parts = await cells.split(connection, cursor)
    share = -(-number // (1 + len(cells.others)))
    answers = await cells.ask(connection, lambda own, name: feed.newest(own, parts[name], share))
    found = parts | dict(answers.by_cell)
    return Cursor({run: key for part in found.values() for run, key in part.positions.items()})
