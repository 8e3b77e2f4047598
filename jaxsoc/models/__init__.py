"""Complete tendencies `(t, state, params) -> d(state)/dt`."""

from .two_pool import (
    Fluxes as Fluxes,
)
from .two_pool import (
    Pools as Pools,
)
from .two_pool import (
    TwoPool as TwoPool,
)
from .two_pool import (
    TwoPoolParameters as TwoPoolParameters,
)
from .two_pool import (
    steady_state as steady_state,
)
