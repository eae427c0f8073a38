"""TotalSegmentator with its networks kept: each is loaded once, however many CTs follow.

Orientation, resampling, tiling, the join of the five networks and the way back to the CT's grid are the package's own
`nnUNet_predict_image`. It loads a network anew for every CT, and starts processes to prepare and to export it, inside
one function of its module; for the length of a call that function is ours, which asks nnU-Net's own predictor, kept in
memory, to do the same in this process. Its public entry, which counts and reports its use and downloads, is not used.

Not its way: checkpoints are read as tensors alone (nnU-Net unpickles whatever they hold), and cuDNN does not choose its
algorithms by timing them, so that equal CTs have equal maps.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from actors.organ_models import CONFIGURATION, PLANS, WEIGHTS_ENTRY, OrganModel, OrganModels
from models.tensor_file import CheckpointError, read_tensors

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the many packages they bring, for their authors
    import totalsegmentator.nnunet as package
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
    from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

_IMAGE = "_0000.nii.gz"
_ARCHITECTURES = "dynamic_network_architectures."


class TotalSegmentator:
    """Its task "total", resident. Not for several threads at a time."""

    def __init__(self, models: OrganModels, device: torch.device) -> None:
        """Raises `CheckpointError`: weights that are damaged, or do not fit their plans."""
        self._models, self._device = models, device
        self._predictors = {network.task_id: _load(network, device) for network in models.networks}
        torch.backends.cudnn.benchmark = False  # nnU-Net's predictor has switched it on
        torch.backends.cudnn.deterministic = True

    def __call__(self, ct: nib.Nifti1Image) -> NDArray[np.uint8]:
        """Version 2 ids on the grid of `ct` (HU, any orientation). Raises what torch, scipy and nnU-Net raise."""
        task_ids = [network.task_id for network in self._models.networks]
        with _in_place_of_loading(self._predict), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            segmented, _, _ = package.nnUNet_predict_image(
                ct,
                None,
                task_ids[0] if self._models.fast else task_ids,
                model=CONFIGURATION,
                folds=[0],
                trainer=self._models.networks[0].trainer,
                plans=PLANS,
                task_name="total",
                resample=self._models.spacing_mm,
                device=self._device,
                quiet=True,
            )
        return np.asarray(segmented.dataobj, np.uint8)

    def _predict(self, folder_in: Any, folder_out: Any, task_id: int, *_: Any, step_size: float, **__: Any) -> None:
        """`nnUNetv2_predict`: every *_0000.nii.gz of a folder to a segmentation of its own in the other.

        Named one by one: given a folder, nnU-Net lists it in forked processes, which in a Ray worker may never end.
        """
        predictor = self._predictors[task_id]
        predictor.tile_step_size = step_size
        images = sorted(Path(folder_in).glob(f"*{_IMAGE}"))
        made = [str(Path(folder_out) / image.name.removesuffix(_IMAGE)) for image in images]
        predictor.predict_from_files_sequential([[str(image)] for image in images], made)


@contextmanager
def _in_place_of_loading(predict: Callable[..., None]) -> Iterator[None]:
    loading = package.nnUNetv2_predict
    package.nnUNetv2_predict = predict
    try:
        yield
    finally:
        package.nnUNetv2_predict = loading


def _load(model: OrganModel, device: torch.device) -> Any:
    """nnU-Net's predictor as TotalSegmentator sets it up, with the network on the device."""
    dataset = json.loads(model.dataset.read_bytes())
    with package.nostdout(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "old plans format": TotalSegmentator's are
        plans, configuration, network = _network(model, dataset)
        predictor = nnUNetPredictor(use_mirroring=False, device=device, allow_tqdm=False)
    network.to(device)
    parameters = [network.state_dict()]  # which the predictor copies over themselves for every CT
    predictor.manual_initialization(network, plans, configuration, parameters, dataset, model.trainer, None)
    return predictor


def _network(model: OrganModel, dataset: dict[str, Any]) -> tuple[Any, Any, nn.Module]:
    """(plans, configuration, network with its weights). Raises `CheckpointError`."""
    weights = read_tensors(model.checkpoint, entry=WEIGHTS_ENTRY).tensors
    try:
        plans = PlansManager(json.loads(model.plans.read_bytes()))
        configuration = plans.get_configuration(CONFIGURATION)
        name = configuration.network_arch_class_name
        if not name.startswith(_ARCHITECTURES):
            raise CheckpointError(f"{model.plans} names the network {name}, which is none of nnU-Net's")
        network: nn.Module = get_network_from_plans(
            name,
            configuration.network_arch_init_kwargs,
            configuration.network_arch_init_kwargs_req_import,
            determine_num_input_channels(plans, configuration, dataset),
            plans.get_label_manager(dataset).num_segmentation_heads,
            allow_init=False,
            deep_supervision=False,
        )
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CheckpointError(f"{model.folder}: plans.json and dataset.json describe no network ({error})") from error
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"{model.checkpoint} does not fit its plans.json: {str(error)[:200]}") from error
    return plans, configuration, network.eval()
