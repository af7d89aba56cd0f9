"""TrialResult on disk: one file per run, written atomically; and its provenance."""
