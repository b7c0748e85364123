import basicsr_amsr  # noqa: F401  (mends BasicSR before the tests import it)
