from mogp.activations.quadrature import *  # noqa: F403  (until nn and limit have switched)
