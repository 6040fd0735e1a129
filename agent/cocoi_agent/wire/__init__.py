"""The protocol between a host and its agents, without input or output.

`limits` says how large things may be, `errors` what a peer can do wrong, `tensors`
how arrays are described, `fields` how header fields are checked, `messages` lists
every message, and `frames` turns messages into buffers and bytes into messages.
The words are specified in docs/protocol.md.
"""
