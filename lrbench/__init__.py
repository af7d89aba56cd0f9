"""Learning-rate schedulers, compared by experiments.

The commands, and the modules that every room may import (`spec`, `text`, `factors`, `signals`,
`command_line`), are directly in this package. Each room is a package with one job. A room imports
only rooms above it in this list:

- `config`: from YAML to a TrialSpec, and the error message for every mistake in a config
- `results`: a TrialResult on disk, and its provenance
- `schedules`: from a TrialSpec to a table of learning rates, and warnings about it
- `data`: images and labels as tensors, and batches of them
- `models`: the networks
- `training`: from a TrialSpec to a TrialResult; `train_one` is the only training loop
- `search`: search spaces and studies of the hyperparameters
- `executors`: the ways to train the runs of a sweep
- `analysis`: from results to numbers: intervals, tests and the ranking
- `reporting`: from numbers to pages and pictures
- `tracking`: from results to MLflow
- `catalogue`: the documentation of every scheduler
- `orchestration`: a sweep from its plan to its report
"""

__version__ = "0.2.0"
