"""Executors, which train runs: in this process or in local worker processes."""
