"""Search spaces, studies, samplers and pruners. The only room that knows Optuna."""
