"""`srnas doctor`: the state of this installation."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = {
    "required": [
        "torch",
        "torchvision",
        "opencv-python",
        "scikit-image",
        "pydantic",
        "safetensors",
    ],
    "basicsr": ["basicsr"],
    "export": ["onnx", "onnxscript", "onnxruntime"],
    "pyiqa": ["pyiqa"],
    "test": ["pytest"],
}


def command() -> None:
    """Print versions, devices and missing packages."""
    import torch

    import srnas

    print(f"srnas {srnas.__version__}, Python {platform.python_version()}, {platform.platform()}")
    for extra, packages in PACKAGES.items():
        for package in packages:
            try:
                print(f"  {package} {version(package)}")
            except PackageNotFoundError:
                print(f"  {package} is missing ({extra})")
    print(f"CPU: {os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads")
    if not torch.cuda.is_available():
        print("CUDA: none; device auto is the CPU")
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        print(f"CUDA {index}: {properties.name}, {properties.total_memory / 2**30:.0f} GiB")
