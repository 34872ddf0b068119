"""The tables of others: their scores exactly as they count them, and the numbers they published.

``protocol`` says what a protocol is, ``tally`` what it counts, ``extrapolation`` gives the rows without a
network: the last frame, and optical flow.
"""

from stormcell.verification.protocols.hko7 import HKO7 as HKO7
from stormcell.verification.protocols.openstl import OpenSTL as OpenSTL
from stormcell.verification.protocols.paper_moving_mnist import PaperMovingMnist as PaperMovingMnist
from stormcell.verification.protocols.paper_radar import PaperRadar as PaperRadar
from stormcell.verification.protocols.protocol import ScoringProtocol as ScoringProtocol
