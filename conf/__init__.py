"""Hydra's config groups. They are a package, so an installed lrbench finds them too."""
