"""Moving MNIST: the ConvLSTM paper's sets and later ones, generated on demand.

Every generator has ``batch(seed, first, size)``. A sequence depends only on the seed and on its number.
Batches of any size, from any number of processes, therefore give the same sequences.
"""

from stormcell.experiments.moving_mnist.actions import ACTIONS as ACTIONS
from stormcell.experiments.moving_mnist.actions import MovingActions as MovingActions
from stormcell.experiments.moving_mnist.digits import MovingDigits as MovingDigits
from stormcell.experiments.moving_mnist.digits import Paths as Paths
from stormcell.experiments.moving_mnist.digits import SequenceGenerator as SequenceGenerator
from stormcell.experiments.moving_mnist.mnist_plus_plus import MovingDigitsPlus as MovingDigitsPlus
from stormcell.experiments.moving_mnist.mnist_plus_plus import Turns as Turns
from stormcell.experiments.moving_mnist.presets import FixedSequences as FixedSequences
from stormcell.experiments.moving_mnist.presets import actions as actions
from stormcell.experiments.moving_mnist.presets import endless as endless
from stormcell.experiments.moving_mnist.presets import openstl as openstl
from stormcell.experiments.moving_mnist.presets import paper as paper
from stormcell.experiments.moving_mnist.presets import standard_test as standard_test
from stormcell.experiments.moving_mnist.presets import variants as variants
