"""AMSR (arXiv 2505.06975): a network computes only where the image has high frequencies."""
from basicsr_amsr.amsr.accelerate import accelerate_, restore_
from basicsr_amsr.amsr.config import AMSRConfig
from basicsr_amsr.amsr.conversion_report import Report
from basicsr_amsr.amsr.decision import measure_costs

__all__ = ['AMSRConfig', 'Report', 'accelerate_', 'measure_costs', 'restore_']
