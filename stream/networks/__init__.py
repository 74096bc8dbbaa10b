"""The networks: one package each, with the same interface (`base.Network`), and their registry.

`plan(followed, settings)`  pure: what this network is asked for, and what it cannot do for a track
`decode(body)`              pure: sanitized bytes of one frame → Message, or errors.Reject
`client(source, settings)`  the client: connect, keep the filter equal to the plan

A new network is one package here and one line in `stream.networks.registry`.
"""
