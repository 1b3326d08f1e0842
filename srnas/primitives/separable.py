"""The ReLU, depthwise and pointwise convolution that DARTS' and DLSR's candidates repeat."""

from torch import nn

from srnas.primitives.depthwise import DepthwiseConv2d


def relu_separable(
    in_channels: int, out_channels: int, kernel_size: int, stride: int, dilation: int
) -> list[nn.Module]:
    """Build ReLU, depthwise convolution and pointwise convolution, both without bias.

    Args:
        in_channels: Channels of the input and of the depthwise convolution.
        out_channels: Channels of the output.
        kernel_size: Side of the depthwise kernel, odd.
        stride: Stride of the depthwise convolution.
        dilation: Dilation of the depthwise convolution.

    Returns:
        The three layers, which map (B, C_in, H, W) to (B, C_out, H/stride, W/stride).
    """
    depthwise = DepthwiseConv2d(in_channels, kernel_size, stride, dilation, bias=False)
    return [nn.ReLU(), depthwise, nn.Conv2d(in_channels, out_channels, 1, bias=False)]
