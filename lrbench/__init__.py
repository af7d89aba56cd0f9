"""Learning-rate schedulers, compared by experiments.

The commands and the nouns that all rooms share (`spec`, `text`, `factors`, `cli`) are modules of
this package. Each room is a package with one job. In the order in which data flows:

- `config`: from YAML to a TrialSpec, and the error message for every mistake in a config
- `results`: a TrialResult on disk, and where it comes from
- `schedules`: from a TrialSpec to a table of learning rates, and warnings about it
- `data`: images and labels as tensors, and batches of them
- `models`: the networks
- `training`: from a TrialSpec to a TrialResult; `train_one` is the only training loop
- `search`: search spaces and studies of the hyperparameters
- `executors`: where the runs of a sweep are trained
- `analysis`: from results to numbers: intervals, tests and the ranking
- `reporting`: from numbers to pages and pictures
- `tracking`: from results to MLflow
- `orchestration`: a sweep from its plan to its report
"""

__version__ = "0.2.0"
