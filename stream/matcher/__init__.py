"""Which tracks a tweet belongs to. Pure: no I/O, no state that changes after it is built."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from operator import add

from stream.matcher.boxes import BoxIndex
from stream.matcher.find import cheap_first, find, leading_mention
from stream.matcher.keys import count_keys, cover, needed_words, pairs
from stream.matcher.places import area
from stream.matcher.view import View, is_plain
from stream.query import Alternative, And, Node, Query, Term
from stream.query.words import canonical
from stream.tweet import Box, Field, Match, TrackId, Tweet

__all__ = ["Matcher"]


class _Rule:
    """One alternative, and whoever follows it."""

    __slots__ = ("followers", "needs", "node", "plain", "term")

    def __init__(self, alternative: Alternative) -> None:
        self.term = alternative.term
        self.node = cheap_first(alternative.node)
        self.needs = needed_words(alternative.node)
        self.plain = _is_plain_words(alternative.node)
        self.followers: list[tuple[TrackId, int]] = []  # and which of its alternatives it is


def _is_plain_words(node: Node) -> bool:
    """Whether the node asks for nothing but whole words: no need to walk a tree then."""
    children = node.children if isinstance(node, And) else (node,)
    return all(isinstance(child, Term) and is_plain(child.text) for child in children)


class Matcher:
    """An index of all alternatives by something that a tweet must have to meet them.

    So the cost of a tweet depends on its own length and on the alternatives that share a rare word
    with it, not on how many there are. It never changes: build a new one when tracks change, in a
    thread if there are many.
    """

    def __init__(self, tracks: Iterable[tuple[TrackId, Query]]) -> None:
        rules: dict[Alternative, _Rule] = {}
        for track_id, query in tracks:
            for position, alternative in enumerate(query.alternatives):
                rule = rules.get(alternative)
                if rule is None:
                    rule = rules[alternative] = _Rule(alternative)
                rule.followers.append((track_id, position))
        counts = count_keys(rule.node for rule in rules.values())
        texts: defaultdict[str, defaultdict[str, list[_Rule]]]
        texts = defaultdict(lambda: defaultdict(list))
        boxes: list[tuple[Box, _Rule]] = []
        self._always: list[_Rule] = []
        for rule in rules.values():
            keys = cover(rule.node, counts)
            for key in keys:
                if isinstance(key.value, str):
                    texts[key.kind][key.value].append(rule)
                else:
                    boxes.append((key.value, rule))
            if not keys:
                self._always.append(rule)
        # Plain dictionaries, so that asking for what is not there adds nothing.
        self._words = dict(texts["word"])
        self._runs = _by_rarest_pair(texts["run"])
        self._has_lone_runs = any(len(pair) == 1 for pair in self._runs)
        self._handles = dict(texts["handle"])
        self._ids = dict(texts["id"])
        self._places = dict(texts["place"])
        self._countries = dict(texts["country"])
        self._conversations = dict(texts["conversation"])
        self._boxes = BoxIndex(boxes) if boxes else None
        self._has_wide_words = not all(word.isascii() for word in self._words)

    def match(self, tweet: Tweet) -> list[Match]:
        """One match for each track that the tweet belongs to, ordered by track.

        What stands in the tweet itself is preferred to what it reposts, that to what it quotes,
        and earlier alternatives of a track to later ones.
        """
        views = [View("own", tweet.own)]
        if tweet.reposted is not None:
            views.append(View("reposted", tweet.reposted))
        if tweet.quoted is not None:
            views.append(View("quoted", tweet.quoted))
        outer = self._outer(tweet)
        found: dict[TrackId, Match] = {}
        for view in views:
            if candidates := self._inner(view) + outer:
                for track_id, match in _credit(candidates, view, tweet, views).items():
                    found.setdefault(track_id, match)
        return [found[track_id] for track_id in sorted(found)] if found else []

    def _inner(self, view: View) -> list[_Rule]:
        """Alternatives of which a word stands in this part."""
        spoken = view.words() if view.wide and self._has_wide_words else view.rough_words()
        rules = [rule for word in self._words.keys() & spoken for rule in self._words[word]]
        if view.dense and self._runs:
            dense = view.dense_text()
            there = self._runs.keys() & map(add, dense, dense[1:])
            if self._has_lone_runs:
                there |= self._runs.keys() & dense
            for pair in there:
                rules += [rule for run, rule in self._runs[pair] if run in dense]
        return rules

    def _outer(self, tweet: Tweet) -> list[_Rule]:
        """Alternatives that ask who wrote the tweet, where, or in which conversation."""
        rules = list(self._always)
        if self._handles or self._ids:
            rules += self._of_users(tweet)
        if self._conversations and tweet.conversation_id is not None:
            rules += self._conversations.get(tweet.conversation_id, ())
        if self._boxes is not None and (where := area(tweet)) is not None:
            rules += self._boxes.touching(where)
        if tweet.place is not None and (self._places or self._countries):
            rules += self._countries.get((tweet.place.country or "").upper(), ())
            for name in tweet.place.names:
                rules += self._places.get(" ".join(canonical(name).split()), ())
        return rules

    def _of_users(self, tweet: Tweet) -> list[_Rule]:
        accounts = [(tweet.own.author, tweet.own.author_id), (tweet.reply_to, tweet.reply_to_id)]
        if tweet.reposted is not None:
            accounts.append((tweet.reposted.author, tweet.reposted.author_id))
        accounts.append(leading_mention(tweet))
        rules: list[_Rule] = []
        for handle, user_id in accounts:
            if handle is not None:
                rules += self._handles.get(handle.lower(), ())
            if user_id is not None:
                rules += self._ids.get(user_id, ())
        return rules


def _by_rarest_pair(rules: dict[str, list[_Rule]]) -> dict[str, list[tuple[str, _Rule]]]:
    """Every run of dense characters under the one pair in it that fewest others have."""
    counts = Counter(pair for run in rules for pair in pairs(run))
    found: defaultdict[str, list[tuple[str, _Rule]]] = defaultdict(list)
    for run, with_run in rules.items():
        rarest = min(pairs(run), key=counts.__getitem__)
        found[rarest] += [(run, rule) for rule in with_run]
    return dict(found)


def _meets(rule: _Rule, view: View, tweet: Tweet, views: list[View]) -> Field | None:
    needs = rule.needs
    # A single word has just been found; exactly, unless the view is wide.
    if (len(needs) > 1 or view.wide) and not view.words().issuperset(needs):
        return None
    if rule.plain:
        return view.field_of(needs[0])
    return find(rule.node, view, tweet, views)


def _credit(
    candidates: list[_Rule], view: View, tweet: Tweet, views: list[View]
) -> dict[TrackId, Match]:
    """The tracks whose alternatives this part really meets, each by its earliest."""
    earliest: dict[TrackId, int] = {}
    best: dict[TrackId, Match] = {}
    for rule in candidates:
        field = _meets(rule, view, tweet, views)
        if field is None:
            continue
        for track_id, position in rule.followers:
            if track_id not in earliest or position < earliest[track_id]:
                earliest[track_id] = position
                best[track_id] = Match(track_id, rule.term, field, view.part)
    return best
