"""The tables of others: their scores exactly as they count them, and the numbers they published.

``protocol`` says what a protocol is, ``tally`` what it counts, ``extrapolation`` gives the rows without a
network: the last frame, and optical flow.
"""

from stormcell.experiments.protocols.hko7 import HKO7 as HKO7
from stormcell.experiments.protocols.openstl import OpenSTL as OpenSTL
from stormcell.experiments.protocols.paper_moving_mnist import PaperMovingMnist as PaperMovingMnist
from stormcell.experiments.protocols.paper_radar import PaperRadar as PaperRadar
from stormcell.experiments.protocols.protocol import ScoringProtocol as ScoringProtocol
