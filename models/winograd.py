"""3x3x3 convolutions with half the products: Winograd's minimal filtering F(4, 3) along x, direct along z and y.

Lavin & Gray 2016, section 4.1 (arXiv:1509.09308). Four outputs in a row come of six inputs d and three taps g as
A [(G g) * (B d)], six products instead of twelve; the products are 3x3x1 convolutions. In float32 the result is two
to four times as far from the exact one as that of a direct convolution: 1e-6 to 3e-6 of its norm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_TILE, _SEEN = 4, 6  # outputs, and the inputs that they see

MIN_CHANNELS = 64
"""Below, the sums before and after cost more than the products saved."""
MIN_VOXELS = 2048
"""The same for the taps, which are transformed anew in each convolution."""


def pays(conv: nn.Conv3d, depth: int, height: int, width: int) -> bool:
    """Whether a convolution of that many voxels is faster so: in float32 on a processor, which autocast makes bfloat16.

    bfloat16 has not the digits for the sums.
    """
    weight = conv.weight
    wide = min(conv.in_channels, conv.out_channels) >= MIN_CHANNELS and depth * height * width >= MIN_VOXELS
    exact = weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return wide and exact and weight.device.type == "cpu"


def transformed(weight: Tensor) -> list[Tensor]:
    """G g: taps (o i 3 3 3) -> six of (o i 3 3 1)."""
    first, middle, last = weight.unbind(4)
    ends = first + last
    far = first / 24 + last / 6
    taps = (
        first / 4,
        (ends + middle) / -6,
        (ends - middle) / -6,
        far + middle / 12,
        far - middle / 12,
        last,
    )
    return [tap.unsqueeze(4).contiguous(memory_format=torch.channels_last_3d) for tap in taps]


def padding(width: int) -> tuple[int, int]:
    """Zeros before and behind a row of `width` voxels: one each, and what its last tile lacks."""
    return 1, 1 - width % -_TILE


def convolve(x: Tensor, taps: Sequence[Tensor], bias: Tensor | None) -> Tensor:
    """(b i z+2 y x) -> (b o z y x'): padded by one along y, not along z; along x padded by `padding`, without which it
    would be x' - 2 wide. Of a row, what lies beyond its width is no result. `taps` are those of `transformed`.
    """
    width = x.shape[4] - 2
    d0, d1, d2, d3, d4, d5 = (x[..., n : n + width - _TILE + 1 : _TILE] for n in range(_SEEN))
    even, odd = torch.sub(d4, d2, alpha=4), torch.sub(d3, d1, alpha=4)
    even_2, odd_2 = d4 - d2, d3 - d1
    seen: Sequence[Callable[[], Tensor]] = (
        lambda: torch.add(even_2, d0 - d2, alpha=4),
        lambda: even + odd,
        lambda: even - odd,
        lambda: torch.add(even_2, odd_2, alpha=2),
        lambda: torch.sub(even_2, odd_2, alpha=2),
        lambda: torch.sub(d5 - d3, odd_2, alpha=4),
    )  # each is needed once, and made then
    # the second product is in every output once: so is the bias
    m0, m1, m2, m3, m4, m5 = (
        F.conv3d(part(), tap, bias if n == 1 else None, padding=(0, 1, 0))
        for n, (part, tap) in enumerate(zip(seen, taps, strict=True))
    )
    near, far, near_odd, far_odd = m1 + m2, m3 + m4, m1.sub_(m2), m3.sub_(m4)
    y = torch.empty((*m0.shape[:4], width), dtype=m0.dtype, memory_format=torch.channels_last_3d)
    torch.add(m0.add_(near), far, out=y[..., 0::_TILE])
    torch.add(near_odd, far_odd, alpha=2, out=y[..., 1::_TILE])
    torch.add(near, far, alpha=4, out=y[..., 2::_TILE])
    torch.add(m5.add_(near_odd), far_odd, alpha=8, out=y[..., 3::_TILE])
    return y
