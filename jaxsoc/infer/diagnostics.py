"""How well chains have explored a posterior: R-hat, effective draws, their errors.

Draws lead by chain and draw, (chain, draw, ...), whatever follows them.
"""

from typing import Any

import numpy as np
from scipy.fft import next_fast_len
from scipy.special import ndtri
from scipy.stats import rankdata

# Of ranks, by which they are less than one and more than nothing (Blom).
_BLOM = 3 / 8


def rank_rhat(draws: Any) -> Any:
    """Rank-normalised split R-hat, the larger of bulk's and tails'.

    R = √((n-1)/n + B / (n W)) of normal scores of draws, and of |draw - median|

    **Arguments:** `draws`: (chain, draw, ...), four draws or more.
    **Returns:** of what follows; NaN where a draw is no number or all are alike.
    **Raises:** `ValueError` for fewer than four draws.
    Source: Vehtari et al. (2021), doi:10.1214/20-BA1221, Eqs. 1 to 4, 14 and 4.2.
    """
    draws = _checked(draws)
    middle = np.median(draws, axis=(0, 1))
    return np.maximum(
        _rhat(_scores(_split(draws))), _rhat(_scores(_split(abs(draws - middle))))
    )


def ess_bulk(draws: Any) -> Any:
    """Effective number of draws for the centre of a distribution."""
    return _ess(_scores(_split(_checked(draws))))


def ess_tail(draws: Any) -> Any:
    """Effective number of draws for the 5 % and 95 % quantiles, the smaller of both."""
    draws = _checked(draws)
    ends = (np.quantile(draws, q, axis=(0, 1)) for q in (0.05, 0.95))
    return np.minimum(*(_ess(_split((draws <= end).astype(float))) for end in ends))


def ess_mean(draws: Any) -> Any:
    """Effective number of draws for the mean."""
    return _ess(_split(_checked(draws)))


def mcse_mean(draws: Any) -> Any:
    """Standard error of the mean of draws: s / √ESS."""
    draws = _checked(draws)
    return draws.std(axis=(0, 1), ddof=1) / np.sqrt(ess_mean(draws))


def mcse_deviation(draws: Any) -> Any:
    """Standard error of the standard deviation of draws.

    The delta method for the square root of the mean of (x - mean)²; Vehtari et al.
    (2021), as in the package posterior.
    """
    draws = _checked(draws)
    squares = (draws - draws.mean(axis=(0, 1))) ** 2
    deviation = np.sqrt(squares.mean(axis=(0, 1)))
    error = squares.std(axis=(0, 1), ddof=1) / np.sqrt(ess_mean(squares))
    return error / (2 * deviation)


def contraction(draws: Any, prior_variance: Any) -> Any:
    """1 - posterior over prior variance."""
    return 1 - _checked(draws).var(axis=(0, 1), ddof=1) / np.asarray(prior_variance)


def gelman_rubin(draws: Any) -> Any:
    """R of whole chains as published: of second halves of accepted draws, 1 at best.

    R = √(((n-1) W / n + B / n) / W),  B = n / (m-1) Σ (θ̄_c - θ̄)²
    """
    return _rhat(_checked(draws))


def _checked(draws):
    draws = np.asarray(draws, float)
    if draws.ndim < 2 or draws.shape[1] < 4:
        raise ValueError(
            "expected draws that lead by chain and draw, four or more of them, got an "
            f"array of shape {draws.shape}"
        )
    return draws


def _split(draws):
    """Halves of chains as chains; the middle draw of an odd number is left out."""
    half = draws.shape[1] // 2
    return np.concatenate([draws[:, :half], draws[:, -half:]])


def _scores(draws):
    """Normal scores of the ranks among all chains."""
    flat = draws.reshape(draws.shape[0] * draws.shape[1], -1)
    ranks = rankdata(flat, method="average", axis=0)
    scores = ndtri((ranks - _BLOM) / (len(flat) - 2 * _BLOM + 1))
    scores = np.where(np.isfinite(flat).all(axis=0), scores, np.nan)
    return scores.reshape(draws.shape)


def _rhat(chains):
    n = chains.shape[1]
    within = chains.var(axis=1, ddof=1).mean(axis=0)
    between = chains.mean(axis=1).var(axis=0, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.sqrt((n - 1) / n + between / within)


def _ess(chains):
    """By Geyer's initial monotone sequence of autocorrelations of all chains."""
    m, n = chains.shape[:2]
    centred = chains - chains.mean(axis=1, keepdims=True)
    wide = next_fast_len(2 * n)
    spectrum = np.fft.rfft(centred, wide, axis=1)
    autocovariance = np.fft.irfft(abs(spectrum) ** 2, wide, axis=1)[:, :n].real / n
    within = autocovariance[:, 0].mean(axis=0) * n / (n - 1)
    total = within * (n - 1) / n
    if m > 1:
        total = total + chains.mean(axis=1).var(axis=0, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        rho = 1 - (within - autocovariance.mean(axis=0)) / total
    rho[0] = 1.0
    pairs = n // 2
    paired = rho[: 2 * pairs].reshape(pairs, 2, *rho.shape[1:]).sum(axis=1)
    # Positive until the first that is not, and no larger than those before.
    positive = np.minimum.accumulate(np.where(paired > 0, 1.0, 0.0), axis=0)
    monotone = np.minimum.accumulate(np.where(positive > 0, paired, np.inf), axis=0)
    sums = np.sum(np.where(positive > 0, monotone, 0.0), axis=0)
    tau = np.maximum(2 * sums - 1, 1 / np.log10(m * n))
    found = m * n / tau
    return np.where(np.isfinite(total) & (total > 0), found, np.nan)
