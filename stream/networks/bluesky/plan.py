"""Plan Bluesky: Jetstream delivers every post, so the matcher decides. Pure.

The only filter is a list of accounts, used where nothing else is followed: at most 10,000
(Jetstream reference §2, §7).
"""

from collections.abc import Iterator, Mapping

import msgspec

from stream.config import Settings
from stream.networks.base import Plan, Usage
from stream.networks.planning import Clause, ClausePlanner, Limitations, reason_against
from stream.query import (
    And,
    AtPlace,
    Conversation,
    Has,
    InBox,
    InRadius,
    Is,
    Leaf,
    Node,
    Not,
    Or,
    Query,
    User,
    terms_of,
)
from stream.tweet import ReachHow

DIDS_MAX = 10_000

NO_PLACES = "Posts on Bluesky carry no place."
NO_REPOSTS = "Bluesky's stream of posts has no reposts."
NO_VERIFIED = "Bluesky's stream does not say which accounts are verified."
ONLY_OWN_POSTS = (
    "Replies by others are included only while another track needs the posts of all accounts."
)
NO_HANDLE = "Accounts on Bluesky have names like name.bsky.social: add the domain."
NO_DID = "Ids of accounts on Bluesky begin with did:."
NO_CONVERSATION = "Conversations on Bluesky are named by the address of their first post."
LOOKING_UP = "Bluesky's posts name their authors by id only: the id is being looked up."


DELIVERS: Mapping[ReachHow, str] = {
    "decided": "Every public post.",
    "pushed": "Every public post of its accounts, which Bluesky chooses.",
    "both": "Every public post of its accounts; which of them match is decided here.",
}


class Reachable(msgspec.Struct, frozen=True):
    """What Bluesky can deliver of an alternative: `against` says why nothing.

    `accounts`: the DIDs of the only accounts whose posts can match; None: any account.
    """

    against: str = ""
    accounts: tuple[str, ...] | None = None


class BlueskyPlan(Plan, frozen=True, kw_only=True):
    """The plan of Bluesky; `dids`: the accounts to ask for, empty: all posts."""

    dids: tuple[str, ...] = ()


class BlueskyPlanner(ClausePlanner[Reachable]):
    """See `base.Planner`."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        del settings
        self._plan: BlueskyPlan | None = None
        self._by_accounts = False  # whether Bluesky is asked for the posts of some accounts only

    def make(self, node: Node) -> Reachable:
        """See `ClausePlanner`."""
        if against := reason_against(node, _leaf_reason):
            return Reachable(against)
        return Reachable(accounts=_authors(node))

    def touched(self, clause: Clause[Reachable]) -> None:
        """See `ClausePlanner`."""
        del clause
        self._plan = None

    def limitations_of(self, clause: Clause[Reachable]) -> Limitations:
        """See `ClausePlanner`."""
        made = clause.made
        partly = made.accounts is not None and any(
            isinstance(leaf, User) and leaf.relation == "any" for leaf in _leaves(clause)
        )
        users = {each: None for each in _leaves(clause) if isinstance(each, User)}
        unknown = filter(None, map(_leaf_reason, users))
        how: ReachHow = "decided"
        if self._by_accounts:
            how = "pushed" if isinstance(clause.alternative.node, User) else "both"
        limits = (*((ONLY_OWN_POSTS,) if partly else ()), *unknown)
        return Limitations(made.against, limits, how)

    def plan(self) -> BlueskyPlan:
        """See `base.Planner`."""
        if self._plan is None:
            wanted = [clause for clause in self.clauses.values() if not clause.made.against]
            dids = _dids(wanted)
            if bool(dids) != self._by_accounts:
                self._by_accounts = bool(dids)
                for clause in wanted:
                    self.limitations_changed(clause)
            self.update_sentences()
            self._plan = BlueskyPlan(
                refused=dict(self._refused),
                caveats=dict(self._caveats),
                rule_owners={},
                asked=len(wanted),
                how=dict(self._how),
                dids=dids,
            )
        return self._plan


def usage(plan: Plan, settings: Settings) -> list[Usage]:
    """Nothing on Bluesky is limited but the list of accounts."""
    del settings
    assert isinstance(plan, BlueskyPlan)
    return [Usage("accounts", len(plan.dids), DIDS_MAX)] if plan.dids else []


def _dids(wanted: list[Clause[Reachable]]) -> tuple[str, ...]:
    """The accounts to ask for; empty where all posts are needed, or for too many accounts."""
    found: set[str] = set()
    for clause in wanted:
        accounts = clause.made.accounts
        if accounts is None:
            return ()
        found.update(accounts)
    return tuple(sorted(found)) if len(found) <= DIDS_MAX else ()


def no_account(handle: str) -> str:
    """Says that no account has a handle, and what to do."""
    return (
        f"No account on Bluesky has the handle {handle}. Correct it, or write the account's id"
        " (did:plc:…), which stays when its handle changes."
    )


def is_domain_name(handle: str) -> bool:
    """Whether a handle may be one of Bluesky; those of Mastodon have an @ before the domain."""
    return "." in handle and "@" not in handle


def _leaf_reason(leaf: Leaf) -> str:  # noqa: PLR0911 - one line for each reason
    """Why no post on Bluesky can meet this leaf; empty if one can."""
    match leaf:
        case InBox() | InRadius() | AtPlace() | Has("geo"):
            return NO_PLACES
        case Is("retweet") | User("retweets_of"):
            return NO_REPOSTS
        case Is("verified"):
            return NO_VERIFIED
        case User(handle=str(handle)) if not is_domain_name(handle):
            return NO_HANDLE
        case User(handle=str(handle), found=str(did)):
            return "" if did else no_account(handle)
        case User(handle=str()):
            return LOOKING_UP
        case User(id=str(user_id)) if not user_id.startswith("did:"):
            return NO_DID
        case Conversation(conversation_id) if "/did:" not in conversation_id:
            return NO_CONVERSATION
        case _:
            return ""


def _authors(node: Node) -> tuple[str, ...] | None:
    """The accounts of which one must have written a post that meets this node."""
    match node:
        case User("from" | "any", _, did, looked_up):
            return tuple(filter(None, [did or looked_up]))
        case And(children):
            found = (_authors(child) for child in children if not isinstance(child, Not))
            return next((each for each in found if each is not None), None)
        case Or(children):
            each = [_authors(child) for child in children]
            known = [one for one in each if one is not None]
            return tuple(_flat(known)) if len(known) == len(each) else None
        case _:
            return None


def _leaves(clause: Clause[Reachable]) -> Iterator[Node]:
    return terms_of(Query("query", (clause.alternative,)))


def _flat(accounts: list[tuple[str, ...]]) -> Iterator[str]:
    for each in accounts:
        yield from each
