"""The commands: each puts the parts of one job together."""
