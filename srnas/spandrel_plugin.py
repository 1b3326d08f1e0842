"""srnas's super-resolution networks for programs that load models with spandrel.

    import spandrel
    import srnas.spandrel_plugin

    srnas.spandrel_plugin.install()
    model = spandrel.ModelLoader().load_from_file("model.safetensors")

Nothing but the model file is needed: its tensor `srnas.model_file.NETWORK` describes the
network. Older files, without this tensor, get it from `save_model(path, load_model(path))`. The
module needs the extra `srnas[spandrel]`.
"""

from spandrel import (
    MAIN_REGISTRY,
    Architecture,
    ArchRegistry,
    ArchSupport,
    ImageModelDescriptor,
    SizeRequirements,
    StateDict,
    UnsupportedModelError,
)
from spandrel.util import KeyCondition

from srnas.model_file import NETWORK, load_state
from srnas.spaces.kinds import SuperResolutionSpace


class SRNASArch(Architecture[SuperResolutionSpace]):  # type: ignore[misc]  # spandrel has no types
    """The networks of all super-resolution spaces, identified by their description."""

    def __init__(self) -> None:
        super().__init__(id="SRNAS", detect=KeyCondition.has_all(NETWORK))

    def load(self, state_dict: StateDict) -> ImageModelDescriptor[SuperResolutionSpace]:
        """Rebuild the network of a model file.

        Args:
            state_dict: All tensors of the file; they are not changed.

        Returns:
            The network from RGB in [0, 1], (1, 3, H, W), to (1, 3, scale*H, scale*W), tagged with
            its space and its choices. Its descriptor pads images that are too small for the
            network, and clips the output to [0, 1].

        Raises:
            UserError: The description is broken, or of another network.
            UnsupportedModelError: The network is for another task.
        """
        model = load_state(state_dict)
        network = model.network
        if not isinstance(network, SuperResolutionSpace):
            raise UnsupportedModelError(
                f"space {model.space.name!r} is for {network.task}; spandrel gets networks for "
                f"{SuperResolutionSpace.task} from srnas"
            )
        return ImageModelDescriptor(
            network,
            network.state_dict(),
            architecture=self,
            purpose="SR",
            tags=[
                model.space.name,
                *(str(model.genotype).split() if model.genotype.choices else ()),
            ],
            supports_half=True,
            supports_bfloat16=True,
            scale=network.scale,
            input_channels=3,
            output_channels=3,
            size_requirements=SizeRequirements(minimum=network.min_size),
        )


def install(registry: ArchRegistry = MAIN_REGISTRY) -> None:
    """Make srnas's model files known to spandrel; a second call changes nothing.

    They are detected before all architectures that the registry has.

    Args:
        registry: Where to add the architecture; by default for every `spandrel.ModelLoader`.
    """
    others = tuple(support.architecture.id for support in registry)
    registry.add(ArchSupport.from_architecture(SRNASArch(), others), ignore_duplicates=True)
