"""Which tracks a tweet belongs to."""

from stream.matcher.matcher import Matcher, fault_reason

__all__ = ["Matcher", "fault_reason"]
