"""Tasks: what networks are searched and trained for, one folder each.

A folder contains the task's options, data, losses and metrics, and a `Task` that is registered
here. It only has to be in this package to be found; no other module names it.
"""

from srnas.choice import Space
from srnas.components import Registry
from srnas.spaces import space_class
from srnas.tasks.base import Batches, Task

TASKS: Registry[Task] = Registry("task", packages=("srnas.tasks",), base=Task)


def task_class(name: str) -> type[Task]:
    """Return the class of a task; UserError if no task has this name."""
    found = TASKS[name]
    assert isinstance(found, type)
    return found


def task_of_space(space: str) -> type[Task]:
    """Return the task that a space is for; UserError if no space has this name."""
    return task_class(space_class(space).task)


def task_of(network: Space) -> type[Task]:
    """Return the task of a network."""
    return task_class(network.task)


__all__ = ["TASKS", "Batches", "Task", "task_class", "task_of", "task_of_space"]
