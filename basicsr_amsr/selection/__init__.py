"""Where is the image hard? Pure tensor maths that knows no network."""
