"""Mathematics that has never heard of soil."""

from . import reductions as reductions
from .devices import accelerated as accelerated
from .devices import assume as assume
from .devices import use_all_cores as use_all_cores
from .ensembles import map_members as map_members
from .follow import follow as follow
from .integrate import IntegrationError as IntegrationError
from .integrate import Solution as Solution
from .integrate import choose_method as choose_method
from .integrate import integrate as integrate
from .layered import LayeredSystem as LayeredSystem
from .layered import solve_layered as solve_layered
from .methods import Adaptive as Adaptive
from .methods import FixedStep as FixedStep
from .methods import Fused as Fused
from .methods import Method as Method
from .methods import Substepped as Substepped
from .methods import forward_adaptive as forward_adaptive
from .newton import newton_layered as newton_layered
from .precision import require_x64 as require_x64
from .sites import Sites as Sites
from .sites import map_sites as map_sites
from .statistics import AbstractStatistic as AbstractStatistic
from .steppers import heun as heun
from .steppers import rk4 as rk4
from .steppers import rosenbrock as rosenbrock
