"""Lesions that are known, as networks are shown them in training."""
