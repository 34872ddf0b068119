"""Moving MNIST: the paper's sets, and the later ones, made as they are needed.

Every generator has ``batch(seed, first, size)``. A sequence is a function of the seed and of its number,
and of nothing else: batches of any size, from any number of processes, add up to the same sequences.
"""

from stormcell.experiments.moving_mnist.actions import ACTIONS as ACTIONS
from stormcell.experiments.moving_mnist.actions import MovingActions as MovingActions
from stormcell.experiments.moving_mnist.digits import MovingDigits as MovingDigits
from stormcell.experiments.moving_mnist.digits import Paths as Paths
from stormcell.experiments.moving_mnist.mnist_plus_plus import MovingDigitsPlus as MovingDigitsPlus
from stormcell.experiments.moving_mnist.mnist_plus_plus import Turns as Turns
from stormcell.experiments.moving_mnist.presets import FixedSequences as FixedSequences
from stormcell.experiments.moving_mnist.presets import actions as actions
from stormcell.experiments.moving_mnist.presets import endless as endless
from stormcell.experiments.moving_mnist.presets import openstl as openstl
from stormcell.experiments.moving_mnist.presets import paper as paper
from stormcell.experiments.moving_mnist.presets import standard_test as standard_test
from stormcell.experiments.moving_mnist.presets import variants as variants
