"""Training images on disk, as BasicSR reads them: LR images, sub-images, LMDB, meta info, and the check of pairs."""
