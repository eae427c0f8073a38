"""Networks: torch only. Knows neither Ray nor the engine, and no file but a checkpoint."""
