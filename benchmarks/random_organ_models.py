"""TotalSegmentator's weights folder with random networks in it: its names, its files, its classes, not its knowledge.

Nothing that these networks segment is an organ; what it costs to load and to run them, and whether two ways of running
them agree, can be seen all the same. plans.json is of the kind that TotalSegmentator's are: written by a version of
nnU-Net that did not yet name the architecture.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager
from totalsegmentator.map_tasks_config import TASK_CONFIGS, TASK_ID_WEIGHTS_CONFIGS
from totalsegmentator.map_to_binary import class_map, class_map_5_parts, map_taskid_to_partname_ct

_PLANS, _CONFIGURATION = "nnUNetPlans", "3d_fullres"


def write_models(weights: Path, *, fast: bool, width: int = 4, stages: int = 3, patch: int = 48) -> None:
    """The networks of task "total" below `weights`: PlainConvUNets of `width` features, doubled from stage to stage."""
    mode: dict[str, Any] = TASK_CONFIGS["total"]["sub_modes"]["fast" if fast else "default"]
    task_ids = [mode["task_id"]] if fast else mode["task_id"]
    for task_id in task_ids:
        name = str(TASK_ID_WEIGHTS_CONFIGS[task_id]["foldername"])
        classes = class_map["total"] if fast else class_map_5_parts[map_taskid_to_partname_ct[task_id]]
        folder = weights / name / f"{mode['trainer']}__{_PLANS}__{_CONFIGURATION}"
        (folder / "fold_0").mkdir(parents=True)
        configuration = _configuration(mode["resample"], width, stages, patch)
        (folder / "plans.json").write_text(json.dumps(_plans(name, configuration)))
        (folder / "dataset.json").write_text(json.dumps(_dataset(name, classes)))
        checkpoint = _checkpoint(configuration, mode["trainer"], outputs=len(classes) + 1, seed=task_id)
        torch.save(checkpoint, folder / "fold_0" / "checkpoint_final.pth")


def _dataset(name: str, classes: dict[int, str]) -> dict[str, Any]:
    return {
        "name": name,
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, **{organ: number for number, organ in classes.items()}},
        "numTraining": 1559,
        "file_ending": ".nii.gz",
        "overwrite_image_reader_writer": "NibabelIOWithReorient",
    }


def _plans(name: str, configuration: dict[str, Any]) -> dict[str, Any]:
    intensities = {
        "max": 3000,
        "mean": -50,
        "median": 30,
        "min": -1024,
        "percentile_00_5": -1004,
        "percentile_99_5": 1588,
    }
    return {
        "dataset_name": name,
        "plans_name": _PLANS,
        "original_median_spacing_after_transp": configuration["spacing"],
        "original_median_shape_after_transp": configuration["median_image_size_in_voxels"],
        "image_reader_writer": "NibabelIOWithReorient",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {_CONFIGURATION: configuration},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": {**intensities, "std": 450}},
    }


def _configuration(spacing_mm: float, width: int, stages: int, patch: int) -> dict[str, Any]:
    resampling = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    return {
        "data_identifier": f"{_PLANS}_{_CONFIGURATION}",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": [patch] * 3,
        "median_image_size_in_voxels": [110.0] * 3,
        "spacing": [spacing_mm] * 3,
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        "UNet_class_name": "PlainConvUNet",
        "UNet_base_num_features": width,
        "n_conv_per_stage_encoder": [2] * stages,
        "n_conv_per_stage_decoder": [2] * (stages - 1),
        "num_pool_per_axis": [stages - 1] * 3,
        "pool_op_kernel_sizes": [[1, 1, 1], *[[2, 2, 2]] * (stages - 1)],
        "conv_kernel_sizes": [[3, 3, 3]] * stages,
        "unet_max_num_features": 320,
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": resampling,
        "resampling_fn_seg_kwargs": {**resampling, "is_seg": True, "order": 1},
        "resampling_fn_probabilities_kwargs": {**resampling, "order": 1},
        "batch_dice": False,
    }


def _checkpoint(configuration: dict[str, Any], trainer: str, *, outputs: int, seed: int) -> dict[str, Any]:
    """What nnU-Net's trainer saves at the end, numbers of numpy in its log included."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Detected old nnU-Net plans format")
        read = ConfigurationManager(json.loads(json.dumps(configuration)))  # which names the architecture
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = get_network_from_plans(
            read.network_arch_class_name,
            read.network_arch_init_kwargs,
            read.network_arch_init_kwargs_req_import,
            1,
            outputs,
            deep_supervision=True,
        )
    return {
        "network_weights": network.state_dict(),
        "optimizer_state": {"state": {}, "param_groups": []},
        "grad_scaler_state": None,
        "logging": {"mean_fg_dice": [np.float64(0.9)], "epoch_start_timestamps": [0.0]},
        "_best_ema": np.float64(0.9),
        "current_epoch": 4000,
        "init_args": {"configuration": _CONFIGURATION, "fold": 0},
        "trainer_name": trainer,
        "inference_allowed_mirroring_axes": None,
    }
