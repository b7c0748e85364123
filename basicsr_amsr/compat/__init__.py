"""Repairs of BasicSR 1.4.2 for today's PyTorch, torchvision, SciPy and Python.

Importing basicsr_amsr mends the import of BasicSR and nothing else (`importing`). The other repairs, and what trainings
need besides, stand in the table `basicsr_amsr.patch_table`. Nothing in site-packages is touched. What another
package has already replaced is left to it.
"""
