"""Training windows as other recorders would have written them, so that a network does not lean on one amplifier."""

import math

import torch

OCTAVES = 8  # knots of the gain curve, an octave apart from LOWEST on
LOWEST = 0.4  # Hz
CURVE, TILT = 4.0, 4.0  # dB, standard deviation of every knot, and of a slope over all knots at their ends
# Referred to a mastoid, EEG has more from 6 to 25 Hz than between two points of the scalp's midline: 3 to 9 dB in the
# development nights of C3-A2. Up to so many dB, uniform, around so many Hz; standard deviation in octaves.
BUMP, MIDDLE, WIDTH = 10.0, 14.0, 0.9
GAIN = 0.5  # octaves, standard deviation of the amplitude: 95 % lie within a factor of 2
LOW_PASS, HIGH_PASS = (20, 48), (0.05, 1)  # Hz, uniform, and uniform on a logarithmic scale
ORDERS = (2, 16)  # of the low-pass: from an amplifier's to that of a resampled signal
HUM, FLOOR = (0.5, 15), (0.3, 3)  # µV, amplitude of line noise, and standard deviation of the noise floor
WANDER = 15  # µV, standard deviation of offset, and of drift over a window
SHARES = {"none": 0.15, "bump": 0.6, "low_pass": 0.5, "high_pass": 0.5, "hum": 0.15, "floor": 0.3}
SHARES |= {"wander": 0.2, "flip": 0.5}


def other_recorder(x, fs):
    """Windows as if each had been recorded by an amplifier of its own: (n, samples) float32 µV -> the same, tensors.

    A smooth random gain over frequency, low- and high-pass, amplitude, polarity, line noise, noise floor, offset and
    drift; SHARES of the windows get each. Random numbers are torch's own. Filters have no phase and mirror the window
    at its ends, where a filter over a whole night would see its neighbours.
    """
    n, samples = x.shape
    time = torch.arange(samples, device=x.device) / fs

    def between(low, high):
        return low + (high - low) * torch.rand(n, 1, device=x.device)

    def normal(sd, columns=1):
        return sd * torch.randn(n, columns, device=x.device)

    def some(kind):
        return (torch.rand(n, 1, device=x.device) < SHARES[kind]).float()

    hertz = torch.where(torch.rand(n, 1, device=x.device) < 0.5, 50.0, 60.0)
    hum = _log_between(between, HUM) * torch.sin(2 * math.pi * (hertz * time + between(0, 1)))
    floor = _log_between(between, FLOOR) * normal(1, samples)
    changed = x + some("hum") * hum + some("floor") * floor
    changed = _filtered(changed, fs, _gain(between, normal, some, samples, fs, x.device))
    slope = time / time[-1] - 0.5
    changed = changed + some("wander") * (normal(WANDER) + normal(WANDER) * slope)
    changed = changed * (1 - 2 * some("flip"))
    untouched = some("none")
    return untouched * x + (1 - untouched) * changed


def _log_between(between, ends):
    return torch.exp(between(*map(math.log, ends)))


def _gain(between, normal, some, samples, fs, device):
    """Factors of the frequencies of the mirrored windows: (n, samples + 1)."""
    hertz = torch.fft.rfftfreq(2 * samples, 1 / fs, device=device)
    hertz[0] = hertz[1] / 2
    knots = normal(CURVE, OCTAVES) + normal(TILT) * torch.linspace(-1, 1, OCTAVES, device=device)
    place = torch.log2(hertz / LOWEST).clamp(0, OCTAVES - 1)
    hats = (1 - (place - torch.arange(OCTAVES, device=device)[:, None]).abs()).clamp(min=0)  # linear between knots
    bump = torch.exp(-0.5 * (torch.log2(hertz / MIDDLE) / WIDTH) ** 2)
    decibel = knots @ hats + some("bump") * between(0, BUMP) * bump
    gain = 10 ** (decibel / 20) * 2 ** normal(GAIN)
    low = 1 / (1 + (hertz / between(*LOW_PASS)) ** (2 * between(*ORDERS))).sqrt()
    high = 1 / (1 + (_log_between(between, HIGH_PASS) / hertz) ** 2).sqrt()
    for name, factor in (("low_pass", low), ("high_pass", high)):
        chosen = some(name)
        gain = gain * (chosen * factor + 1 - chosen)
    return gain


def _filtered(x, fs, gain):
    samples = x.shape[1]
    mirrored = torch.cat([x, x.flip(1)], dim=1)
    return torch.fft.irfft(torch.fft.rfft(mirrored) * gain, n=2 * samples)[:, :samples]
