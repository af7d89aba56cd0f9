"""TrialSpec to TrialResult: `train_one` is the only training loop."""
