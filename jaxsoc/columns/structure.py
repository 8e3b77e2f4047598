"""Which pools hang together: the order in which a column can be solved."""

from typing import NamedTuple

from jaxsoc.models.column import AbstractColumnModel, Transfers


class Group(NamedTuple):
    """Pools that feed each other; each group is fed by those before it alone."""

    pools: tuple[str, ...]
    linear: bool


def groups(model: AbstractColumnModel, transfers: Transfers) -> tuple[Group, ...]:
    """The pools of a model, in groups that feed each other, upstream first.

    Two pools belong together when carbon goes round from one to the other and back;
    pools that take part in a process which is not linear belong together, too.
    """
    names = model.pools._fields
    feeds: dict[str, set[str]] = {name: set() for name in names}
    for receiver, process in transfers:
        feeds[model.processes[process]].add(receiver)
    nonlinear = [p for n, p in model.processes.items() if n not in model.linear]
    for one in nonlinear:
        feeds[one] |= set(nonlinear)
    reach = {name: _reach(name, feeds) for name in names}
    together = lambda a, b: a == b or (a in reach[b] and b in reach[a])
    left, ordered = list(names), []
    while left:
        first = next(n for n in left if not _fed(n, left, reach))
        members = tuple(n for n in left if together(n, first))
        ordered.append(Group(members, not set(members) & set(nonlinear)))
        left = [n for n in left if n not in members]
    return tuple(ordered)


def _fed(name, others, reach):
    """Whether another group among these feeds the pool."""
    return any(name in reach[m] and m not in reach[name] for m in others)


def _reach(start, feeds):
    found, ahead = set(), [start]
    while ahead:
        for name in feeds[ahead.pop()] - found:
            found.add(name)
            ahead.append(name)
    return found
