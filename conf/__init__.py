"""Hydra's config groups, shipped as a package so that they are found wherever lrbench is installed."""
