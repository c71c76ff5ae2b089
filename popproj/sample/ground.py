"""Where the invented city can stand: blocks between the sea and the mountains, and how they group.

Everything is in metres, the railway's hub at x = 0. Blocks are six-sided, their corners shaken, and
neighbours have their common corners from one table: whatever blocks are put together, the edges of
neighbouring groups are the same to the last bit.
"""

from __future__ import annotations

import numpy as np

_BLOCK = 150.0  # metres between the middles of neighbouring blocks
_STATIONS = 2_300.0  # metres from one to the next
_SOUTH = -2_600.0  # where the lattice begins, out at sea


class Ground:
    """Blocks above the sea and below the mountains, with what decides where people settle.

    Attributes
    ----------
    length, depth
        Extent along the coast and from the shore to the foot of the mountains [m].
    x, y, height, island, crowding
        Of each block: middle [m], 0 at the shore to 1 at the foot of the mountains, whether it lies
        on the island, relative density of people.
    corners
        (block, 6, 2), counterclockwise [m].
    neighbours
        (block, 6), -1 where there is none.
    """

    def __init__(self, districts: int, rng: np.random.Generator) -> None:
        self.length = 14_000 * (districts / 40) ** 0.60
        self.depth = 5_200 * (districts / 40) ** 0.42
        self._bay = 0.10 * self.length
        self._phase = rng.uniform(0, 2 * np.pi, 10)

        across, up = _BLOCK, _BLOCK * np.sqrt(3) / 2
        west = -0.53 * self.length
        columns = int(-2 * west / across) + 4
        rows = int((1.45 * self.depth + self._bay - _SOUTH) / up)
        i, j = (a.ravel() for a in np.meshgrid(np.arange(columns), np.arange(rows)))
        x, y = west + (i + j % 2 / 2) * across, _SOUTH + j * up
        kept = np.flatnonzero(_in_one_piece(self._is_land(x, y), self._is_island(x, y), columns))
        self.x, self.y = x[kept], y[kept]
        self.blocks = kept.size
        self.height = self._height(self.x, self.y)
        self.island = self._is_island(self.x, self.y)

        i, j = i[kept], j[kept]
        self.corners = _corners(i, j, columns, rows, rng) + np.array([west, _SOUTH])
        number = np.full((rows + 2, columns + 2), -1)
        number[j + 1, i + 1] = np.arange(self.blocks)
        left = i + j % 2  # of the two neighbours in the row below, and in the row above
        self.neighbours = np.stack(
            [
                *(number[j + 1, i], number[j + 1, i + 2]),
                *(number[j, left], number[j, left + 1]),
                *(number[j + 2, left], number[j + 2, left + 1]),
            ],
            axis=1,
        )
        self.crowding = self._crowding()
        self._effort = self._efforts(rng)

    def coast(self, x: np.ndarray) -> np.ndarray:
        """Northing of the shore: a bay, a few capes, quays in the middle."""
        a = self._phase
        bay = self._bay * np.cos(1.25 * np.pi * x / self.length - 0.15)
        capes = 190 * np.sin(2 * np.pi * x / 5_100 + a[0]) + 90 * np.sin(
            2 * np.pi * x / 1_900 + a[1]
        )
        return np.asarray(bay + capes)

    def _height(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """0 at the shore, 1 at the foot of the mountains; valleys reach further inland."""
        a = self._phase
        waves = (
            (2_700, 2_500, 0.06),
            (1_730, -1_800, 0.05),
            (4_600, 9_000, 0.07),
            (7_900, 0, 0.06),
        )
        valleys = sum(
            size * np.sin(2 * np.pi * x / along + (y / across if across else 0) + a[2 + n])
            for n, (along, across, size) in enumerate(waves)
        )
        inland = np.maximum(y - self.coast(x), 0) / self.depth
        return np.asarray(inland * (1.05 + valleys))

    def _is_island(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        shore = self.coast(np.full(1, 0.06 * self.length))[0]
        along = np.abs(x - 0.06 * self.length) < 850
        return np.asarray(along & (y < shore - 700) & (y > shore - 1_900))

    def _is_land(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        shore = self.coast(x)
        harbour = np.abs(x) < min(2_700.0, 0.22 * self.length)
        pier = harbour & (np.mod(x + 5_000, 1_000) < 430)
        front = shore - np.where(pier, 430, 0)
        ends = np.abs(x) + 320 * np.sin(y / 800 + self._phase[6] * np.sign(x))
        main = (y > front) & (self._height(x, y) < 1) & (ends < self.length / 2)
        return np.asarray(main | self._is_island(x, y))

    def stations(self) -> np.ndarray:
        """Along the railway behind the shore; the first is the hub."""
        reach = np.arange(_STATIONS, self.length / 2 - 500, _STATIONS)
        along = np.concatenate([[0.0], reach, -reach])
        return np.stack([along, self.coast(along) + 0.3 * self.depth], axis=1)

    def _crowding(self) -> np.ndarray:
        """Relative density of people."""
        stations = self.stations()
        away = np.hypot(self.x[:, None] - stations[:, 0], self.y[:, None] - stations[:, 1])
        density = 0.8 + 1.7 * np.exp(-((away[:, 0] / 2_200) ** 2))
        density += 0.8 * np.exp(-((away[:, 1:] / 800) ** 2)).sum(axis=1)
        return np.asarray(np.maximum(density - 0.45 * self.height, 0.3))

    def _efforts(self, rng: np.random.Generator) -> np.ndarray:
        """How hard it is to belong together across each side: rivers, the railway, slopes."""
        other = self.neighbours
        a = self._phase
        river = np.floor((self.x + 250 * np.sin(self.y / 900 + a[7])) / 3_100)
        rail = self.y > self.coast(self.x) + 0.3 * self.depth + 150
        effort = np.sqrt((self.crowding[:, None] + self.crowding[other]) / 2)
        effort += 1.2 * (river[:, None] != river[other]) + 0.9 * (rail[:, None] != rail[other])
        effort += 4 * np.abs(self.height[:, None] - self.height[other])
        effort *= rng.uniform(0.8, 1.2, self.blocks)[:, None]
        return np.asarray(np.where(other < 0, np.inf, effort))

    def grow(self, seeds: np.ndarray, within: np.ndarray | None = None) -> np.ndarray:
        """Region of each block: that of the seed from which it is reached with the least effort.

        Regions are connected. Blocks out of reach are -1.
        """
        effort = self._effort
        if within is not None:
            other = within[self.neighbours]
            effort = np.where(within[:, None] == other, effort, np.inf)
        far = np.full(self.blocks + 1, np.inf)  # the last stands for "no neighbour"
        label = np.full(self.blocks + 1, -1)
        far[seeds], label[seeds] = 0.0, np.arange(seeds.size)
        rows = np.arange(self.blocks)
        while True:
            reach = far[self.neighbours] + effort
            best = reach.argmin(axis=1)
            closer = reach[rows, best] < far[:-1]
            if not closer.any():
                return label[:-1]
            where = rows[closer]
            far[where] = reach[where, best[where]]
            label[where] = label[self.neighbours[where, best[where]]]


def _corners(
    i: np.ndarray, j: np.ndarray, columns: int, rows: int, rng: np.random.Generator
) -> np.ndarray:
    """Corners of the blocks in column i of row j: they stand on zigzag lines between the rows."""
    k, line = np.meshgrid(np.arange(2 * columns + 2), np.arange(rows + 1))
    radius = _BLOCK / np.sqrt(3)
    x = (k - 1) * _BLOCK / 2
    y = 1.5 * radius * line - np.where((k - line) % 2 == 1, radius, radius / 2)
    table = np.stack([x, y], axis=-1) + rng.uniform(-0.17, 0.17, (*k.shape, 2)) * _BLOCK
    first = (2 * i + j % 2)[:, None]
    lines = j[:, None] + np.array([0, 0, 0, 1, 1, 1])
    return np.asarray(table[lines, first + np.array([0, 1, 2, 2, 1, 0])])


def _in_one_piece(land: np.ndarray, island: np.ndarray, columns: int) -> np.ndarray:
    """Drop rocks in the sea and hollows behind ridges: what cannot be reached on foot."""
    land, reached = land.reshape(-1, columns), island.reshape(-1, columns).copy()
    reached[land.sum(axis=1).argmax(), columns // 2] = True
    while True:
        wider = reached.copy()
        wider[1:] |= reached[:-1]
        wider[:-1] |= reached[1:]
        wider[:, 1:] |= reached[:, :-1]
        wider[:, :-1] |= reached[:, 1:]
        wider &= land
        if (wider == reached).all():
            return wider.ravel()
        reached = wider


def centres(ground: Ground, label: np.ndarray, parts: int) -> tuple[np.ndarray, np.ndarray]:
    """Centre of mass of each region, weighted by people."""
    mass = np.bincount(label, ground.crowding, parts)
    x = np.bincount(label, ground.crowding * ground.x, parts) / mass
    y = np.bincount(label, ground.crowding * ground.y, parts) / mass
    return x, y


def nearest_block(ground: Ground, label: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """For each region, its own block nearest to the point."""
    away = np.hypot(ground.x - x[label], ground.y - y[label])
    order = np.lexsort([away, label])
    return np.asarray(order[np.searchsorted(label[order], np.arange(x.size))])


def regions(ground: Ground, parts: int, rng: np.random.Generator) -> np.ndarray:
    """Cut the ground into connected regions that hold about the same number of people each."""
    main = np.flatnonzero(~ground.island)
    chance = ground.crowding[main] / ground.crowding[main].sum()
    seeds = rng.choice(main, parts - 1, replace=False, p=chance)
    seeds = np.append(seeds, np.flatnonzero(ground.island)[0])
    for _ in range(25):
        label = ground.grow(seeds)
        seeds = nearest_block(ground, label, *centres(ground, label, parts))
    return ground.grow(seeds)


def subdivide(
    ground: Ground, part: np.ndarray, number: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Cut each district into its number of towns; towns are numbered on through the city."""
    district_of_town = np.repeat(np.arange(number.size), number)
    order = np.argsort(part + rng.random(part.size))  # random within each district
    first = np.searchsorted(part[order], np.arange(number.size))
    rank = np.arange(district_of_town.size) - (np.cumsum(number) - number)[district_of_town]
    seeds = order[first[district_of_town] + rank]
    for _ in range(8):
        town = ground.grow(seeds, within=part)
        seeds = nearest_block(ground, town, *centres(ground, town, seeds.size))
    return ground.grow(seeds, within=part)
