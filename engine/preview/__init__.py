"""What came out of a run, to look at."""
