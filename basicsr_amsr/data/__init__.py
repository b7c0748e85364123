"""Images: data sets, degradations, bicubic downscaling, and what prepares them for training."""
