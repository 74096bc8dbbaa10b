"""Which tracks a tweet belongs to. Pure, but for a line in the log when a track fails."""

import logging
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from stream import geo
from stream.matcher.compared_terms import compared_terms
from stream.matcher.evaluate import area, cheap_first, find, leading_mention
from stream.matcher.index import BoxIndex, Key, UnspacedTextIndex, all_keys, cover, needed_words
from stream.matcher.normalized import NormalizedContent, is_plain
from stream.query import Alternative, And, Node, Query, Term
from stream.query.tokenize import canonical
from stream.tweet import Content, Field, Match, TrackId, Tweet

logger = logging.getLogger(__name__)


class _Rule:
    """One alternative and the tracks that have it."""

    __slots__ = ("followers", "keys", "needs", "node", "plain", "term")

    def __init__(self, alternative: Alternative) -> None:
        self.term = alternative.term
        node = compared_terms(alternative.node)
        self.node = cheap_first(node)
        self.needs = needed_words(node)
        self.plain = _is_plain_words(node)
        self.followers: list[tuple[TrackId, int]] = []  # and which of its alternatives it is
        self.keys: tuple[Key, ...] = ()  # its place in the index


def _is_plain_words(node: Node) -> bool:
    """Whether the node asks for nothing but whole words: no need to walk a tree then."""
    children = node.children if isinstance(node, And) else (node,)
    return all(isinstance(child, Term) and is_plain(child.text) for child in children)


class Matcher:
    """An index of all alternatives by something that a tweet must have to meet them.

    So the cost of a tweet depends on its own length and on the alternatives that share a rare word
    with it, not on how many there are; and that of adding or removing a track on the track alone.
    """

    def __init__(self, tracks: Iterable[tuple[TrackId, Query]] = ()) -> None:
        self.faults: dict[TrackId, str] = {}  # why some tracks cannot be matched, found meanwhile
        self._rules: dict[Alternative, _Rule] = {}
        self._counts: Counter[Key] = Counter()
        self._words: dict[str, list[_Rule]] = {}
        # The first letter beyond ASCII of each word that has one, and how many words have it.
        self._wide_letters: Counter[str] = Counter()
        self._any_wide_letter: re.Pattern[str] | None = None  # any of these; made when it is needed
        self._runs = UnspacedTextIndex[_Rule]()
        self._boxes = BoxIndex[_Rule]()
        self._handles: dict[str, list[_Rule]] = {}
        self._ids: dict[str, list[_Rule]] = {}
        self._places: dict[str, list[_Rule]] = {}
        self._countries: dict[str, list[_Rule]] = {}
        self._conversations: dict[str, list[_Rule]] = {}
        self._always: list[_Rule] = []
        self._by_kind = {
            "word": self._words,
            "handle": self._handles,
            "id": self._ids,
            "place": self._places,
            "country": self._countries,
            "conversation": self._conversations,
        }
        self.add(tracks)

    def add(self, tracks: Iterable[tuple[TrackId, Query]]) -> None:
        """Match these from now on, too. Together they find rarer words than one by one."""
        fresh: list[_Rule] = []
        for track_id, query in tracks:
            for position, alternative in enumerate(query.alternatives):
                rule = self._rules.get(alternative)
                if rule is None:
                    try:
                        rule = _Rule(alternative)
                    except Exception as error:  # noqa: BLE001 - one bad track must not cost others tweets
                        self._blame([track_id], error)
                        continue
                    self._rules[alternative] = rule
                    self._counts.update(all_keys(rule.node))
                    fresh.append(rule)
                rule.followers.append((track_id, position))
        for rule in fresh:
            rule.keys = tuple(cover(rule.node, self._counts))
            self._enter(rule)

    def remove(self, track_id: TrackId, query: Query) -> None:
        """Match this track no more; as it was added."""
        self.faults.pop(track_id, None)
        for position, alternative in enumerate(query.alternatives):
            rule = self._rules.get(alternative)
            if rule is None or (track_id, position) not in rule.followers:
                continue  # adding it had failed
            rule.followers.remove((track_id, position))
            if not rule.followers:
                del self._rules[alternative]
                self._counts.subtract(keys := all_keys(rule.node))
                for key in keys:
                    if not self._counts[key]:
                        del self._counts[key]
                self._leave(rule)

    def _enter(self, rule: _Rule) -> None:
        for key in rule.keys:
            if not isinstance(key.value, str):
                self._boxes.add(key.value, rule)
            elif key.kind == "run":
                self._runs.add(key.value, rule)
            else:
                index = self._by_kind[key.kind]
                if key.value not in index and key.kind == "word" and not key.value.isascii():
                    self._wide_letters[_wide_letter(key.value)] += 1
                    self._any_wide_letter = None
                index.setdefault(key.value, []).append(rule)
        if not rule.keys:
            self._always.append(rule)

    def _leave(self, rule: _Rule) -> None:
        for key in rule.keys:
            if not isinstance(key.value, str):
                self._boxes.remove(key.value, rule)
            elif key.kind == "run":
                self._runs.remove(key.value, rule)
            else:
                index = self._by_kind[key.kind]
                index[key.value].remove(rule)
                if not index[key.value]:
                    del index[key.value]
                    if key.kind == "word" and not key.value.isascii():
                        self._wide_letters -= Counter((_wide_letter(key.value),))
                        self._any_wide_letter = None
        if not rule.keys and rule in self._always:
            self._always.remove(rule)

    def match(self, tweet: Tweet) -> list[Match]:
        """Match a tweet: one match for each track that it belongs to, ordered by track.

        The tweet itself is preferred to what it reposts, that to what it quotes,
        and earlier alternatives of a track to later ones.
        """
        views = [NormalizedContent("own", tweet.own)]
        if tweet.reposted is not None:
            views.append(NormalizedContent("reposted", tweet.reposted))
        if tweet.quoted is not None:
            views.append(NormalizedContent("quoted", tweet.quoted))
        outer = self._outer(tweet)
        found: dict[TrackId, Match] = {}
        for view in views:
            if candidates := self._inner(view) + outer:
                for track_id, match in self._credit(candidates, view, tweet, views).items():
                    found.setdefault(track_id, match)
        return [found[track_id] for track_id in sorted(found)] if found else []

    def may_match(self, text: str, names: Sequence[str]) -> bool:
        """Whether a tweet may belong to any track: False only when `match` finds none for it.

        For a tweet without a place and a network whose rules matched; much cheaper than `match`.
        `text`: all of its texts, hashtags, links and descriptions, each on a line of its own.
        `names`: handles and ids of its author, of the author replied to and of all accounts
        mentioned, and the id of its conversation.
        """
        if self._always:
            return True
        if self._ids and not self._ids.keys().isdisjoint(names):
            return True
        if self._conversations and not self._conversations.keys().isdisjoint(names):
            return True
        if self._handles and not self._handles.keys().isdisjoint(map(str.lower, names)):
            return True
        view = NormalizedContent("own", Content(text=text))
        return any(view.has_words(rule.needs) for rule in self._inner(view))

    def _credit(
        self,
        candidates: list[_Rule],
        view: NormalizedContent,
        tweet: Tweet,
        views: list[NormalizedContent],
    ) -> dict[TrackId, Match]:
        """The tracks whose alternatives this part really meets, each by its earliest."""
        earliest: dict[TrackId, int] = {}
        best: dict[TrackId, Match] = {}
        for rule in candidates:
            try:
                field = _meets(rule, view, tweet, views)
            except Exception as error:  # noqa: BLE001 - one bad track must not cost others tweets
                self._blame([follower for follower, _ in rule.followers], error)
                continue
            if field is None:
                continue
            for track_id, position in rule.followers:
                if track_id not in earliest or position < earliest[track_id]:
                    earliest[track_id] = position
                    best[track_id] = Match(track_id, rule.term, field, view.part)
        return best

    def _blame(self, track_ids: Iterable[TrackId], error: Exception) -> None:
        for track_id in track_ids:
            if track_id not in self.faults:
                logger.error("a track cannot be matched", exc_info=error, extra={"track": track_id})
                self.faults[track_id] = fault_reason(error)

    def _inner(self, view: NormalizedContent) -> list[_Rule]:
        """Alternatives with a word in this part."""
        rules: list[_Rule] = []
        words = self._words.keys() & self._words_of(view)
        if words:
            rules = [rule for word in words for rule in self._words[word]]
        # What is dense but not wide holds no dense characters but emoji.
        if view.dense and self._runs and (view.wide or self._runs.has_emoji):
            rules += self._runs.standing_in(view.dense_text())
        return rules

    def _words_of(self, view: NormalizedContent) -> Collection[str]:
        """At least those of its words that are tracked; all of them only when it is worth it."""
        if not view.wide or not self._wide_letters:
            return view.rough_words()
        if self._any_wide_letter is None:
            letters = "".join(map(re.escape, self._wide_letters))
            self._any_wide_letter = re.compile(f"[{letters}]")
        has_letter = self._any_wide_letter.search(view.blob.lower())
        return view.words() if has_letter else view.rough_words()

    def _outer(self, tweet: Tweet) -> list[_Rule]:
        """Alternatives that ask who wrote the tweet, where, or in which conversation."""
        rules = list(self._always)
        if self._handles or self._ids:
            rules += self._of_users(tweet)
        if self._conversations and tweet.conversation_id is not None:
            rules += self._conversations.get(tweet.conversation_id, ())
        if self._boxes and (where := area(tweet)) is not None:
            for box in geo.halves(where):
                rules += self._boxes.touching(box)
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


def _wide_letter(word: str) -> str:
    """A letter that a compared text has if it has this word."""
    return next(character for character in word if not character.isascii())


def _meets(
    rule: _Rule, view: NormalizedContent, tweet: Tweet, views: list[NormalizedContent]
) -> Field | None:
    needs = rule.needs
    # A single word has just been found; exactly, unless the view is wide.
    if (len(needs) > 1 or view.wide) and not view.has_words(needs):
        return None
    if rule.plain:
        return view.field_of(needs[0])
    return find(rule.node, view, tweet, views)


def fault_reason(error: Exception) -> str:
    """The reason for a track that fails because of an internal error."""
    return (
        f"An internal error stops this track ({type(error).__name__}:"
        f" {error}). Write it in another way, and report it; the log has the details."
    )
