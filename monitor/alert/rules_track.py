"""Rules about tracks, each against its own history. Only the leader has the facts for them."""

from collections.abc import Iterator

from monitor.alert.condition import Condition, Facts, TrackFact, View
from monitor.alert.words import clock, short, usual

HOUR = 3600.0
DAY = 86_400.0
SHORTEST_SILENCE = HOUR
ENOUGH_DAYS = 1.0  # of history
FEWEST_TWEETS = 200  # in an hour, of all tracks together, for a share to mean something
LEAST_USUAL = 1.0  # tweets an hour that a track counts as usual at least


def track_silent(view: View) -> Iterator[Condition]:
    """Nothing for so long that many tweets would have been usual, by its hours of the day."""
    if view.facts is None:
        return
    for track in view.facts.tracks:
        since = _listening_since(track, view.facts)
        if since is None or track.days < ENOUGH_DAYS:
            continue
        wait = view.facts.at - since
        missed = expected(track, since, view.facts.at)
        if wait >= SHORTEST_SILENCE and missed >= view.settings.alerts.track_silent_factor:
            last = since if track.last_at is None else track.last_at
            text = (
                f"Track {track.id} ({short(track.value)}) is silent: usually"
                f" {usual(track.per_hour)}, nothing since {clock(last, view.facts.at)}."
            )
            remedy = (
                f"See whether it is still what people write about: `twitterstream.py alert mute"
                f" track_silent --subject {track.id}` if so; other tracks do get tweets."
            )
            yield Condition("track_silent", str(track.id), "notice", text, remedy, missed)


def _listening_since(track: TrackFact, facts: Facts) -> float | None:
    """Since when it gets nothing although it could; None while no network delivers for it."""
    networks = facts.delivering if track.networks is None else track.networks
    able = [facts.delivering[each] for each in networks if each in facts.delivering]
    return max(track.last_at or 0.0, track.since, min(able)) if able else None


def expected(track: TrackFact, since: float, until: float) -> float:
    """How many tweets are usual between two moments, by the hours of the day (UTC)."""
    whole_days, rest = divmod(until - since, DAY)
    tweets = whole_days * sum(track.profile)
    at = until - rest
    while at < until:
        next_hour = min((at // HOUR + 1) * HOUR, until)
        tweets += track.profile[int(at // HOUR) % 24] * (next_hour - at) / HOUR
        at = next_hour
    return tweets


def track_runaway(view: View) -> Iterator[Condition]:
    """Most of the tweets, and many times what it usually gets."""
    facts, settings = view.facts, view.settings.alerts
    if facts is None or facts.history_days < ENOUGH_DAYS:
        return
    total = sum(
        count
        for outcomes in facts.outcomes.values()
        for name, count in outcomes.items()
        if name in ("stored", "unmatched")
    )
    if total < FEWEST_TWEETS:
        return
    for track in facts.tracks:
        percent = 100.0 * track.last_hour / total
        factor = track.last_hour / max(track.per_hour, LEAST_USUAL)
        if percent >= settings.runaway_percent and factor >= settings.runaway_factor:
            usually = usual(track.per_hour) if track.per_hour else "none"
            text = (
                f"Track {track.id} ({short(track.value)}) runs away: {track.last_hour:,} tweets in"
                f" the last hour, {min(percent, 100):.0f} % of all, usually {usually}."
            )
            remedy = (
                f"Pause it (`twitterstream.py track pause {track.id}`) or say more exactly what"
                " it shall follow; networks may charge for each post."
            )
            yield Condition("track_runaway", str(track.id), "warning", text, remedy, factor)
