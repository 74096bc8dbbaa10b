"""The control plane in one file: what people set up, and the history of it, without the tweets."""
