"""The rules by name. README's table of alerts has a line for each."""

from collections.abc import Mapping

from monitor.alert.condition import Rule

_MINUTE = 60.0

RULES: Mapping[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule("disk_full_soon", "a disk will be full soon", 60 * _MINUTE, asks=True),
        Rule("disk_low", "little disk left", 2 * _MINUTE),
        Rule("cpu_high", "the processor is busy", 5 * _MINUTE),
        Rule("memory_high", "memory is short", 5 * _MINUTE),
        Rule("loop_lag", "the program is held up", 10 * _MINUTE),
        Rule("journal_lag", "tweets wait to be stored", 2 * _MINUTE),
        Rule("journal_full", "collecting has paused: no room", 2 * _MINUTE, "source"),
        Rule("database_away", "the database is away", _MINUTE),
        Rule("source_silent", "a source is silent", 2 * _MINUTE, "source"),
        Rule("source_refused", "credentials are refused", 2 * _MINUTE, "source"),
        Rule("source_clock", "the clock is wrong", 2 * _MINUTE, "source"),
        Rule("source_plan", "the plan does not allow it", 2 * _MINUTE, "source"),
        Rule("source_quota", "the quota is spent", 2 * _MINUTE, "source"),
        Rule("source_failed", "a source has failed", 2 * _MINUTE, "source"),
        Rule("reject_share", "many messages cannot be stored", 15 * _MINUTE, "source", asks=True),
        Rule("unmatched_share", "many tweets match no track", 15 * _MINUTE, "source", asks=True),
        Rule("track_silent", "a track is silent", 5 * _MINUTE, "all", asks=True),
        Rule("track_runaway", "a track runs away", 30 * _MINUTE, "all", asks=True),
        Rule("archive_failed", "archiving fails", _MINUTE, "all", asks=True),
        Rule("chore_failed", "housekeeping fails", _MINUTE),
        Rule("key_file", "a key or certificate", _MINUTE),
        Rule("standby_took_over", "the standby has taken over", _MINUTE, once=True),
        Rule("restart_loop", "the daemon restarts again and again", 60 * _MINUTE, asks=True),
    )
}
