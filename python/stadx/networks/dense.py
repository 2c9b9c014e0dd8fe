"""`dense_features`: the descriptor of every pixel, by the fastest way that serves."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Literal, get_args

import torch
from torch import Tensor

from .border import computed_pixels
from .engine import INPUT_LIMIT, Engine, Workspace, engine_for, watched_weights
from .padding import pad_images, padded_positions
from .patch_network import PatchNetwork, dense_features_padded
from .plan import plan_axis
from .windows import ImageRows, padded_window

Method = Literal["auto", "winograd", "direct"]


def dense_features(
    net: PatchNetwork, images: Tensor, *, stride: int = 1, method: Method = "auto", inside: bool = False
) -> Tensor:
    """The descriptor of the p x p patch centred at every pixel, or at every stride-th.

    Equal to cropping every patch out of the padded image and calling `net` on it, at a small share of the cost.
    For float32 on the CPU without gradients the native engine does it with Winograd convolutions; its error against
    float64 is below 1e-4 (root mean square) and 1e-3 (maximum) of the descriptors' standard deviation. Else it is
    composed of PyTorch's own convolutions, several times slower.

    A network that was just made asks for gradients, as every PyTorch module does, and so takes the slow way. Where none
    are needed call this under `torch.no_grad()`, or freeze the network once: `net.requires_grad_(False)`. Networks of
    model files and `load_teacher` are frozen. `method="winograd"` raises where it would be slow, and says why.

    Args:
        net: the patch network; its `padding` continues the image beyond its border.
        images: normalised images [B, 3, H, W], any H, W >= 1, in the dtype of `net`.
        stride: a power of two; pixels (stride · i, stride · j) are computed. The cost falls nearly with its square up
            to the pools' own (1, 4 and 8 for p = 17, 33, 65); beyond that only the last layer gets cheaper.
        method: "auto"; "winograd", the engine or an error; "direct", PyTorch's convolutions.
        inside: only the pixels whose patch lies within the image, see `computed_pixels`.

    Returns:
        Descriptors [B, d, ⌈H / stride⌉, ⌈W / stride⌉], or of fewer pixels, channels innermost in memory.

    Raises:
        ValueError: if `images` is not [B, 3, H, W] with H, W >= 1, if `stride` or `method` is unknown, or if
            "winograd" cannot serve.
    """
    if images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape[2:]:
        raise ValueError(f"images have shape {list(images.shape)}, expected [B, 3, H, W] with H, W >= 1")
    check_stride(stride)
    height, width = images.shape[2:]
    row, column = computed_pixels(height, width, net.patch_size, inside, stride)
    engines = engines_for([net], images, method) if len(images) else []
    if not engines:
        padded, reach = pad_images(images, net.patch_size // 2, net.padding), net.patch_size - 1
        part = padded[:, :, row.begin : row.end + reach, column.begin : column.end + reach]
        return dense_features_padded(net, part)[:, :, ::stride, ::stride]
    (engine,) = engines
    rows = plan_axis(engine.layers, height, row.begin, row.end, stride)
    columns = plan_axis(engine.layers, width, column.begin, column.end, stride)
    with torch.no_grad():
        part = images  # the padded images' positions that the plans name
        for dim, plan in ((2, rows), (3, columns)):
            index = padded_positions(plan.begin, plan.end, images.shape[dim], net.patch_size // 2, net.padding)
            part = part.index_select(dim, index.clamp_min(0))
            if net.padding == "zeros":
                part = part * (index >= 0).view(-1, *(1,) * (3 - dim))
        maps = [engine.descriptors(window, rows, columns) for window in part.permute(0, 2, 3, 1).contiguous()]
        return (maps[0][None] if len(maps) == 1 else torch.stack(maps)).permute(0, 3, 1, 2)


@torch.no_grad()
def describe(
    net: PatchNetwork,
    image: ImageRows,
    rows: tuple[int, int],
    columns: tuple[int, int],
    workspace: Workspace | None = None,
) -> Tensor:
    """The descriptors of some of an image's pixels as `dense_features` gives them, on the network's device.

    Args:
        net: a patch network, float32.
        image: RGB, uint8 or floating in [0, 1].
        rows, columns: ranges of pixels; the engine's bits do not depend on them.
        workspace: the engine's memory, if there are more of them to come.

    Returns:
        float32 [h, w, d].
    """
    margin, device = net.patch_size // 2, next(net.parameters()).device
    engines = engines_for([net], None, "auto")
    if not engines:
        reach = net.patch_size - 1
        ranges = (rows[0], rows[1] + reach), (columns[0], columns[1] + reach)
        window = padded_window(image, *ranges, margin, net.padding, device)
        return dense_features_padded(net, window.permute(2, 0, 1)[None])[0].permute(1, 2, 0)
    (engine,) = engines
    row, column = plan_axis(engine.layers, image.height, *rows), plan_axis(engine.layers, image.width, *columns)
    window = padded_window(image, (row.begin, row.end), (column.begin, column.end), margin, net.padding)
    return engine.descriptors(window, row, column, workspace)


def check_stride(stride: int) -> None:
    """Raise ValueError unless `stride` is 1, 2, 4, …"""
    if isinstance(stride, bool) or not isinstance(stride, Integral) or stride < 1 or stride & (stride - 1):
        raise ValueError(f"stride is {stride!r}; it must be 1, 2, 4 or another power of two")


def check_method(method: str) -> None:
    """Raise ValueError for an unknown method."""
    if method not in get_args(Method):
        raise ValueError(f"method is {method!r}; choose one of {get_args(Method)}")


def engine_serves(networks: Sequence[PatchNetwork], images: Tensor | None, method: Method) -> bool:
    """Whether to use the engine for these networks, and images if they are not known to be in [0, 1].

    Raises:
        ValueError: if it cannot serve, and the method is "winograd".
    """
    check_method(method)
    if method == "direct":
        return False
    obstacle = next(filter(None, (_obstacle(net, images) for net in networks)), None)
    if obstacle and method == "winograd":
        raise ValueError(f"the Winograd engine cannot serve here: {obstacle}; use method='auto' or 'direct'")
    return obstacle is None


def engines_for(networks: Sequence[PatchNetwork], images: Tensor | None, method: Method) -> list[Engine]:
    """The engines of these networks, whose weights are compared once; none where they do not serve.

    Raises:
        ValueError: as `engine_serves`.
    """
    with watched_weights():
        return [engine_for(net) for net in networks] if engine_serves(networks, images, method) else []


def _obstacle(net: PatchNetwork, images: Tensor | None) -> str | None:
    """Why the engine cannot serve, if so."""
    tensors = [*net.parameters(), *([] if images is None else [images])]
    if any(t.device.type != "cpu" or t.dtype != torch.float32 for t in tensors):
        return "image and network must be float32 on the CPU"
    if torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
        return "compilation and autocast are for PyTorch's convolutions"
    if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
        return "it has no gradient; freeze the network (net.requires_grad_(False)), or call it under torch.no_grad()"
    if images is not None and not bool(images.abs().amax() <= INPUT_LIMIT):
        return f"the images are not finite or exceed {INPUT_LIMIT:g}, where its error grows"
    return None if engine_for(net).is_accurate(net) else "its error for these weights exceeds the limits"
