"""The masks of a category's test images, as large as its maps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from stadx.data.images import image_size
from stadx.data.layouts.category import TestImage
from stadx.data.masks import read_mask
from stadx.data.roi import nearest


def masks_of(images: Sequence[TestImage], height: int, width: int) -> Tensor:
    """bool [N, height, width]; images without a mask are good all over."""
    masks = torch.zeros(len(images), height, width, dtype=torch.bool)
    for number, item in enumerate(images):
        if item.mask is not None:
            mask = read_mask(item.mask, image_size(item.path), item.path)
            masks[number] = nearest(torch.from_numpy(mask), (height, width))
    return masks
