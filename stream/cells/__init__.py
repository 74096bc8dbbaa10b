"""Several databases that share the tweets: reading them as one, and what they need of home."""
