"""Plain networks of 3x3 convolutions on part of the channels: PlainUSR and its relatives.

Wang, Li, Wang, Liu: PlainUSR: Chasing Faster ConvNet for Efficient Super-Resolution, ACCV 2024
(arXiv:2409.13435), after its released code.
"""

import copy
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from annotated_types import Interval, MaxLen, MinLen
from torch import Tensor, nn

from srnas.choice import Builder, OpChoice, Place, Primitive
from srnas.choice.channels import ChannelSet, Slice
from srnas.choice.depth import Repeated, WeightedDepths
from srnas.choice.width import Channels as Stated
from srnas.components import Channels, OneOrEach
from srnas.diagram import Diagram
from srnas.errors import UserError, counted
from srnas.primitives.attention import AttentionPrimitive
from srnas.primitives.reparameterized import Reparameterized, merge_convolutions
from srnas.spaces import SPACES
from srnas.spaces.kinds import SuperResolutionSpace, in_float32
from srnas.spaces.plain_parts import RGB, Block, Piece, concatenate, head, tail, take
from srnas.spaces.plain_weights import is_authors, read_options, rename

FOLD = 2  # side of the squares of pixels that `unshuffle` makes one pixel of

Blocks = Annotated[int, Interval(ge=1, le=256)]
Convs = Annotated[int, Interval(ge=1, le=8)]
Attention = Literal["none", "lia", "gate", "span", "spanv2"]


@SPACES.register("plain")
class Plain(SuperResolutionSpace):
    """Blocks of 3x3 convolutions that each act on the first channels only (PlainUSR).

    The network: a convolution to the channels of the features and three that start as the image; a
    block for each of `widths`, which replaces as many of the first channels; a convolution of all
    channels, and pixel shuffle. At first the output is the nearest pixel of the image, plus what
    the random weights add.

    Choices, as far as the options open them: feat; block1/width, block1/hidden, block1/convs and
    block1/attention, and those of the other blocks. `docs/spaces.md` has the options of the
    published networks.

    Args:
        scale: Scale factor.
        num_feat: Number of channels beside the image's; by default the largest width.
        widths: Number of channels that each block acts on; by default those of PlainUSR-S.
        convs: Number of convolutions of the blocks, or a list with that of each one.
        attention: Attention that ends the blocks, or a list with that of each one: "none"; "lia",
            local importance; "gate", by a convolution; "span", without parameters; "spanv2", by a
            1x1 convolution.
        attention_feat: Number of channels that "lia" pools.
        reparameterize: Form in which the convolutions of blocks are trained: "none", plain;
            "rep_mbconv" (PlainUSR), "ecb" (ECBSR), "conv3xc" (SPAN). Model files have plain ones.
        unshuffle: Whether the first convolution makes one pixel of 2x2 (pixel unshuffle), so that
            features have a quarter of the pixels. The image then has twelve channels.
        search_widths: Widths that are open to search for each block. `widths` are then those of the
            network without a genotype; the following likewise.
        search_feat: Numbers of channels beside the image's that are open to search. A block acts on
            as many of its channels as there are.
        search_hidden: Numbers of channels between the convolutions of a block that are open to
            search for each block, as far as it has so many. They need `reparameterize: none`.
        search_convs: Numbers of convolutions that are open to search for each block.
        search_blocks: Numbers of blocks, the first ones, that are open to search.
        search_attention: Attentions that are open to search for each block.
    """

    published: ClassVar[Mapping[str, Any]] = {}
    trained_as: ClassVar[str | None] = "rep_mbconv"

    def __init__(
        self,
        choose: Builder,
        *,
        scale: Literal[2, 3, 4] = 2,
        num_feat: Channels | None = None,
        widths: Annotated[list[Channels], MinLen(1), MaxLen(256)] = [32, 16, 8, 16, 32],  # noqa: B006
        convs: OneOrEach[Convs] = 2,
        attention: OneOrEach[Attention] = "lia",
        attention_feat: Channels = 4,
        reparameterize: Literal["none", "rep_mbconv", "ecb", "conv3xc"] = "none",
        unshuffle: bool = False,
        search_widths: Annotated[list[Channels], MinLen(1)] | None = None,
        search_feat: Annotated[list[Channels], MinLen(1)] | None = None,
        search_hidden: Annotated[list[Channels], MinLen(1)] | None = None,
        search_convs: Annotated[list[Convs], MinLen(1)] | None = None,
        search_blocks: Annotated[list[Blocks], MinLen(1)] | None = None,
        search_attention: Annotated[list[Attention], MinLen(1)] | None = None,
    ) -> None:
        super().__init__()
        self.scale, self.unshuffle = scale, unshuffle
        largest = max([*widths, *(search_widths or ())])
        num_feat = num_feat or largest
        if largest > num_feat:
            raise UserError(
                f"space plain: widths has {largest}, but num_feat is {num_feat}; give the largest "
                "width or more"
            )
        if search_hidden and reparameterize != "none":
            raise UserError("space plain: search_hidden needs reparameterize: none")
        fold = FOLD if unshuffle else 1
        self.stream = _stream(choose, num_feat, search_feat, widths)
        self.repeats = _blocks(choose, len(widths), search_blocks)
        self.channels = self.stream.channels + RGB * fold**2
        self.head = head(self.channels, fold)
        table: dict[str, Primitive] = {
            name: AttentionPrimitive(name, attention_feat) for name in search_attention or ()
        }
        stated = zip(
            widths,
            _for_each(widths, convs, "convs"),
            _for_each(widths, attention, "attention"),
            strict=True,
        )
        blocks = []
        for number, (width, count, name) in enumerate(stated, 1):
            own = _width(choose, number, width, search_widths)
            wide = min(own.channels, self.stream.channels)
            depth = _depth(choose, number, count, search_convs, wide)
            hidden = _hidden(choose, number, wide, search_hidden)
            if table:
                place = Place(f"block{number}", "attention")
                last = choose.add(OpChoice(place, table, wide, wide, splits=False))
            else:
                last = AttentionPrimitive(name, attention_feat).build(wide, 0)
            if number <= self.repeats.count:
                blocks.append(Block(self.stream, own, hidden, depth, last, reparameterize))
        self.blocks = nn.ModuleList(blocks)
        self.min_size = fold * (max(block.min_size for block in blocks) - 1) + 1
        self.upsample = tail(self.channels, scale, fold)

    def forward(self, x: Tensor) -> Tensor:
        """Map LR (B, 3, H, W) to SR (B, 3, scale*H, scale*W), RGB in [0, 1], not clipped."""
        features = self._masked(in_float32(self.head, x))
        if isinstance(self.repeats, WeightedDepths):
            steps = [partial(self._through, [block]) for block in self._parts]
            features = self.repeats(features, steps)
        else:
            features = self._through(self._parts, features)
        y = in_float32(self.upsample, features)
        if self.unshuffle:  # an odd side has been rounded up
            y = _crop(y, self.scale * x.shape[2], self.scale * x.shape[3])
        return y

    def _through(self, blocks: Sequence[Block], x: Tensor) -> Tensor:
        """Apply blocks to the features (B, channels, H, W)."""
        pieces: list[Piece] = [(self.channels, x)]
        for block in blocks:
            first, others = take(pieces, block.channels)
            pieces = [(block.channels, block(first)), *others]
        return concatenate([piece for _, piece in pieces])

    @property
    def _parts(self) -> list[Block]:
        return [block for block in self.blocks if isinstance(block, Block)]

    def _masked(self, y: Tensor) -> Tensor:
        """Weigh the channels beside the image's, where their number is open in a supernet."""
        if isinstance(self.stream, Stated):
            return y
        feat = self.stream.channels
        return torch.cat([self.stream(y[:, :feat]), y[:, feat:]], dim=1)

    @classmethod
    def published_choices(cls, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the choices that the options state, where they are open."""
        widths = options["widths"]
        feat = options.get("num_feat") or max([*widths, *(options["search_widths"] or ())])
        stated = {"feat": feat} if options["search_feat"] else {}
        stated |= {"blocks": len(widths)} if options["search_blocks"] else {}
        return stated | {
            f"block{number}/{label}": value
            for label, value_of, search in (
                ("width", "widths", "search_widths"),
                ("hidden", "widths", "search_hidden"),
                ("convs", "convs", "search_convs"),
                ("attention", "attention", "search_attention"),
            )
            if options[search]
            for number, value in enumerate(_for_each(widths, options[value_of], value_of), 1)
        }

    @classmethod
    def opened(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Open fewer channels between the blocks, and in them, and fewer convolutions."""
        largest = options["num_feat"] or max(options["widths"])
        step = 8 if largest > 32 else max(1, largest // 8)
        convs = options["convs"] if isinstance(options["convs"], list) else [options["convs"]]
        hidden = {*range(2 * step, largest, 2 * step), *options["widths"]}
        return {
            "num_feat": largest,
            "reparameterize": "none",
            "search_feat": [*range(2 * step, largest, step), largest],
            "search_hidden": sorted(hidden),
            "search_convs": list(range(1, max(convs) + 1)),
        }

    @classmethod
    def scope(cls, label: str) -> str | None:
        """Return the network, or the block; what goes into it must stay as wide as it is."""
        group, _, name = label.rpartition("/")
        if name in ("feat", "width", "blocks"):
            return "" if name == "feat" else None
        return f"blocks.{int(group.removeprefix('block')) - 1}"

    def channel_cuts(self, choices: Mapping[str, Any]) -> list[tuple[ChannelSet, int]]:
        """Return the channels that are passed on through the network, and those in the blocks."""
        feat: int = self.stream.channels
        kept = choices.get("feat", feat)
        blocks = self._parts
        cuts = []
        ends = sorted({block.channels for block in blocks} | {feat})
        for first, end in pairwise([0, *ends]):
            made, read = [Slice(_conv_of(self.head, "head"), first)], [Slice("upsample.0", first)]
            for index, block in enumerate(blocks):
                if block.channels > first:
                    makes, reads = block.ends(_own(choices, index))
                    made += [Slice(f"blocks.{index}.{name}", first) for name in makes]
                    read += [Slice(f"blocks.{index}.{name}", first) for name in reads]
            gated = first == 0 and any(block.gated for block in blocks)
            channels = ChannelSet(end - first, tuple(made), tuple(read), fixed=int(gated))
            cuts.append((channels, min(max(kept - first, 0), end - first)))
        for index, block in enumerate(blocks):
            own = _own(choices, index)
            width = min(own.get("hidden", block.inner), own.get("width", block.channels), kept)
            for before, after in block.gaps(own):
                made, read = ([Slice(f"blocks.{index}.{name}")] for name in (before, after))
                channels = ChannelSet(block.inner, tuple(made), tuple(read))
                cuts.append((channels, min(width, block.inner)))
        return cuts

    def repeated(self, label: str) -> list[str]:
        """Return the convolutions of a block."""
        name = self.scope(label)
        return [
            f"{name}.convs.{n}"
            for n in range(len([*self.get_submodule(f"{name}.convs").children()]))
        ]

    def merge(self) -> dict[str, Any]:
        """Make plain convolutions of those in a form for training; see `Space.merge`."""
        merge_convolutions(self)
        return {"reparameterize": "none"}

    @classmethod
    def draw(cls, options: Mapping[str, Any], choices: Mapping[str, Any]) -> list[Diagram]:
        """Draw the blocks with their widths."""
        diagram = Diagram("The blocks, with the number of channels that each replaces")
        before = diagram.add(
            "head", "unshuffle, conv 3x3" if options["unshuffle"] else "conv 3x3", "end"
        )
        blocks = len(options["widths"])
        for index, width in enumerate(options["widths"][: choices.get("blocks", blocks)]):
            convs, attention = (
                (value if isinstance(value, list) else [value] * blocks)[index]
                for value in (options["convs"], options["attention"])
            )
            own, feat = _own(choices, index), choices.get("feat", width)
            stated = {"width": width, "hidden": width, "convs": convs, "attention": attention}
            found = stated | own
            kind = "fixed" if found == stated and feat >= width else "found"
            wide = min(found["width"], feat)
            through = min(found["hidden"], wide)
            inner = f" through {through}" if through < wide and found["convs"] > 1 else ""
            ends = "" if found["attention"] == "none" else f", {found['attention']}"
            text = f"{wide}: {found['convs']} conv 3x3{inner}{ends}"
            before = diagram.add(f"block{index}", text, kind, [before])
        before = diagram.add("tail", "conv 3x3", "fixed", [before])
        diagram.add("y", "pixel shuffle", "end", [before])
        return [diagram]

    @classmethod
    def published_options(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return the options of the network that a weight file belongs to.

        Attentions without parameters leave no trace. The authors' files have none of these; of
        others `attention` is not returned if a block has no parameters of one.
        """
        return read_options(cls.from_published(state), authors=is_authors(state))

    @classmethod
    def from_published(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename the tensors of the authors' weight files; others are returned as they are."""
        return rename(state) if is_authors(state) else dict(state)

    def adapt_weights(
        self, state: Mapping[str, Tensor], made_with: Mapping[str, Any]
    ) -> dict[str, Tensor]:
        """Let the forms for training adopt the plain convolutions of a state, exactly.

        Raises:
            UserError: A convolution has another number of channels.
        """
        adapted = dict(state)
        for name, module in self.named_modules():
            kernel, bias = (adapted.get(f"{name}.{key}") for key in ("weight", "bias"))
            if isinstance(module, Reparameterized) and kernel is not None and bias is not None:
                form = copy.deepcopy(module).cpu()
                channels = form.kernel_and_bias()[0].shape
                if kernel.shape != channels:
                    raise UserError(
                        f"{name}.weight is {tuple(kernel.shape)}, this network needs "
                        f"{tuple(channels)}; check the options of the space"
                    )
                form.adopt(adapted.pop(f"{name}.weight"), adapted.pop(f"{name}.bias"))
                adapted |= {f"{name}.{key}": tensor for key, tensor in form.state_dict().items()}
        return adapted


def _width(choose: Builder, number: int, width: int, searched: list[int] | None) -> Any:
    if not searched:
        return Stated(width)
    widths = sorted(set(searched))
    return choose.width(Place(f"block{number}", "width"), widths, lambda w: 18.0 * w * w)


def _depth(
    choose: Builder, number: int, count: int, searched: list[int] | None, channels: int
) -> Any:
    if not searched:
        return Repeated(count)
    counts = sorted(set(searched))
    return choose.depth(
        Place(f"block{number}", "convs"), counts, lambda d: 9.0 * d * channels * channels
    )


def _blocks(choose: Builder, count: int, searched: list[int] | None) -> Any:
    if not searched:
        return Repeated(count)
    if max(searched) > count:
        raise UserError(
            f"space plain: search_blocks has {max(searched)}, but widths has {count}; give numbers "
            "up to that"
        )
    return choose.depth(Place.of("blocks"), sorted(set(searched)))


def _stream(
    choose: Builder, num_feat: int, searched: list[int] | None, widths: Sequence[int]
) -> Any:
    if not searched:
        return Stated(num_feat)
    if max(searched) > num_feat:
        raise UserError(
            f"space plain: search_feat has {max(searched)}, but num_feat is {num_feat}; give "
            "numbers up to that"
        )

    def cost(feat: int) -> float:
        return 45.0 * feat + sum(18.0 * min(width, feat) ** 2 for width in widths)

    return choose.width(Place.of("feat"), sorted(set(searched)), cost)


def _hidden(choose: Builder, number: int, width: int, searched: list[int] | None) -> Any:
    if not searched:
        return Stated(width)
    values = sorted(set(searched))
    return choose.width(
        Place(f"block{number}", "hidden"), values, lambda h: 18.0 * width * min(h, width)
    )


def _own(choices: Mapping[str, Any], index: int) -> dict[str, Any]:
    """Return the choices of a block, without its name."""
    group = f"block{index + 1}/"
    return {k.removeprefix(group): v for k, v in choices.items() if k.startswith(group)}


def _conv_of(module: nn.Module, name: str) -> str:
    return name if isinstance(module, nn.Conv2d) else f"{name}.1"


def _for_each(widths: Sequence[int], value: Any, option: str) -> list[Any]:
    """Return the value of an option for each block; UserError if it is a list of another length."""
    if not isinstance(value, list):
        return [value] * len(widths)
    if len(value) != len(widths):
        raise UserError(
            f"space plain: {option} has {counted(len(value), 'value')}, widths has {len(widths)}; "
            "give one for each block, or a single value for all"
        )
    return value


def _crop(y: Tensor, height: int, width: int) -> Tensor:
    """Return the first rows and columns of (B, C, H, W)."""
    if torch.compiler.is_exporting():  # which cannot prove that they are not more than y has
        return F.pad(y, (0, width - y.shape[3], 0, height - y.shape[2]))
    return y[:, :, :height, :width]
