"""Factors of a matrix of 4 x 4 blocks coupled along the edges of a C-mesh: multifrontal elimination in single precision.

Owns the elimination order and the factors; it knows no flow. The factors are a preconditioner, for which single precision
is enough; it halves the memory traffic, which limits the speed. Nodes are eliminated in a nested-dissection order (George,
SIAM J. Numer. Anal. 10, 1973), front by front (Duff and Reid, ACM Trans. Math. Softw. 9, 1983). A front is a dense matrix
over the nodes eliminated together and the nodes coupled to them. Its Schur complement is added to its parent, the front
that eliminates the first of the coupled nodes. Pivoting is restricted to the eliminated nodes of a front, which has been
sufficient with the pseudo-time term.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numba import njit
from numpy.typing import NDArray

from data_prep.airfoil.dual import IntArray, topology
from data_prep.airfoil.mesh import FloatArray

#: A block of at most this many nodes is eliminated at once.
LEAF = 12


class SingularMatrix(ArithmeticError):
    """A front has no inverse."""


@dataclass(frozen=True)
class Plan:
    """Elimination plan of a C-mesh; fronts are ordered such that children precede their parent.

    Args:
        start: ``(F + 1,)``, index in ``nodes`` of the first node of each front.
        nodes: nodes of all fronts: for each front first the eliminated nodes, then the nodes coupled to them.
        own: ``(F,)``, number of nodes that a front eliminates.
        place: for each of ``nodes``, its position in the parent front; -1 if it is eliminated.
        children: ``(F,)``, number of Schur complements that are added to a front.
        entry_start: ``(F + 1,)``, index in ``entries`` of the first edge of each front.
        entries: ``(E, 3)``, edge and positions of its two nodes in the front.
        factor_start: ``(F + 1,)``, index of the first factor of each front.
        stack_size: largest total size of the Schur complements that are stored at the same time.
        largest: largest number of nodes in a front.
    """

    start: IntArray
    nodes: IntArray
    own: IntArray
    place: IntArray
    children: IntArray
    entry_start: IntArray
    entries: IntArray
    factor_start: NDArray[np.int64]
    stack_size: int
    largest: int


@dataclass(frozen=True)
class Factors:
    """Factors of a matrix.

    Args:
        plan: elimination plan of the mesh.
        values: the factors of all fronts.
    """

    plan: Plan
    values: NDArray[np.float32]

    @classmethod
    def of(cls, plan: Plan, diagonal: FloatArray, coupling: FloatArray) -> Factors:
        """Factorise.

        Args:
            plan: elimination plan of the mesh.
            diagonal: ``(N, 4, 4)``, diagonal blocks.
            coupling: ``(E, 2, 4, 4)``, see :func:`data_prep.airfoil.kernels.face_jacobian`.
        Raises:
            SingularMatrix: a front has no inverse.
        """
        values = np.empty(plan.factor_start[-1], dtype=np.float32)
        stack = np.empty(plan.stack_size, dtype=np.float32)
        arrays = (plan.start, plan.nodes, plan.own, plan.place, plan.children, plan.entry_start, plan.entries)
        try:
            _eliminate(*arrays, plan.factor_start, diagonal, coupling, stack, values)
        except np.linalg.LinAlgError as error:
            raise SingularMatrix(str(error)) from error
        return cls(plan, values)

    def solve(self, right: FloatArray) -> FloatArray:
        """Solution ``(N, 4)`` for a right-hand side ``(N, 4)``, to single precision."""
        plan, solution = self.plan, right.astype(np.float32)
        _substitute(plan.start, plan.nodes, plan.own, plan.factor_start, self.values, plan.largest, solution)
        return solution.astype(np.float64)


@lru_cache(maxsize=8)
def plan_for(ni: int, nj: int, wake_cells: int) -> Plan:
    """Elimination plan of a C-mesh of ``ni`` by ``nj`` nodes.

    The two mesh lines that end at the trailing edge separate the wake, a rectangle across the cut, from the rectangle around
    the section.
    """
    shared = topology(ni, nj, wake_cells)
    node = shared.node
    wake = np.concatenate([node[:wake_cells, ::-1], node[: ni - 1 - wake_cells : -1, 1:]], axis=1)
    body = node[wake_cells + 1 : ni - 1 - wake_cells]
    between = np.concatenate([node[wake_cells], node[ni - 1 - wake_cells, 1:]])
    groups: list[tuple[NDArray, int]] = []
    _dissect(wake, groups)
    _dissect(body, groups)
    groups.append((between, 2))
    return _plan(groups, shared.edges, shared.num_nodes)


def _dissect(block: NDArray, groups: list[tuple[NDArray, int]]) -> None:
    """Append the separators of a block to ``groups``, each after the parts that it separates, with the number of parts."""
    if block.size <= LEAF or min(block.shape) == 0 or max(block.shape) < 3:
        groups.append((block.ravel(), 0))
        return
    if block.shape[0] < block.shape[1]:
        block = block.T
    middle = len(block) // 2
    _dissect(block[:middle], groups)
    _dissect(block[middle + 1 :], groups)
    groups.append((block[middle], 2))


def _plan(groups: list[tuple[NDArray, int]], edges: IntArray, num_nodes: int) -> Plan:
    front_of = np.empty(num_nodes, dtype=np.int64)
    for front, (own, _) in enumerate(groups):
        front_of[own] = front
    entry_front = front_of[edges].min(axis=1)
    order = np.argsort(entry_front, kind="stable")
    entry_start = np.searchsorted(entry_front[order], np.arange(len(groups) + 1))

    members: list[list[int]] = []
    places: list[NDArray] = [np.empty(0, dtype=np.int64)] * len(groups)
    entries = np.empty((len(edges), 3), dtype=np.int32)
    waiting: list[int] = []
    depth, stack_size = 0, 0
    for front, (own, children) in enumerate(groups):
        mine = order[entry_start[front] : entry_start[front + 1]]
        sons = [waiting.pop() for _ in range(children)]
        coupled = set(edges[mine].ravel().tolist()).union(*(members[son][len(groups[son][0]) :] for son in sons))
        nodes = own.tolist() + sorted(coupled.difference(own.tolist()), key=lambda n: (front_of[n], n))
        position = {node: k for k, node in enumerate(nodes)}
        for son in sons:
            passed = members[son][len(groups[son][0]) :]
            places[son] = np.array([-1] * len(groups[son][0]) + [position[node] for node in passed])
            depth -= 16 * len(passed) ** 2
        entries[entry_start[front] : entry_start[front + 1]] = [
            (e, *(position[n] for n in edges[e].tolist())) for e in mine
        ]
        members.append(nodes)
        waiting.append(front)
        depth += 16 * (len(nodes) - len(own)) ** 2
        stack_size = max(stack_size, depth)
    places[-1] = np.full(len(members[-1]), -1)

    own_sizes = np.array([len(own) for own, _ in groups])
    sizes = np.array([len(nodes) for nodes in members])
    factor_sizes = 16 * own_sizes * (2 * sizes - own_sizes)
    return Plan(
        start=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32),
        nodes=np.concatenate(members).astype(np.int32),
        own=own_sizes.astype(np.int32),
        place=np.concatenate(places).astype(np.int32),
        children=np.array([children for _, children in groups], dtype=np.int32),
        entry_start=entry_start.astype(np.int32),
        entries=entries,
        factor_start=np.concatenate([[0], np.cumsum(factor_sizes)]),
        stack_size=stack_size,
        largest=int(sizes.max()),
    )


@njit(cache=True)
def _assemble(nodes, own, entries, diagonal, coupling, front):  # type: ignore[no-untyped-def]
    """Put the matrix's own blocks into an empty front."""
    for k in range(own):
        for r in range(4):
            for c in range(4):
                front[4 * k + r, 4 * k + c] = diagonal[nodes[k], r, c]
    for entry in range(len(entries)):
        e, a, b = entries[entry, 0], 4 * entries[entry, 1], 4 * entries[entry, 2]
        for r in range(4):
            for c in range(4):
                front[a + r, b + c] += coupling[e, 0, r, c]
                front[b + r, a + c] += coupling[e, 1, r, c]


@njit(cache=True)
def _extend_add(place, schur, front):  # type: ignore[no-untyped-def]
    """Add a child's Schur complement to its parent's front."""
    for i in range(len(place)):
        for j in range(len(place)):
            for r in range(4):
                for c in range(4):
                    front[4 * place[i] + r, 4 * place[j] + c] += schur[4 * i + r, 4 * j + c]


@njit(cache=True)
def _eliminate(  # type: ignore[no-untyped-def]
    start, nodes, own, place, children, entry_start, entries, factor_start, diagonal, coupling, stack, values
):
    """Factors of every front: the inverse of its pivot block, that times the upper coupling, and the lower coupling."""
    top = 0
    waiting = np.empty(len(own), dtype=np.int64)
    count = 0
    for f in range(len(own)):
        size, pivots = 4 * (start[f + 1] - start[f]), 4 * own[f]
        rest = size - pivots
        front = np.zeros((size, size), dtype=np.float32)
        mine = entries[entry_start[f] : entry_start[f + 1]]
        _assemble(nodes[start[f] : start[f + 1]], own[f], mine, diagonal, coupling, front)
        for _ in range(children[f]):
            count -= 1
            son = waiting[count]
            passed = start[son + 1] - start[son] - own[son]
            top -= 16 * passed * passed
            schur = stack[top : top + 16 * passed * passed].reshape(4 * passed, 4 * passed)
            _extend_add(place[start[son] + own[son] : start[son + 1]], schur, front)
        inverse = np.linalg.inv(np.ascontiguousarray(front[:pivots, :pivots]))
        upper = np.dot(inverse, np.ascontiguousarray(front[:pivots, pivots:]))
        lower = np.ascontiguousarray(front[pivots:, :pivots])
        first, second = factor_start[f] + pivots * pivots, factor_start[f] + pivots * size
        values[factor_start[f] : first] = inverse.ravel()
        values[first:second] = upper.ravel()
        values[second : second + pivots * rest] = lower.ravel()
        schur = stack[top : top + rest * rest].reshape(rest, rest)
        np.dot(lower, upper, schur)
        for i in range(rest):
            for j in range(rest):
                schur[i, j] = front[pivots + i, pivots + j] - schur[i, j]
        top += rest * rest
        waiting[count] = f
        count += 1


@njit(cache=True, fastmath={"reassoc", "contract"})
def _times(matrix, vector, product):  # type: ignore[no-untyped-def]
    """Write matrix times vector into ``product``; for fronts of a few nodes a call of BLAS is slower than this loop."""
    for i in range(len(product)):
        total = np.float32(0.0)
        for j in range(len(vector)):
            total += matrix[i, j] * vector[j]
        product[i] = total


@njit(cache=True)
def _gather(nodes, solution, vector):  # type: ignore[no-untyped-def]
    for k in range(len(nodes)):
        for c in range(4):
            vector[4 * k + c] = solution[nodes[k], c]


@njit(cache=True)
def _subtract(vector, nodes, solution):  # type: ignore[no-untyped-def]
    for k in range(len(nodes)):
        for c in range(4):
            solution[nodes[k], c] -= vector[4 * k + c]


@njit(cache=True)
def _substitute(start, nodes, own, factor_start, values, largest, solution):  # type: ignore[no-untyped-def]
    """Forward and backward substitution in place, ``solution`` ``(N, 4)``."""
    inside, outside = np.empty(4 * largest, dtype=np.float32), np.empty(4 * largest, dtype=np.float32)
    change = np.empty(4 * largest, dtype=np.float32)
    for turn in range(2 * len(own)):
        forward = turn < len(own)
        f = turn if forward else 2 * len(own) - 1 - turn
        size, pivots = 4 * (start[f + 1] - start[f]), 4 * own[f]
        rest = size - pivots
        first, second = factor_start[f] + pivots * pivots, factor_start[f] + pivots * size
        eliminated, coupled = nodes[start[f] : start[f] + own[f]], nodes[start[f] + own[f] : start[f + 1]]
        if forward:
            _gather(eliminated, solution, inside)
            inverse = values[factor_start[f] : first].reshape(pivots, pivots)
            _times(inverse, inside[:pivots], change[:pivots])
            for k in range(pivots):
                solution[eliminated[k // 4], k % 4] = change[k]
            lower = values[second : second + pivots * rest].reshape(rest, pivots)
            _times(lower, change[:pivots], outside[:rest])
            _subtract(outside, coupled, solution)
        else:
            _gather(coupled, solution, outside)
            _times(values[first:second].reshape(pivots, rest), outside[:rest], change[:pivots])
            _subtract(change, eliminated, solution)
