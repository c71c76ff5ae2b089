"""An invented port city between mountains and sea, whose true rates are known.

It is shipped as code and seed, not as data: people with exact birth dates live, move, give birth
and die in continuous time, and a register counts them. What the register saw can be written as the
files that any city hands over, so that a demonstration goes through the same door as a real city;
and since the true rates are known, an estimate can be judged against them. Nothing here shares code
with the estimation.
"""

from popproj.sample.city import Sample, simulate
from popproj.sample.files import write

__all__ = ["Sample", "simulate", "write"]
