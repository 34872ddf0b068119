"""Moving MNIST: the paper's sets, and the later ones, made as they are needed.

Every generator has ``batch(seed, first, size)``. A sequence is a function of the seed and of its number,
and of nothing else: batches of any size, from any number of processes, add up to the same sequences.
"""

from stormcell.data.moving_mnist.acting import ACTIONS as ACTIONS
from stormcell.data.moving_mnist.acting import MovingActions as MovingActions
from stormcell.data.moving_mnist.bouncing import MovingDigits as MovingDigits
from stormcell.data.moving_mnist.bouncing import Paths as Paths
from stormcell.data.moving_mnist.sets import FixedSequences as FixedSequences
from stormcell.data.moving_mnist.sets import actions as actions
from stormcell.data.moving_mnist.sets import endless as endless
from stormcell.data.moving_mnist.sets import openstl as openstl
from stormcell.data.moving_mnist.sets import paper as paper
from stormcell.data.moving_mnist.sets import standard_test as standard_test
from stormcell.data.moving_mnist.sets import variants as variants
from stormcell.data.moving_mnist.turning import MovingDigitsPlus as MovingDigitsPlus
from stormcell.data.moving_mnist.turning import Turns as Turns
