"""Ways of choosing a configuration at equal cost, on recorded learning curves: ``python -m benchmarks.arena``."""
