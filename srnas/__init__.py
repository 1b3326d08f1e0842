"""srnas: differentiable architecture search for small super-resolution networks."""

__version__ = "0.1.0"
