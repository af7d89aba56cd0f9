"""Named sweeps, shipped as a package so that they are found wherever lrbench is installed."""
