"""The data plane: numpy, pyarrow and Ray Data; never torch."""

__version__ = "0.1.0"
