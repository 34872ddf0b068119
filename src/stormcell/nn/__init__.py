"""Convolutional recurrent layers for PyTorch.

They need only torch and numpy of Stormcell's dependencies, and nothing of its nowcasting system.
"""

from stormcell.nn.conv_gru import ConvGRU1d as ConvGRU1d
from stormcell.nn.conv_gru import ConvGRU2d as ConvGRU2d
from stormcell.nn.conv_gru import ConvGRU3d as ConvGRU3d
from stormcell.nn.conv_gru import ConvGRUCell1d as ConvGRUCell1d
from stormcell.nn.conv_gru import ConvGRUCell2d as ConvGRUCell2d
from stormcell.nn.conv_gru import ConvGRUCell3d as ConvGRUCell3d
from stormcell.nn.conv_lstm import ConvLSTM1d as ConvLSTM1d
from stormcell.nn.conv_lstm import ConvLSTM2d as ConvLSTM2d
from stormcell.nn.conv_lstm import ConvLSTM3d as ConvLSTM3d
from stormcell.nn.conv_lstm_cell import ConvLSTMCell1d as ConvLSTMCell1d
from stormcell.nn.conv_lstm_cell import ConvLSTMCell2d as ConvLSTMCell2d
from stormcell.nn.conv_lstm_cell import ConvLSTMCell3d as ConvLSTMCell3d
from stormcell.nn.peephole_lstm import PeepholeLSTM as PeepholeLSTM
from stormcell.nn.peephole_lstm import PeepholeLSTMCell as PeepholeLSTMCell
from stormcell.nn.trajgru import TrajGRU2d as TrajGRU2d
from stormcell.nn.trajgru import TrajGRUCell2d as TrajGRUCell2d
