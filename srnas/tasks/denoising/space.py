"""A search space around DnCNN.

Zhang, Zuo, Chen, Meng, Zhang: Beyond a Gaussian Denoiser: Residual Learning of Deep CNN for Image
Denoising, IEEE Transactions on Image Processing, 2017. Its inner convolutions are open to search.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch.nn.functional as F
from annotated_types import MinLen
from torch import Tensor, nn

from srnas.choice import Builder, Space
from srnas.components import Channels, Depth
from srnas.primitives.sr import SR_PRIMITIVES
from srnas.spaces import SPACES
from srnas.spaces.published import named_candidates

CANDIDATES = (  # in the order of the logits
    "conv_3x3_bn",
    "conv_5x5_bn",
    "ds_conv_3x3_bn",
    "ds_conv_5x5_bn",
    "dil_ds_conv_3x3_bn",
    "dil_ds_conv_5x5_bn",
)


@SPACES.register("dncnn")
class DnCNN(Space):
    """A stack of searched convolutions that predicts the noise (DnCNN).

    The network: a convolution, `num_block` pairs of searched convolutions, and a convolution whose
    output, the noise, is subtracted from the input. ReLU follows every convolution but the last.

    Choices: c1 and c2, the convolutions of a pair, shared by all pairs. With conv_3x3_bn for both
    it is DnCNN for colour images; its published depth is `num_block` = 9.

    Args:
        num_feat: Number of channels.
        num_block: Number of pairs.
        candidates: Candidates at each position, names of `SR_PRIMITIVES`; by default six with
            BatchNorm.
    """

    task: ClassVar[str] = "denoising"
    published: ClassVar[Mapping[str, Any]] = {"c1": "conv_3x3_bn", "c2": "conv_3x3_bn"}

    def __init__(
        self,
        choose: Builder,
        *,
        num_feat: Channels = 64,
        num_block: Depth = 9,
        candidates: Annotated[list[str], MinLen(1)] | None = None,
    ) -> None:
        super().__init__()
        offered = named_candidates(SR_PRIMITIVES, candidates or CANDIDATES)
        self.head = nn.Conv2d(3, num_feat, 3, padding=1)
        self.body = nn.ModuleList(
            choose.op(label, offered, num_feat, num_feat)
            for _ in range(num_block)
            for label in ("c1", "c2")
        )
        self.tail = nn.Conv2d(num_feat, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map noisy to denoised images, (B, 3, H, W) RGB in [0, 1], not clipped."""
        features = F.relu(self.head(x))
        for layer in self.body:
            features = F.relu(layer(features))
        return x - self.tail(features)
