"""Points that a mask's loss is computed at: most of them where the mask is uncertain.

As sampled by PointRend (arXiv 1912.08193, section 3.1) and Mask2Former (arXiv 2112.01527, section
3.3.3). A point is (x, y) in cells of the decoder's grid, counted from its top left corner, so the
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
    # grid_sample wants -1 and 1 at the outer edges of the grid, which align_corners=False means.
    grid = (2 * points / size - 1)[:, :, None]
    sampled = F.grid_sample(
        values[:, None], grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    return sampled[:, 0, :, 0]


@torch.no_grad()
def uncertain_points(
    logits: Tensor, extents: Tensor, count: int, oversample: float, importance: float
) -> Tensor:
    """Sample points of each mask within its image, most of them uncertain.

    Of `oversample` * P uniform points the most uncertain, whose logits are nearest to 0, make up
    `importance` of the result; the rest are new uniform points.

    Args:
        logits: (M, h, w) float.
        extents: (M, 2) int64, rows and columns of the grid that show the image.
        count: P.
        oversample: candidates for each point, at least 1.
        importance: share of uncertain points, in [0, 1].

    Returns:
        (M, P, 2) float32, x and y.
    """
    # No gradient here: which points are chosen is not differentiable, only the loss at them is.
    span = extents.flip(-1)[:, None].to(torch.float32)

    def uniform(number: int) -> Tensor:
        # From torch's CPU generator on every device: a run seeds it in each step, so the points
        # are the same after a resumption and on another device.
        points = torch.rand(len(logits), number, 2).to(logits.device) * span
        # No nearer to the edge than the outermost centres: beyond them padding would be mixed in.
        return points.clamp_min(0.5).minimum(span - 0.5)

    candidates = uniform(int(count * oversample))
    distance = sample_points(logits, candidates).abs()
    chosen = int(count * importance)
    index = distance.topk(chosen, dim=1, largest=False).indices
    uncertain = candidates.gather(1, index[..., None].expand(-1, -1, 2))
    return torch.cat([uncertain, uniform(count - chosen)], dim=1)
