"""open_clip's parts, imported when a text tower is built and not before: they take seconds, and torchvision with them.

PyPI's torchvision for Linux is built for CUDA. Beside a CPU-only torch its compiled half cannot be loaded; it is made
to live without, but for two fake kernels that it registers unasked, so that `import torchvision`, and open_clip with
it, ends with "operator torchvision::nms does not exist". Naming the two operators first is enough: the text tower needs
none of them. Where torchvision works, nothing is done. The decision falls in the process that imports, so it holds in
workers as it does in the driver.
"""

from __future__ import annotations

import importlib
import warnings
from functools import cache
from types import ModuleType

import torch

_UNGUARDED_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


@cache
def _name_operators() -> torch.library.Library:
    """Signatures without kernels: calling one still fails. They live as long as the library object, hence the cache."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for signature in _UNGUARDED_OPERATORS:
        library.define(signature)
    return library


def import_torchvision() -> None:
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        _name_operators()
        importlib.import_module("torchvision")


@cache
def open_clip() -> ModuleType:
    """The package, with `hf_model` and `tokenizer` loaded. Raises ModuleNotFoundError, saying what to install."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the image models it brings, for their authors
        try:
            import_torchvision()
            importlib.import_module("open_clip.hf_model")
            importlib.import_module("open_clip.tokenizer")
            return importlib.import_module("open_clip")
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"the text tower needs open_clip_torch, torchvision and transformers; '{error.name}' is not installed "
                "(pip install 'lesionforge[networks]')",
                name=error.name,
            ) from error
