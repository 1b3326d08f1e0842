"""ReLU, depthwise, pointwise: what DARTS' and DLSR's separable candidates repeat."""

from torch import nn


def relu_separable(
    in_channels: int, out_channels: int, kernel_size: int, stride: int, dilation: int
) -> list[nn.Module]:
    """The layers, without bias: (B, C_in, H, W) -> (B, C_out, H/stride, W/stride)."""
    padding = dilation * (kernel_size // 2)
    depthwise = nn.Conv2d(
        in_channels,
        in_channels,
        kernel_size,
        stride,
        padding,
        dilation,
        groups=in_channels,
        bias=False,
    )
    return [nn.ReLU(), depthwise, nn.Conv2d(in_channels, out_channels, 1, bias=False)]
