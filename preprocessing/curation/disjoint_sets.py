"""Disjoint sets of the integers 0..number-1 (union-find)."""


class DisjointSets:
    """Sets that start with one member each and only ever grow together."""

    def __init__(self, number: int):
        self._parents = list(range(number))
        self._sizes = [1] * number

    def root(self, member: int) -> int:
        """Returns the member that stands for the set of `member`."""
        parents = self._parents
        while parents[member] != member:
            parents[member] = parents[parents[member]]
            member = parents[member]
        return member

    def size(self, member: int) -> int:
        """Returns the size of the set of `member`."""
        return self._sizes[self.root(member)]

    def join(self, first: int, second: int) -> None:
        """Makes the sets of the two one."""
        large, small = self.root(first), self.root(second)
        if large == small:
            return
        if self._sizes[large] < self._sizes[small]:
            large, small = small, large
        self._parents[small] = large
        self._sizes[large] += self._sizes[small]
