"""The documentation of every scheduler: its card, curve, code and measured results."""
