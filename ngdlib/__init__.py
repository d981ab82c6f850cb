"""Natural gradient descent in wide neural networks.

    net = ngdlib.MLP(widths=(64, 512, 512, 1))
    params = net.init(seed=0)
    layers = net.layers(params, x)
    step = ngdlib.natural_gradient("kfac", layers, net.apply(params, x) - y, damping=0.0)
    params = net.update(params, step, learning_rate)

NumPy is all it needs. JAX arrays go through the same lines where JAX is installed.
"""

from . import damping, fisher, likelihood
from .datasets import Data, digits, npz
from .files import load, save
from .fisher import FISHERS, empirical_kernels
from .isotropy import Isotropy, conditions, isotropy
from .layers import Jacobian, Kernel, Layer
from .models.infinite import infinite_kernels
from .models.mlp import MLP
from .solve import natural_gradient, precondition
from .training import History, predict, train

__version__ = "0.1.0"

__all__ = [
    "FISHERS",
    "MLP",
    "Data",
    "History",
    "Isotropy",
    "Jacobian",
    "Kernel",
    "Layer",
    "conditions",
    "damping",
    "digits",
    "empirical_kernels",
    "fisher",
    "infinite_kernels",
    "isotropy",
    "likelihood",
    "load",
    "natural_gradient",
    "npz",
    "precondition",
    "predict",
    "save",
    "train",
]
