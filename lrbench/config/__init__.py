"""From YAML to a TrialSpec. Reports every mistake in a config. The only room that knows Hydra."""
