"""Points that a mask's loss is taken at: most of them where the mask is uncertain.

As PointRend (arXiv 1912.08193, section 3.1) and Mask2Former (arXiv 2112.01527, section 3.3.3) draw
them. A point is (x, y) in cells of the decoder's grid, counted from its top left corner, so the
first cell's centre is (0.5, 0.5). Shapes: M masks of h x w cells, P points of each.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def sample_points(values: Tensor, points: Tensor) -> Tensor:
    """Interpolate masks (M, h, w) linearly between the centres of cells.

    Args:
        values: float.
        points: (M, P, 2) float, x and y.

    Returns:
        (M, P) float; beyond the outermost centres the values are those of the centres.
    """
    height, width = values.shape[-2:]
    size = points.new_tensor([width, height])
    grid = (2 * points / size - 1)[:, :, None]
    found = F.grid_sample(
        values[:, None], grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    return found[:, 0, :, 0]


@torch.no_grad()
def draw_points(
    logits: Tensor, extents: Tensor, count: int, oversample: float, importance: float
) -> Tensor:
    """Draw points of each mask within its picture.

    Of `oversample` times as many even points the most uncertain, whose logits are nearest to 0, are
    `importance` of the result; the others are drawn evenly again. The numbers come from torch's
    generator of the CPU, whatever the device: a run seeds it for every step.

    Args:
        logits: (M, h, w) float.
        extents: (M, 2) int64, rows and columns of the grid that show the picture.
        count: P.
        oversample: at least 1.
        importance: in 0..1.

    Returns:
        (M, P, 2) float32.
    """
    span = extents.flip(-1)[:, None].to(torch.float32)

    def even(number: int) -> Tensor:
        drawn = torch.rand(len(logits), number, 2).to(logits.device) * span
        # No nearer to the edge than the outermost centres: beyond them padding would be mixed in.
        return drawn.clamp_min(0.5).minimum(span - 0.5)

    candidates = even(int(count * oversample))
    distance = sample_points(logits, candidates).abs()
    kept = int(count * importance)
    index = distance.topk(kept, dim=1, largest=False).indices
    uncertain = candidates.gather(1, index[..., None].expand(-1, -1, 2))
    return torch.cat([uncertain, even(count - kept)], dim=1)
