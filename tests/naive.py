"""Slow, obvious twins of the fast code: one person-cell at a time, in plain Python.

Nothing here imports popproj. Arrays are nested lists or numpy arrays indexed ``[sex][age][place]``,
ages labelled by the age reached at the end of the year.
"""

from __future__ import annotations

import numpy as np


def shares(age, death, out, move, repeat):
    """Shares of a resident, an arrival and a mover who die, leave and move (``popproj``)."""
    whole, part = (1 / 2, 1 / 3) if age == 0 else (1.0, 1 / 2)
    settled = 1 + part * (death + out + move * repeat)
    moving = 1 + part * (death + out)
    return {
        "resident": (
            death * whole / settled,
            out * whole / settled,
            move * repeat * whole / settled,
        ),
        "arrival": (death * part / settled, out * part / settled, move * repeat * part / settled),
        "mover": (death * part / moving, out * part / moving),
    }


def one_year(people, rates):
    """One year of the convention ``popproj``.

    Parameters
    ----------
    people
        ``(sex, age, place)`` at the start.
    rates
        Dict of arrays: death, out, move, repeat, arrivals, net_count, net_rate ``(sex, age,
        place)``, fertility ``(age, place)``, male_share ``(place,)``, destination
        ``(sex, age, place from, place to)``.

    Returns
    -------
    dict
        population, deaths, in_migrants, out_migrants, moves_out, moves_in, net_migrants,
        adjustment, births, births_by_mother.
    """
    n_sex, n_age, n_place = np.shape(people)
    flows = {
        name: np.zeros((n_sex, n_age, n_place))
        for name in (
            "population", "deaths", "in_migrants", "out_migrants",
            "moves_out", "moves_in", "net_migrants", "adjustment",
        )
    }  # fmt: skip
    births = np.zeros((n_sex, n_place))
    by_mother = np.zeros((n_age, n_place))

    def leave(sex, age, place, residents):
        arrivals = rates["arrivals"][sex][age][place]
        cell = shares(
            age,
            rates["death"][sex][age][place],
            rates["out"][sex][age][place],
            rates["move"][sex][age][place],
            rates["repeat"][sex][age][place],
        )
        died, left, moved = (
            residents * cell["resident"][k] + arrivals * cell["arrival"][k] for k in range(3)
        )
        net = rates["net_count"][sex][age][place] + residents * rates["net_rate"][sex][age][place]
        flows["deaths"][sex][age][place] += died
        flows["in_migrants"][sex][age][place] += arrivals
        flows["out_migrants"][sex][age][place] += left
        flows["moves_out"][sex][age][place] += moved
        flows["net_migrants"][sex][age][place] += net
        flows["population"][sex][age][place] += residents + arrivals - died - left - moved + net
        for to in range(n_place):
            came = moved * rates["destination"][sex][age][place][to]
            dies, leaves = (
                came * share
                for share in shares(
                    age,
                    rates["death"][sex][age][to],
                    rates["out"][sex][age][to],
                    rates["move"][sex][age][to],
                    rates["repeat"][sex][age][to],
                )["mover"]
            )
            flows["moves_in"][sex][age][to] += came
            flows["deaths"][sex][age][to] += dies
            flows["out_migrants"][sex][age][to] += leaves
            flows["population"][sex][age][to] += came - dies - leaves

    def cut(sex, age, place):
        short = max(0.0, -flows["population"][sex][age][place])
        flows["adjustment"][sex][age][place] = short
        flows["population"][sex][age][place] += short

    for sex in range(n_sex):
        for age in range(1, n_age):
            for place in range(n_place):
                residents = people[sex][age - 1][place]
                if age == n_age - 1:
                    residents += people[sex][age][place]
                leave(sex, age, place, residents)
        for age in range(1, n_age):
            for place in range(n_place):
                cut(sex, age, place)
    for place in range(n_place):
        for age in range(1, n_age):
            women = (people[0][age][place] + flows["population"][0][age][place]) / 2
            by_mother[age][place] = women * rates["fertility"][age][place]
        boys = by_mother[:, place].sum() * rates["male_share"][place]
        births[:, place] = by_mother[:, place].sum() - boys, boys
    for sex in range(n_sex):
        for place in range(n_place):
            leave(sex, 0, place, births[sex][place])
        for place in range(n_place):
            cut(sex, 0, place)
    return {**flows, "births": births, "births_by_mother": by_mother}
