"""The papers' protocols: their scores, computed exactly as in the paper, and their published results.

``protocol`` defines the interface, ``tally`` the statistics, and ``extrapolation`` the baselines: the last
frame and optical flow.
"""

from stormcell.experiments.protocols.convlstm_paper import PaperMovingMnist as PaperMovingMnist
from stormcell.experiments.protocols.convlstm_paper import PaperRadar as PaperRadar
from stormcell.experiments.protocols.hko7 import HKO7 as HKO7
from stormcell.experiments.protocols.openstl import OpenSTL as OpenSTL
from stormcell.experiments.protocols.protocol import ScoringProtocol as ScoringProtocol
