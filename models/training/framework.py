"""Lightning, imported where it is trained with and not before.

torchmetrics, which it brings, imports torchvision where that is installed; see `models.openclip` for what becomes of it
beside a CPU-only torch. Whoever imports lightning itself has to import this module before.
"""

from __future__ import annotations

import importlib.util
import warnings

from models.openclip import import_torchvision

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its own dependencies, for its authors
    if importlib.util.find_spec("torchvision") is not None:
        import_torchvision()
    try:
        import lightning
        from lightning import LightningModule
        from lightning.pytorch.utilities.types import OptimizerLRScheduler
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"training needs lightning; '{error.name}' is not installed (pip install 'lesionforge[training]')",
            name=error.name,
        ) from error

__all__ = ["LightningModule", "OptimizerLRScheduler", "lightning"]
