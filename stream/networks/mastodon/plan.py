"""Plan Mastodon: channels of hashtags where these suffice, otherwise the public feed. Pure.

The planner knows the tracks and no server: it finds out which hashtags each alternative could be
followed by. `choose_channels` then looks at what one server offers (Mastodon reference §2, and its
first section). The matcher decides about every post that arrives.
"""

from collections.abc import Mapping, Sequence

import msgspec

from stream.config import Settings
from stream.networks.base import Plan, Usage
from stream.networks.mastodon.hashtag_names import channel_name
from stream.networks.planning import Clause, ClausePlanner, Limitations, reason_against
from stream.query import (
    And,
    AtPlace,
    Conversation,
    Entity,
    Has,
    InBox,
    InRadius,
    Is,
    Leaf,
    Node,
    Or,
    User,
)
from stream.query.tokenize import compared
from stream.tweet import ReachHow, TrackId

NO_PLACES = "Posts on Mastodon carry no place."
NO_BOOSTS = "Mastodon's public feeds carry no boosts."
NO_VERIFIED = "Mastodon does not say which accounts are verified."
NO_CONVERSATIONS = "Mastodon does not say which conversation a post belongs to."
NO_SERVER = "Accounts on Mastodon have names like @name@server: add the server."
FEW_REPLIES = "Replies to others arrive only from the channel of a hashtag."

PUBLIC_OFF = (
    "This server has switched its public feed off; hashtags can be followed, such as #snow."
)
EVERYTHING_OFF = "This server has switched its public feed and the feeds of hashtags off."
ONLY_HASHTAGS = "Only {}: this server has switched its public feed off."
LOCAL_ONLY = "Only posts by accounts of this server: it shows no others in its public feed."
REMOTE_ONLY = "No posts by accounts of this server: it does not show them in its public feed."
EVERYTHING = "Public posts that this server knows; replies to others never arrive."
BY_HASHTAG = "Public posts with a tracked hashtag that this server knows."

DELIVERS: Mapping[ReachHow, str] = {
    "pushed": BY_HASHTAG,
    "decided": EVERYTHING,
    "both": "Public posts that this server knows; which of them match is decided here.",
}


class Reachable(msgspec.Struct, frozen=True):
    """What Mastodon can deliver of an alternative: `against` says why nothing.

    `hashtags`: channels of which one carries every post that can match; None: there are none.
    """

    against: str = ""
    hashtags: tuple[str, ...] | None = None


class MastodonPlan(Plan, frozen=True, kw_only=True):
    """`hashtags`: the channels to subscribe to, those of the oldest tracks first.

    `by_hashtag`: those of each track that has any. `by_feed`: tracks that need the public feed, at
    least for some of their terms.
    """

    hashtags: tuple[str, ...] = ()
    by_hashtag: Mapping[TrackId, tuple[str, ...]] = {}
    by_feed: frozenset[TrackId] = frozenset()


class MastodonPlanner(ClausePlanner[Reachable]):
    """See `base.Planner`."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        del settings
        self._plan: MastodonPlan | None = None

    def make(self, node: Node) -> Reachable:
        """See `ClausePlanner`."""
        if against := reason_against(node, _leaf_reason):
            return Reachable(against)
        return Reachable(hashtags=_hashtags(node))

    def touched(self, clause: Clause[Reachable]) -> None:
        """See `ClausePlanner`."""
        del clause
        self._plan = None

    def limitations_of(self, clause: Clause[Reachable]) -> Limitations:
        """See `ClausePlanner`."""
        made = clause.made
        partly = made.hashtags is None and _asks_for_replies(clause.alternative.node)
        how: ReachHow = "decided"
        if made.hashtags is not None:
            how = "pushed" if isinstance(clause.alternative.node, Entity) else "both"
        return Limitations(made.against, (FEW_REPLIES,) if partly else (), how)

    def plan(self) -> MastodonPlan:
        """See `base.Planner`."""
        if self._plan is None:
            self.update_sentences()
            wanted = [clause for clause in self.ordered() if not clause.made.against]
            by_hashtag: dict[TrackId, dict[str, None]] = {}
            by_feed: set[TrackId] = set()
            for clause in wanted:
                owners = [owner.track_id for owner in clause.owners]
                if clause.made.hashtags is None:
                    by_feed.update(owners)
                    continue
                for owner in owners:
                    tags = by_hashtag.setdefault(owner, {})
                    tags.update(dict.fromkeys(clause.made.hashtags))
            self._plan = MastodonPlan(
                refused=dict(self._refused),
                caveats=dict(self._caveats),
                rule_owners={},
                asked=len(wanted),
                how=dict(self._how),
                hashtags=tuple(dict.fromkeys(t for c in wanted for t in c.made.hashtags or ())),
                by_hashtag={track: tuple(tags) for track, tags in by_hashtag.items()},
                by_feed=frozenset(by_feed),
            )
        return self._plan


def usage(plan: Plan, settings: Settings) -> list[Usage]:
    """How many of the channels of one connection the hashtags take."""
    assert isinstance(plan, MastodonPlan)
    used = min(len(plan.hashtags), settings.mastodon.max_hashtags)
    return [Usage("hashtags", used, settings.mastodon.max_hashtags)]


def _leaf_reason(leaf: Leaf) -> str:
    """Why no post on Mastodon can meet this leaf; empty if one can."""
    match leaf:
        case InBox() | InRadius() | AtPlace() | Has("geo"):
            return NO_PLACES
        case Is("retweet") | User("retweets_of"):
            return NO_BOOSTS
        case Is("verified"):
            return NO_VERIFIED
        case Conversation():
            return NO_CONVERSATIONS
        case User(handle=handle) if handle is None or "@" not in handle:
            return NO_SERVER
        case _:
            return ""


def _hashtags(node: Node) -> tuple[str, ...] | None:
    """The hashtags of which a post that meets this node has at least one; None: there are none."""
    match node:
        case Entity("hashtag", text):
            # ß and ss, ς and σ are different channels; the matcher takes them for the same.
            names = map(channel_name, (text, compared(text)))
            return tuple(dict.fromkeys(filter(None, names))) or None
        case And(children):
            found = (tags for child in children if (tags := _hashtags(child)) is not None)
            return min(found, key=len, default=None)
        case Or(children):
            each = [tags for child in children if (tags := _hashtags(child)) is not None]
            flat = dict.fromkeys(tag for tags in each for tag in tags)
            return tuple(flat) if len(each) == len(children) else None
        case _:
            return None


def _asks_for_replies(node: Node) -> bool:
    match node:
        case And(children) | Or(children):
            return any(map(_asks_for_replies, children))
        case Is("reply") | User("to" | "any"):
            return True
        case _:
            return False


# -- one server -----------------------------------------------------------------------------------


class FeedAccess(msgspec.Struct, frozen=True):
    """Whether a server shows posts of its own accounts and of others in a kind of feed."""

    local: bool = True
    remote: bool = True


class Offer(msgspec.Struct, frozen=True):
    """What a server offers: its public feeds, and those of hashtags."""

    live: FeedAccess = FeedAccess()
    hashtag: FeedAccess = FeedAccess()

    @property
    def has_live(self) -> bool:
        return self.live.local or self.live.remote

    @property
    def has_hashtags(self) -> bool:
        return self.hashtag.local or self.hashtag.remote


class Channel(msgspec.Struct, frozen=True, order=True):
    """A channel of the streaming API; `tag` of a hashtag's."""

    stream: str
    tag: str = ""


class Choice(msgspec.Struct, frozen=True):
    """The channels to follow on one server, and what they do not deliver.

    `reach`: one sentence about each track that is followed at all.
    """

    channels: tuple[Channel, ...] = ()
    refused: Mapping[TrackId, str] = {}
    reach: Mapping[TrackId, str] = {}


def choose_channels(plan: MastodonPlan, offer: Offer, max_hashtags: int) -> Choice:
    """The channels for a plan on a server that offers this.

    Hashtag channels alone where they carry all that is tracked. With the public feed they are
    subscribed to as well, since only they carry replies to others.
    """
    tags = plan.hashtags[:max_hashtags] if offer.has_hashtags else ()
    needs_feed = bool(plan.by_feed) or len(tags) < len(plan.hashtags)
    channels = [Channel(_live_channel(offer.live))] if needs_feed and offer.has_live else []
    stream = "hashtag" if offer.hashtag.remote else "hashtag:local"
    channels += [Channel(stream, tag) for tag in tags]
    refused: dict[TrackId, str] = {}
    reach: dict[TrackId, str] = {}
    for track in sorted(plan.by_hashtag.keys() | plan.by_feed):
        own_tags = [tag for tag in plan.by_hashtag.get(track, ()) if tag in tags]
        if track not in plan.by_feed and len(own_tags) == len(plan.by_hashtag[track]):
            reach[track] = BY_HASHTAG
        elif offer.has_live:
            reach[track] = _feed_sentence(offer.live)
        elif own_tags:
            reach[track] = refused[track] = ONLY_HASHTAGS.format(_listed(own_tags))
        else:
            refused[track] = PUBLIC_OFF if offer.has_hashtags else EVERYTHING_OFF
    return Choice(tuple(channels), refused, reach)


def _live_channel(live: FeedAccess) -> str:
    if live.local and live.remote:
        return "public"
    return "public:local" if live.local else "public:remote"


def _feed_sentence(live: FeedAccess) -> str:
    if live.local and live.remote:
        return EVERYTHING
    return LOCAL_ONLY if live.local else REMOTE_ONLY


def _listed(tags: Sequence[str]) -> str:
    more = f" and {len(tags) - 3} more" if len(tags) > 3 else ""
    return ", ".join(f"#{tag}" for tag in tags[:3]) + more
