"""The formats that pictures are written in."""
FORMATS = {'.png': 'PNG', '.jpg': 'JPEG', '.jpeg': 'JPEG', '.webp': 'WEBP', '.tif': 'TIFF', '.tiff': 'TIFF',
           '.bmp': 'BMP', '.avif': 'AVIF'}
ALPHA = ('PNG', 'WEBP', 'TIFF', 'AVIF')  # those that keep transparency
