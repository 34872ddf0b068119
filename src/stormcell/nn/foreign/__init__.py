"""Weights from and for other systems' recurrent layers."""

from stormcell.nn.foreign.keras import from_keras as from_keras
from stormcell.nn.foreign.keras import to_keras as to_keras
from stormcell.nn.foreign.tf1 import from_tf1 as from_tf1
from stormcell.nn.foreign.torch_layouts import from_torch as from_torch
from stormcell.nn.foreign.torch_layouts import to_torch as to_torch
