"""Learning-rate schedulers, compared by experiments."""

__version__ = "0.1.0"
