"""Look-backs: finds posts from before a track existed, in a process of its own."""
