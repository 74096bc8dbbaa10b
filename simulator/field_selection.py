"""Selects the fields and expansions that a v2 client requested (X v2 reference §5)."""

from collections.abc import Mapping
from typing import cast

import msgspec

from simulator.payload import Json

_FIELDS = {
    "tweet.fields": (
        "article attachments author_id card_uri community_id context_annotations conversation_id"
        " created_at display_text_range edit_controls edit_history_tweet_ids entities geo id"
        " in_reply_to_user_id lang media_metadata note_tweet paid_partnership possibly_sensitive"
        " public_metrics referenced_tweets reply_settings scopes source text withheld"
        " non_public_metrics organic_metrics promoted_metrics suggested_source_links"
    ),
    "expansions": (
        "author_id referenced_tweets.id referenced_tweets.id.author_id"
        " referenced_tweets.id.attachments.media_keys in_reply_to_user_id attachments.media_keys"
        " attachments.poll_ids attachments.media_source_tweet geo.place_id"
        " entities.mentions.username entities.note.mentions.username edit_history_tweet_ids"
        " article.cover_media article.media_entities"
    ),
    "user.fields": (
        "affiliation confirmed_email connection_status created_at description entities id"
        " is_identity_verified location most_recent_tweet_id name parody pinned_tweet_id"
        " profile_banner_url profile_image_url protected public_metrics receives_your_dm"
        " subscription subscription_type url username verified verified_followers_count"
        " verified_type withheld"
    ),
    "media.fields": (
        "media_key type url preview_image_url alt_text duration_ms height width public_metrics"
        " variants non_public_metrics organic_metrics promoted_metrics"
    ),
    "place.fields": "full_name id country country_code geo name place_type contained_within",
    "poll.fields": "id options duration_minutes end_datetime voting_status",
}
_KNOWN = {name: frozenset(values.split()) for name, values in _FIELDS.items()}
_ENTERPRISE = frozenset(("backfill_minutes", "start_time", "end_time"))

_TWEET = frozenset(("id", "text", "edit_history_tweet_ids"))
_OTHERS: dict[str, tuple[str, frozenset[str]]] = {
    "users": ("user.fields", frozenset(("id", "name", "username"))),
    "media": ("media.fields", frozenset(("media_key", "type"))),
    "places": ("place.fields", frozenset(("id", "full_name"))),
    "tweets": ("tweet.fields", _TWEET),
}
# An expansion includes the field that it expands.
_EXPANDED_FIELDS = {
    "author_id": "author_id",
    "referenced_tweets.id": "referenced_tweets",
    "in_reply_to_user_id": "in_reply_to_user_id",
    "attachments.media_keys": "attachments",
    "geo.place_id": "geo",
    "entities.mentions.username": "entities",
}


class BadParameter(ValueError):
    """An unknown parameter or value of a request."""

    def __init__(self, name: str, value: str, message: str) -> None:
        super().__init__(message)
        self.name = name
        self.value = value
        self.message = message


class Selection(msgspec.Struct, frozen=True):
    """The fields and expansions of one connection."""

    fields: Mapping[str, frozenset[str]]
    expansions: frozenset[str]

    def project(self, payload: Json) -> Json:
        """The payload with only the requested parts; missing values are omitted, not null."""
        data = cast("Json", payload["data"])
        result: Json = {"data": _only(data, self.fields["tweets"] | self._expanded_fields())}
        full = cast("Mapping[str, list[Json]]", payload.get("includes", {}))
        includes = {}
        for kind, wanted in self._included(data, full).items():
            items = [
                _only(item, self.fields[kind])
                for item in full.get(kind, [])
                if str(item.get("media_key", item.get("id"))) in wanted
            ]
            if items:
                includes[kind] = items
        if includes:
            result["includes"] = includes
        return result

    def _expanded_fields(self) -> frozenset[str]:
        return frozenset(
            _EXPANDED_FIELDS[name] for name in self.expansions if name in _EXPANDED_FIELDS
        )

    def _included(self, data: Json, full: Mapping[str, list[Json]]) -> dict[str, set[str]]:
        """The ids that the expansions include, by kind."""
        wanted: dict[str, set[str]] = {kind: set() for kind in _OTHERS}
        tweets = {str(tweet["id"]): tweet for tweet in full.get("tweets", [])}
        references = cast("list[Json]", data.get("referenced_tweets", []))
        referenced = [str(reference["id"]) for reference in references]
        asked = self.expansions
        if "referenced_tweets.id" in asked:
            wanted["tweets"].update(referenced)
        if "author_id" in asked:
            wanted["users"].add(str(data.get("author_id")))
        if "referenced_tweets.id.author_id" in asked:
            wanted["users"].update(str(tweets.get(n, {}).get("author_id")) for n in referenced)
        if "in_reply_to_user_id" in asked:
            wanted["users"].add(str(data.get("in_reply_to_user_id")))
        if "entities.mentions.username" in asked:
            entities = cast("dict[str, list[Json]]", data.get("entities", {}))
            wanted["users"].update(str(m.get("id")) for m in entities.get("mentions", []))
        if "attachments.media_keys" in asked:
            wanted["media"].update(_media_keys(data))
        if "referenced_tweets.id.attachments.media_keys" in asked:
            for number in referenced:
                wanted["media"].update(_media_keys(tweets.get(number, {})))
        if "geo.place_id" in asked:
            wanted["places"].add(str(cast("Json", data.get("geo", {})).get("place_id")))
        return wanted


def read_selection(query: Mapping[str, str]) -> Selection:
    """Parse the query string of a stream request; BadParameter for unknown names or values."""
    asked: dict[str, frozenset[str]] = {}
    for name, value in query.items():
        if name in _ENTERPRISE:
            raise BadParameter(name, value, f"The parameter [{name}] needs another access level.")
        if name not in _KNOWN:
            raise BadParameter(name, value, f"The query parameter [{name}] is unknown.")
        values = frozenset(value.split(","))
        for unknown in sorted(values - _KNOWN[name]):
            raise BadParameter(name, unknown, f"The `{name}` value [{unknown}] does not exist.")
        asked[name] = values
    nothing: frozenset[str] = frozenset()
    fields = {kind: base | asked.get(name, nothing) for kind, (name, base) in _OTHERS.items()}
    return Selection(fields, asked.get("expansions", nothing))


def _only(item: Json, fields: frozenset[str]) -> Json:
    return {key: value for key, value in item.items() if key in fields}


def _media_keys(tweet: Json) -> list[str]:
    return cast("dict[str, list[str]]", tweet.get("attachments", {})).get("media_keys", [])
