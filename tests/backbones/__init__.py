import basicsr_amsr.register  # noqa: F401  # mends BasicSR before the tests import it
