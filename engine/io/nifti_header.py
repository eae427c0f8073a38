"""NIfTI-1 and NIfTI-2 headers: reading their meaning, and the bytes of an output's header.

An output keeps its source's header bit for bit, in the source's byte order, but for what may name a patient (the free
text fields and the extensions) and the offset of the voxels. A fourth dimension of one frame stays in the header, so
the output has the shape that the source has; the array in memory is 3-D.
"""

from __future__ import annotations

from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import DTypeLike

from engine.core.errors import VolumeError
from engine.core.geometry import Affine, Box, Grid, Shape3
from engine.io.decoded import spatial_shape

Header = Any  # nib.Nifti1Header, of which Nifti2Header is a kind; nibabel publishes no types

HEAD_BYTES = 544
"""Enough to parse either version: 540 and the flag of an extension."""

_FREE_TEXT = ("data_type", "db_name", "descrip", "aux_file", "intent_name", "unused_str")
_NO_EXTENSION = bytes(4)
_SPATIAL_UNITS = 0x07
_UNIT_NAMES = {1: "metres", 3: "micrometres"}
_FORMS_TOLERANCE_MM = 0.1


def parse_header(head: bytes) -> Header:
    """The header at the start of a file's content. Raises `VolumeError` where it is not a single-file NIfTI."""
    if not head:
        raise VolumeError("the file is empty")
    for order in "<>":
        match int(np.frombuffer(head[:4].ljust(4, b"\0"), order + "i4")[0]):
            case 348 if len(head) >= 348 and head[344:348] == b"n+1\0":
                return nib.Nifti1Header(head[:348], order, check=False)
            case 540 if len(head) >= 540 and head[4:8] == b"n+2\0":
                return nib.Nifti2Header(head[:540], order, check=False)
            case 348 if head[344:347] == b"ni1":
                raise VolumeError("is half of a two-file NIfTI (.hdr and .img); store it as one .nii.gz")
    raise VolumeError("is not a NIfTI file: its header has no NIfTI signature")


def shape_of(header: Header) -> Shape3:
    """(i, j, k). Raises `VolumeError` where there are not exactly three dimensions of more than one voxel."""
    ndim = int(header["dim"][0])
    if not 1 <= ndim <= 7:
        raise VolumeError(f"is not a valid NIfTI file: it claims {ndim} dimensions")
    return spatial_shape([int(d) for d in header["dim"][1 : ndim + 1]])


def dtype_of(header: Header) -> np.dtype[Any]:
    """On-disk dtype with its byte order. Raises `VolumeError` unless real numbers of at most 64 bits."""
    code = int(header["datatype"])
    try:
        dtype: np.dtype[Any] = header.get_data_dtype()
    except (HeaderDataError, KeyError):
        raise VolumeError(f"its voxel type has the unknown code {code}") from None
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        label = nib.nifti1.data_type_codes.label[code]
        raise VolumeError(
            f"its voxels are of the unsupported type '{label}'; integers and floats up to 64 bits are read"
        )
    return dtype


def scaling_of(header: Header) -> tuple[float, float]:
    """(slope, intercept), 1 and 0 where unscaled: a slope of 0 or NaN switches both off, as the standard has it."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or np.isnan(slope):
        return 1.0, 0.0
    if not np.isfinite([slope, intercept]).all():
        raise VolumeError(f"its scaling is not finite (scl_slope {slope:g}, scl_inter {intercept:g})")
    return slope, intercept


def is_placed(header: Header) -> bool:
    """Whether sform or qform say where the volume lies."""
    return bool(header["sform_code"] > 0 or header["qform_code"] > 0)


def grid_of(header: Header, forms: str) -> Grid:
    """sform where it is coded, else qform, else the zooms (then placed as nibabel does: centred, x to the left).

    `forms` is `input.forms`. With "agree", `VolumeError` where SimpleITK would see another grid than nibabel: the
    corners more than 0.1 mm apart by sform and qform, or by sform and pixdim. A sheared sform is not compared, for it
    has no equal among qforms.
    """
    unit = int(header["xyzt_units"]) & _SPATIAL_UNITS
    if unit in _UNIT_NAMES:
        raise VolumeError(f"gives its voxel size in {_UNIT_NAMES[unit]}; millimetres are needed")
    shape = shape_of(header)
    header = _with_valid_pixdim(header)
    sform = header.get_sform(coded=True)[0]
    qform = _qform(header)
    if qform is not None and (forms == "qform" or sform is None):
        return Grid(shape, qform)
    grid = Grid(shape, header.get_base_affine() if sform is None else sform)
    if sform is not None and forms == "agree" and grid.is_orthogonal:
        _require_agreement(grid, qform, header["pixdim"][1:4].astype(float))
    return grid


def _with_valid_pixdim(header: Header) -> Header:
    """Signs of pixdim as every reader takes them: sizes are positive, a qfac that is not -1 is 1."""
    header = header.copy()
    header["pixdim"][1:4] = np.abs(header["pixdim"][1:4])
    header["pixdim"][0] = -1 if header["pixdim"][0] < 0 else 1
    return header


def _qform(header: Header) -> Affine | None:
    try:
        qform: Affine | None = header.get_qform(coded=True)[0]
    except (HeaderDataError, ValueError) as error:
        raise VolumeError(f"its qform is not a rotation ({error})") from None
    return qform


def _require_agreement(grid: Grid, qform: Affine | None, pixdim_mm: Affine) -> None:
    corners = Box.whole(grid.shape).corners()

    def apart_mm(affine: Affine) -> float:
        offset = (affine - grid.affine)[:3]
        return float(np.linalg.norm(corners @ offset[:, :3].T + offset[:, 3], axis=1).max())

    if qform is not None and not apart_mm(qform) <= _FORMS_TOLERANCE_MM:
        raise VolumeError(
            f"sform and qform place its corners {apart_mm(qform):.2f} mm apart; "
            "say which one to follow with input.forms: sform | qform"
        )
    by_pixdim = grid.affine.copy()
    by_pixdim[:3, :3] = grid.directions * pixdim_mm
    if not apart_mm(by_pixdim) <= _FORMS_TOLERANCE_MM:
        theirs, ours = (" x ".join(f"{s:g}" for s in sizes) for sizes in (pixdim_mm, np.round(grid.spacing_mm, 6)))
        raise VolumeError(
            f"its voxel size is {theirs} mm in pixdim but {ours} mm in the sform; "
            "follow the sform with input.forms: sform"
        )


def output_header(header: Header) -> bytes:
    """The bytes before the voxels of an output: header and empty extension flag."""
    header = header.copy()
    for name in _FREE_TEXT:
        if name in header.structarr.dtype.names:
            header[name] = b""
    header["vox_offset"] = header.sizeof_hdr + len(_NO_EXTENSION)
    return bytes(header.binaryblock) + _NO_EXTENSION


def new_header(grid: Grid, dtype: DTypeLike) -> bytes:
    """A NIfTI-1 header for an unscaled volume, sform and qform alike with code 1."""
    header = nib.Nifti1Header()
    header.set_data_dtype(np.dtype(dtype))
    header.set_data_shape(grid.shape)
    header.set_slope_inter(1, 0)
    header.set_xyzt_units("mm")
    _place(header, grid, code=1)
    return output_header(header)


def placed_header(head: bytes, grid: Grid) -> bytes:
    """The same header on another grid, sform and qform alike."""
    header = parse_header(head)
    header["dim"][1:4] = grid.shape
    _place(header, grid, code=int(max(header["sform_code"], header["qform_code"], 1)))
    return output_header(header)


def crop_header(head: bytes, box: Box) -> bytes:
    """The header of the voxels in `box`: their shape, and the origin of each coded form moved along.

    The crop of a volume that says nothing about its place is given the place that `grid_of` assumes.
    """
    header = parse_header(head)
    shape, forms = shape_of(header), _with_valid_pixdim(header)
    header["dim"][1:4] = box.shape
    if not is_placed(header):
        _place(header, Grid(shape, forms.get_base_affine()).crop(box), code=1)
        return output_header(header)
    if header["sform_code"] > 0:
        origin_mm = Grid(shape, forms.get_sform()).crop(box).affine[:3, 3]
        for row, value in zip(("srow_x", "srow_y", "srow_z"), origin_mm, strict=True):
            header[row][3] = value
    if header["qform_code"] > 0:
        origin_mm = Grid(shape, forms.get_qform()).crop(box).affine[:3, 3]
        for field, value in zip(("qoffset_x", "qoffset_y", "qoffset_z"), origin_mm, strict=True):
            header[field] = value
    return output_header(header)


def label_header(head: bytes) -> bytes:
    """The header of a uint8 label on the same grid: unscaled, no display range."""
    header = parse_header(head)
    header.set_data_dtype(np.uint8)
    header["scl_slope"], header["scl_inter"] = 1, 0
    header["cal_min"], header["cal_max"] = 0, 0
    return output_header(header)


def _place(header: Header, grid: Grid, *, code: int) -> None:
    header.set_qform(grid.affine, code)
    header.set_sform(grid.affine, code)
