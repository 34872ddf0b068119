"""Convolutional recurrent layers for PyTorch.

Needs torch and nothing else of Stormcell's dependencies; usable by people who never saw a radar.
"""

from stormcell.nn.cells import ConvLSTMCell2d as ConvLSTMCell2d
from stormcell.nn.recurrent import ConvLSTM2d as ConvLSTM2d
