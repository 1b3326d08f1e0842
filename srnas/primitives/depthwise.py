"""Depthwise convolution."""

from torch import Tensor, nn

from srnas.fast.depthwise import depthwise_conv2d


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution with zero padding that keeps the size at stride 1.

    Parameters, outputs and gradients (also of higher order) are those of `nn.Conv2d` with
    groups=channels; only the time of the backward pass on a CPU differs.

    Args:
        channels: Channels of the input and the output.
        kernel_size: Side of the kernel, odd.
        stride: Stride.
        dilation: Dilation.
        bias: Whether there is a bias.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int,
        stride: int = 1,
        dilation: int = 1,
        bias: bool = True,
    ) -> None:
        padding = dilation * (kernel_size // 2)
        super().__init__(
            channels, channels, kernel_size, stride, padding, dilation, groups=channels, bias=bias
        )

    def forward(self, input: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H/stride, W/stride)."""
        return depthwise_conv2d(input, self.weight, self.bias, self.stride[0], self.dilation[0])
