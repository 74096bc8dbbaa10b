"""The networks: one package each, with the same three doors, and the table of them.

`plan(followed, settings)`  pure: what this network is asked for, and what it cannot do for a track
`decode(body)`              pure: mended bytes of one frame → Message, or errors.Reject
`client(source, settings)`  the conversation with the network: connect, change what is followed

A new network is one package here and one line in `stream.networks.table`.
"""
