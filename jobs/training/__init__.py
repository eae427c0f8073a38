"""A training on Ray Train: what its driver does, and what its workers do."""
