"""How work grows with workers, and what Ray costs: see `benchmarks.scaling.__main__`."""
