"""What somebody watches."""

import msgspec

from stream.errors import InvalidQuery, Reject
from stream.matcher import Matcher
from stream.networks.table import NETWORKS
from stream.query import Query, TrackKind, parse
from stream.stored import StoredTweet
from stream.tweet import TrackId, Tweet
from web.person import Person, UserId
from web.problem import Problem


class View(msgspec.Struct, frozen=True):
    """A track, or what a query finds, or everything; equal for all who watch the same.

    `within`: only among the tweets of tracks that this user sees.
    """

    track: TrackId | None = None
    query: str = ""
    within: UserId | None = None

    def parsed(self) -> Query | None:
        """None when it is no query. Problem for one that cannot be understood."""
        return understood(self.query) if self.track is None and self.query else None


def view_of(person: Person, track: TrackId | None, query: str) -> View:
    """A viewer sees what is shared with him, others whatever is stored; as in the API."""
    if track is not None:
        return View(track=track)
    return View(query=query.strip(), within=person.id if person.role == "viewer" else None)


def understood(query: str, kind: TrackKind = "query") -> Query:
    """Problem with the sentence of the parser."""
    try:
        return parse(kind, query, may_only_narrow=True)
    except InvalidQuery as error:
        raise Problem("invalid", str(error), field="query") from error


def message_of(tweet: StoredTweet) -> Tweet | None:
    """The message as the matcher wants it."""
    try:
        message = NETWORKS[tweet.network].decode(tweet.doc)
    except Reject:
        return None  # what an older version took
    return message if isinstance(message, Tweet) else None


def matcher_of(query: Query) -> Matcher:
    """For one query alone; its matches are those of track 0."""
    return Matcher([(TrackId(0), query)])
