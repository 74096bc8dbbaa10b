"""Alert rules about tracks: refused, silent or runaway, each against its own history."""

from collections.abc import Iterator

from monitor.alert.condition import Condition, Facts, RuleContext
from monitor.alert.text import clock, short, usual
from stream.store.alert_facts import TrackFact

HOUR = 3600.0
DAY = 86_400.0
SILENCE_MIN = HOUR
HISTORY_MIN_DAYS = 1.0
TWEETS_MIN = 200  # of all tracks in an hour; a share of fewer means nothing
REFUSED_FOR = 600.0  # seconds; the track may be edited right now
USUAL_MIN = 1.0  # tweets an hour; the least that counts as usual


def tracks_refused(context: RuleContext) -> Iterator[Condition]:
    """Tracks were refused; the reason is in the row of each."""
    refused = context.now.tracks.get("refused", 0)
    if refused:
        text = (
            "1 track is refused, so nothing is collected for it."
            if refused == 1
            else f"{refused:,} tracks are refused, so nothing is collected for them."
        )
        remedy = (
            "See the reasons on the page Tracks or by `twitterstream.py track list`, and correct"
            " or remove them."
        )
        yield Condition("tracks_refused", "", "warning", text, remedy, float(refused), REFUSED_FOR)


def track_silent(context: RuleContext) -> Iterator[Condition]:
    """A track has had no tweets for so long that many would be usual at these hours of the day."""
    if context.facts is None:
        return
    for track in context.facts.tracks:
        since = _listening_since(track, context.facts)
        if since is None or track.days < HISTORY_MIN_DAYS:
            continue
        wait = context.facts.at - since
        missed = expected(track, since, context.facts.at)
        if wait >= SILENCE_MIN and missed >= context.settings.alerts.track_silent_factor:
            last = since if track.last_at is None else track.last_at
            text = (
                f"Track {track.id} ({short(track.value)}) is silent: nothing since"
                f" {clock(last, context.facts.at)}, usually {usual(track.per_hour)}."
            )
            remedy = (
                "Check whether people still use its words: the network delivers for other tracks."
                " If this is expected:"
                f" `twitterstream.py alert mute track_silent --subject {track.id}`."
            )
            yield Condition("track_silent", str(track.id), "notice", text, remedy, missed)


def _listening_since(track: TrackFact, facts: Facts) -> float | None:
    """Since when it could have got tweets; None while no network delivers for it."""
    networks = facts.delivering if track.networks is None else track.networks
    able = [facts.delivering[each] for each in networks if each in facts.delivering]
    return max(track.last_at or 0.0, track.since, min(able)) if able else None


def expected(track: TrackFact, since: float, until: float) -> float:
    """How many tweets are usual between two times, by the hours of the day (UTC)."""
    whole_days, rest = divmod(until - since, DAY)
    tweets = whole_days * sum(track.profile)
    at = until - rest
    while at < until:
        next_hour = min((at // HOUR + 1) * HOUR, until)
        tweets += track.profile[int(at // HOUR) % 24] * (next_hour - at) / HOUR
        at = next_hour
    return tweets


def track_runaway(context: RuleContext) -> Iterator[Condition]:
    """A track got most of all tweets, and many times its own average."""
    facts, settings = context.facts, context.settings.alerts
    if facts is None or facts.history_days < HISTORY_MIN_DAYS:
        return
    total = sum(
        count
        for outcomes in facts.outcomes.values()
        for name, count in outcomes.items()
        if name in ("stored", "unmatched")
    )
    if total < TWEETS_MIN:
        return
    for track in facts.tracks:
        percent = 100.0 * track.last_hour / total
        factor = track.last_hour / max(track.per_hour, USUAL_MIN)
        if percent >= settings.runaway_percent and factor >= settings.runaway_factor:
            usually = usual(track.per_hour) if track.per_hour else "none"
            text = (
                f"Track {track.id} ({short(track.value)}) got {track.last_hour:,} tweets in the"
                f" last hour, {min(percent, 100):.0f} % of all; usually {usually}."
            )
            remedy = (
                f"Pause it (`twitterstream.py track pause {track.id}`) or narrow it. Networks may"
                " charge for each post."
            )
            yield Condition("track_runaway", str(track.id), "warning", text, remedy, factor)
