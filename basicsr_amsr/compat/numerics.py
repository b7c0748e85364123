"""Functions of BasicSR whose NumPy, SciPy or OpenCV calls have changed."""
from __future__ import annotations

from typing import Any

import cv2
import numpy as np

Array = np.ndarray[Any, Any]


def add_jpg_compression(img: Array, quality: float = 90) -> Array:
    """An image with JPEG artefacts.

    Args:
        img: (h, w, 3), range 0–1.
        quality: 0 (worst) to 100; rounded, as OpenCV from 4.5.4 on takes whole numbers only.

    Returns:
        (h, w, 3), float32, range 0–1.
    """
    levels = np.clip(img, 0, 1) * 255.
    _, code = cv2.imencode('.jpg', levels, [int(cv2.IMWRITE_JPEG_QUALITY), round(float(quality))])
    return np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR), dtype=np.float32) / 255.


def calculate_fid(mu1: Array, sigma1: Array, mu2: Array, sigma2: Array, eps: float = 0.) -> float:
    """Fréchet distance of two normal distributions: |μ1 − μ2|² + tr(Σ1 + Σ2 − 2 (Σ1 Σ2)^½).

    (Σ1 Σ2)^½ has the eigenvalues' roots of the symmetric Σ1^½ Σ2 Σ1^½, so that no general matrix root is needed, whose
    SciPy signature changed in 1.18, nor anything added to singular covariances.

    Args:
        mu1, mu2: means, (n,).
        sigma1, sigma2: covariances, (n, n).
        eps: of no effect; BasicSR's signature has it.

    Source: Heusel et al., GANs trained by a two time-scale update rule, 2017, equation 6.
    """
    values, vectors = np.linalg.eigh(sigma1)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    product = np.clip(np.linalg.eigvalsh(root @ sigma2 @ root), 0, None)
    difference = mu1 - mu2
    return float(difference @ difference + np.trace(sigma1) + np.trace(sigma2) - 2 * np.sqrt(product).sum())
