"""What is done to images on their way into a network: the common base, and building it from an option file."""
