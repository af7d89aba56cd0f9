"""Results to numbers: statistics and rankings."""
