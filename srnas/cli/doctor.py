"""`srnas doctor`: the state of this installation."""

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, requires, version

FOR_WORK_ON_SRNAS = {"dev", "docs", "test"}  # extras


def command() -> None:
    """Print versions, devices and missing packages."""
    import torch

    from srnas.version import __version__

    print(f"srnas {__version__}, Python {platform.python_version()}, {platform.platform()}")
    for package, extra in _declared().items():
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


def _declared() -> dict[str, str]:
    """Return the packages that srnas declares, each with its extra, marker or "required"."""
    try:
        lines = requires("srnas") or []
    except PackageNotFoundError:  # it runs from its folder
        return {}
    found: dict[str, str] = {}
    for line in lines:
        requirement, _, marker = line.partition(";")
        extra = re.search(r"extra == ['\"]([\w-]+)", marker)
        name = re.match(r"[\w.-]+", requirement)
        if name and not (extra and extra[1] in FOR_WORK_ON_SRNAS):
            found.setdefault(name[0], extra[1] if extra else marker.strip() or "required")
    return found
