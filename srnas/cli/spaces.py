"""`srnas spaces`: the search spaces."""


def command() -> None:
    """List the search spaces: task, description and options of each."""
    from srnas.spaces import SPACES, space_class

    width = max(len(name) for name in SPACES)
    for name in SPACES:
        space = space_class(name)
        about = (space.__doc__ or "").strip().splitlines()[0]
        print(f"{name:{width}}  {space.task}: {about}")
        print(f"{'':{width}}  options: {', '.join(SPACES.options_of(name))}")
