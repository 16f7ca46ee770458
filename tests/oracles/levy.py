"""Slow, independent routes to Lévy measures on (0, ∞), right in 30 digits and more.

All is worked out in `DIGITS` digits, of which no formula loses more than half; where one would
(large concentrations, large arguments of an alternating series) it says what it adds.
Floats and mpf arguments are taken as exact.
"""

import itertools
import time

import mpmath as mp

DIGITS = 80
NUDGE = mp.mpf(10) ** -25  # where f(a) is 0/0: (f(a + h) + f(a - h)) / 2 is off by h² f''(a) / 2


def flushed(x):
    """Zero for what hypergeometric series cannot see (mpmath takes seconds over 1e-200000)."""
    return x if x > mp.eps / 1000 else mp.mpf(0)


def gamma_integral(a, z):
    """`∫_0^z w^(a-1) e^-w dw`, continued in a to -1 < a < 0."""
    if z <= 1:
        return z**a / a * mp.hyp1f1(a, a + 1, -flushed(z))
    return mp.gamma(a) if z == mp.inf else mp.gammainc(a, 0, z)


def beta_integral(a, b, x, y):
    """`∫_0^x w^(a-1) (1-w)^(b-1) dw` for `y = 1 - x`, by series at an argument of at most 1/2."""
    if x <= 0.5:
        return x**a / a * mp.hyp2f1(a, 1 - b, a + 1, flushed(x))
    return mp.beta(a, b) - y**b / b * mp.hyp2f1(b, 1 - a, b + 1, flushed(y))


def nudged(f, a, pole):
    """`f(a)`, where the formula for `f` divides by `a - pole` although `f` is smooth there."""
    if abs(a - pole) > NUDGE:
        return f(a)
    return (f(a + 2 * NUDGE) + f(a - 2 * NUDGE)) / 2


class Measure:
    """`cut` is 1 / the end of the support; `complement`, if given, is `1 - cut x`."""

    cut = 0

    def _call(self, f, x, complement=None):
        with mp.workdps(DIGITS):
            x = mp.convert(x)
            y = 1 - self.cut * x if complement is None else mp.convert(complement)
            return +f(x, y) if y > 0 else mp.mpf(0)

    def density(self, x, complement=None):
        return self._call(self._density, x, complement)

    def tail(self, x, complement=None):
        return self._call(self._tail, x, complement)

    def moment(self, k, upper=mp.inf):
        """`∫_0^upper x^k ρ(dx)`."""
        with mp.workdps(DIGITS):
            k, upper = mp.convert(k), mp.convert(upper)
            if self.cut and self.cut * upper >= 1:
                return +self._moment(k, 1 / mp.convert(self.cut), mp.mpf(0))
            return +self._moment(k, upper, 1 - self.cut * upper if self.cut else mp.mpf(1))

    def laplace(self, t):
        """`∫ (1 - e^(-tx)) ρ(dx)`."""
        with mp.workdps(DIGITS):
            return +self._laplace(mp.convert(t))

    def point(self, s):
        """`x` and its complement at log x = s, or at log-odds s of x in a bounded support."""
        if not self.cut:
            return mp.exp(s), mp.mpf(1)
        return 1 / (self.cut * (1 + mp.exp(-s))), 1 / (1 + mp.exp(s))

    def inverse_tail(self, u):
        """`log x` where the tail is `u`: Newton steps for log tail(point(s)) inside a bracket."""
        with mp.workdps(DIGITS):
            u = mp.convert(u)
            low, high, s, step = mp.mpf(-1), mp.mpf(1), mp.mpf(0), mp.inf
            while self.tail(*self.point(low)) < u:
                low *= 2
            while self.tail(*self.point(high)) > u:
                high *= 2
            while abs(step) > 1e-25 * (1 + abs(s)):
                x, y = self.point(s)
                tail = self.tail(x, y)
                low, high = (s, high) if tail > u else (low, s)
                step = tail * mp.log(tail / u) / (x * y * self.density(x, y))
                if not low < s + step < high and abs(step) > 1e-25 * (1 + abs(s)):
                    step = (low + high) / 2 - s
                s += step
            return s if not self.cut else -mp.log(self.cut) - mp.log1p(mp.exp(-s))


class Stable(Measure):
    def __init__(self, alpha, scale=1):
        self.alpha, self.scale = mp.convert(alpha), mp.convert(scale)

    def _density(self, x, y):
        return self.alpha / x * self._tail(x, y)

    def _tail(self, x, _y):
        return (x / self.scale) ** -self.alpha

    def _moment(self, k, upper, _y):
        return self.alpha * self.scale**self.alpha * upper ** (k - self.alpha) / (k - self.alpha)

    def _laplace(self, t):
        return mp.gamma(1 - self.alpha) * (t * self.scale) ** self.alpha


class GeneralizedGamma(Measure):
    def __init__(self, alpha, rate, mass):
        self.alpha, self.rate, self.mass = map(mp.convert, (alpha, rate, mass))

    def _density(self, x, _y):
        constant = self.mass * mp.rgamma(1 - self.alpha)
        return constant * x ** (-1 - self.alpha) * mp.exp(-self.rate * x)

    def _tail(self, x, _y):  # loses the digits of x / alpha
        a, z = self.alpha, self.rate * x
        if z <= 1:
            upper = mp.gamma(-a) - gamma_integral(-a, z)
        else:
            upper = (z**-a * mp.exp(-z) - mp.gammainc(1 - a, z)) / a  # Γ(-α, z)
        return self.mass * mp.rgamma(1 - a) * self.rate**a * upper

    def _moment(self, k, upper, _y):
        a = k - self.alpha
        constant = self.mass * mp.rgamma(1 - self.alpha) * self.rate**-a
        return constant * gamma_integral(a, self.rate * upper)

    def _laplace(self, t):
        a = self.alpha
        return self.mass * self.rate**a * mp.expm1(a * mp.log1p(t / self.rate)) / a


class Gamma(GeneralizedGamma):
    def __init__(self, mass, rate):
        super().__init__(0, rate, mass)

    def _tail(self, x, _y):
        z = self.rate * x
        return self.mass * (-mp.log(z) - mp.euler if flushed(z) == 0 else mp.e1(z))

    def _laplace(self, t):
        return self.mass * mp.log1p(t / self.rate)


class InverseGaussian(GeneralizedGamma):
    def __init__(self, mean, shape):
        with mp.workdps(DIGITS):
            mean, shape = mp.convert(mean), mp.convert(shape)
            super().__init__(mp.mpf(0.5), shape / (2 * mean**2), mp.sqrt(shape / 2))


class StableBeta(Measure):
    cut = 1

    def __init__(self, alpha, concentration, mass):
        self.alpha, self.c, self.mass = map(mp.convert, (alpha, concentration, mass))
        with mp.workdps(DIGITS):
            self.b = self.c + self.alpha
            self.constant = mp.gamma(1 + self.c) * mp.rgamma(1 - self.alpha) * mp.rgamma(self.b)
            self.constant *= self.mass

    def _density(self, x, y):
        return self.constant * x ** (-1 - self.alpha) * y ** (self.b - 1)

    def _tail(self, x, y):
        a, b = self.alpha, self.b
        if x > 0.5:
            return self.constant * y**b / b * mp.hyp2f1(b, 1 + a, b + 1, flushed(y))
        with mp.extradps(int(-b * mp.log10(y)) + 5):  # the tail has a factor y^b, the sum has not
            return self.constant * self._left(x)

    def _left(self, x):
        """The tail for a constant of 1 as its expansion at 0; loses the digits of 1 / alpha."""
        a, b = self.alpha, self.b
        end = mp.gamma(-a) * mp.gamma(b) * mp.rgamma(self.c)
        return x**-a / a * mp.hyp2f1(-a, 1 - b, 1 - a, flushed(x)) + end

    def _moment(self, k, upper, y):
        return self.constant * beta_integral(k - self.alpha, self.b, upper, y)

    def _laplace(self, t):
        return self.mass * t * mp.hyp2f2(1, 1 - self.alpha, 2, 1 + self.c, -t)


class Beta(StableBeta):
    def __init__(self, mass, concentration):
        super().__init__(0, concentration, mass)

    def _left(self, x):
        b, log_x, x = self.b, mp.log(x), flushed(x)
        return -log_x - mp.psi(0, b) - mp.euler - (1 - b) * x * mp.hyp3f2(1, 1, 2 - b, 2, 2, x)


class RegularizedHorseshoe(Measure):
    def __init__(self, slab):
        self.cut = mp.convert(slab)

    def _density(self, x, y):
        return x**-1.5 / mp.sqrt(y) / mp.pi

    def _tail(self, x, y):
        return 2 / mp.pi * mp.sqrt(y / x)

    def _moment(self, k, upper, y):
        scaled = beta_integral(k - 0.5, mp.mpf(0.5), self.cut * upper, y)
        return self.cut ** (0.5 - k) / mp.pi * scaled

    def _laplace(self, t):
        z = t / self.cut / 2
        return t / mp.sqrt(self.cut) * mp.exp(-z) * (mp.besseli(0, z) + mp.besseli(1, z))


class ParetoMixture(Measure):
    """Each jump of `base` times an independent Pareto(tau) on [1, ∞)."""

    def __init__(self, base, tau):
        self.base, self.tau = base, mp.convert(tau)

    def _density(self, x, _y):
        return self.tau * x ** (-1 - self.tau) * self.base.moment(self.tau, x)

    def _tail(self, x, _y):
        return self.base.tail(x) + x**-self.tau * self.base.moment(self.tau, x)

    def _moment(self, k, upper, _y):
        tau = self.tau
        if upper == mp.inf:
            return mp.inf if k >= tau else tau / (tau - k) * self.base.moment(k)
        at_tau = self.base.moment(tau, upper)
        return nudged(
            lambda k: tau * (upper ** (k - tau) * at_tau - self.base.moment(k, upper)) / (k - tau),
            k,
            tau,
        )


class GBFRY(ParetoMixture):
    def __init__(self, alpha, tau, mean):
        with mp.workdps(DIGITS):
            alpha, tau, mean = map(mp.convert, (alpha, tau, mean))
            self.scale = mean * (tau - 1) / (tau - alpha)
            mass = self.scale**alpha * (tau - alpha) / tau
            super().__init__(GeneralizedGamma(alpha, 1 / self.scale, mass), tau)

    def _laplace(self, t):
        s, alpha, rest = self.scale * t, self.base.alpha, self.tau - self.base.alpha
        large = s**alpha / rest * mp.hyp2f1(1 - alpha, rest, rest + 1, -1 / s)
        return rest / self.tau * (mp.expm1(alpha * mp.log1p(s)) / alpha + large)


class BetaPareto(ParetoMixture):
    def __init__(self, mass, concentration, tau):
        super().__init__(Beta(mass, concentration), tau)

    def _laplace(self, t):
        if t > 100:
            return self._laplace_integral(t)
        with mp.extradps(int(t)):  # the terms grow up to e^t
            return nudged(lambda tau: self._laplace_series(t, tau), self.tau, mp.nint(self.tau))

    def _laplace_series(self, t, tau):
        """`E_Y` of the Taylor series of the Beta law's exponent, continued in τ."""
        b, n, total = self.base.b, 1, -mp.gamma(-tau) * mp.beta(tau, self.base.b) * t**tau
        term = t / b  # (-1)^(n+1) B(n, b) t^n / n!
        while abs(term) > mp.eps * t or n < 5:
            total += term / (tau - n)
            term *= -t * n / ((n + b) * (n + 1))
            n += 1
        return self.base.mass * b * tau * total

    def _laplace_integral(self, t):
        """`∫ g(tw) ρ_Beta(dw)`, where `g(s) = E(1 - e^(-sY))` is 1 but for e^-100 from s = 100."""
        with mp.workdps(45):
            b, tau = self.base.b, self.tau
            power = max(mp.mpf(1), 1 / tau)  # in v, s = v^power: g is of order v at 0

            def integrand(v):
                s = v**power
                return (1 - s / t) ** (b - 1) * (1 - tau * mp.expint(tau + 1, s)) * power / v

            near = mp.quad(integrand, [mp.mpf(s) ** (1 / power) for s in (0, 1, 10, 40, 100)])
            return self.base.tail(100 / t) + self.base.mass * b * near


class Combined(Measure):
    """`Σ weight * measure.scaled(factor)`, of oracles."""

    def __init__(self, *parts):
        self.parts = parts
        self.cut = min(oracle.cut / factor for _, factor, oracle in parts)

    def _density(self, x, _y):
        return sum(w / c * oracle.density(x / c) for w, c, oracle in self.parts)

    def _tail(self, x, _y):
        return sum(w * oracle.tail(x / c) for w, c, oracle in self.parts)

    def _moment(self, k, upper, _y):
        return sum(w * c**k * oracle.moment(k, upper / c) for w, c, oracle in self.parts)

    def _laplace(self, t):
        return sum(w * oracle.laplace(c * t) for w, c, oracle in self.parts)


class Above(Measure):
    """The jumps of an oracle above `low`: finitely many."""

    def __init__(self, oracle, low):
        self.oracle, self.low = oracle, mp.mpf(low)
        self.support, self.mass = (low, float("inf")), float(oracle.tail(low))

    def _density(self, x, _y):
        return self.oracle.density(x) if x > self.low else mp.mpf(0)

    def _tail(self, x, _y):
        return self.oracle.tail(max(x, self.low))

    def _moment(self, k, upper, _y):
        return self.oracle.moment(k, upper) - self.oracle.moment(k, self.low)

    def _laplace(self, t):
        cuts = [self.low, 2 * self.low, 1, 4, 20, 100]
        return mp.quad(lambda x: -mp.expm1(-t * x) * self.oracle.density(x), cuts)


def _direct(measure, weight, s, way):
    """`∫ weight(x) ρ(dx)` from point(s) up (way 1) or down (-1): panels until nothing is added."""

    def integrand(s):
        x, y = measure.point(s)
        return weight(x) * measure.density(x, y) * x * y

    total, panel = mp.mpf(0), mp.inf
    edges = [s, 2 * way * (mp.floor(way * s / 2) + 1)]  # the next even number
    while abs(panel) > 1e-23 * total:
        unit = integrand(edges[0])  # mp.quad stops at an absolute error
        method = "tanh-sinh" if 0 in edges else "gauss-legendre"  # a kink of BetaPareto's
        panel = mp.quad(lambda s, u=unit: integrand(s) / u, edges, method=method)
        panel *= way * unit
        total, edges = total + panel, [edges[1], edges[1] + 2 * way]
    return total


def _check_case(close, m, orders, whole):
    for s in map(mp.mpf, (-69.1, -3, -0.4, 0.3, 3.1)):
        x, y = m.point(s)
        close(m.tail(x, y), _direct(m, lambda _x: 1, s, 1))
    for s, k in itertools.product(map(mp.mpf, (-69.1, -0.4, 3.1)), orders):
        close(m.moment(k, m.point(s)[0]), _direct(m, lambda x, k=k: x**k, s, -1))
    if whole:
        up = _direct(m, lambda x: x**whole, mp.mpf(0), 1)
        close(m.moment(whole), m.moment(whole, m.point(mp.mpf(0))[0]) + up)
    for t in (1e-30, 0.5, 20, 300):
        if getattr(m, "alpha", 0) < 0.9:  # else the integral from 0 takes for ever
            parts = [_direct(m, lambda x, t=t: -mp.expm1(-t * x), mp.mpf(0), w) for w in (1, -1)]
            close(m.laplace(t), sum(parts))
    for u in (1e-20, 1e-3, 5, 1000, 1e6):
        log_x = m.inverse_tail(u)
        with mp.workdps(DIGITS):  # 1e-20 may be 40 digits from the end of the support
            close(m.tail(mp.exp(log_x), -mp.expm1(log_x + mp.log(m.cut)) if m.cut else None), u)


def _check():
    errors = []

    def close(value, expected):
        errors.append(abs(value / expected - 1))
        assert errors[-1] < 1e-20, (mp.nstr(value, 25), mp.nstr(expected, 25))

    two = mp.mpf(2)
    for m, orders, whole in [  # orders of moments, then one whose whole moment is finite
        (Stable(0.25, 2), [1, 2.5], None),
        (GeneralizedGamma(0.5, 1, 1), [1, 2.5], 1),
        (GeneralizedGamma(1e-6, 3, 2), [1, 0.5], 1),
        (GeneralizedGamma(0.999, 0.1, 2), [1.5, 3], 2),
        (Gamma(2, 3), [1, 0.5], 1),
        (InverseGaussian(2, 0.7), [1, 2.5], 1),
        (Beta(1.5, 0.5), [1, 0.5, 7], 1),
        (Beta(1, 7.25), [1, 0.5, 7], 1),
        (Beta(1, 2), [1, 0.5, 7], 1),
        (StableBeta(0.4, 0, 2), [1, 2.5], 1),
        (StableBeta(0.75, -0.5, 1), [1.5, 2.5], 2),
        (StableBeta(1e-6, 12, 1), [1, 2.5], 1),
        (RegularizedHorseshoe(1), [1, 2.5], 1),
        (RegularizedHorseshoe(0.125), [1, 2.5], 1),
        (GBFRY(0.5, 2, 1), [1, 2, two + mp.mpf("1e-30"), two - 1e-12, 3], 1.5),
        (GBFRY(0.25, 5, 1.5), [1, 5], 3),
        (BetaPareto(1.5, 0.5, 2), [1, 2, two + mp.mpf("1e-24"), 3], 1.5),
        (BetaPareto(1, 2.5, 0.75), [0.75, 1], 0.375),
    ]:
        start, count = time.time(), len(errors)
        _check_case(close, m, orders, whole)
        worst = mp.nstr(max(errors[count:]), 2)
        print(type(m).__name__, f"{worst} in {time.time() - start:.0f} s", flush=True)  # noqa: T201

    g, i, c = GeneralizedGamma(0.3, 2, 1), InverseGaussian(1, 3), two / 3
    for x in map(mp.mpf, (1e-30, 0.3, 40, 1e6)):
        close(g.tail(x), mp.expint(1 + g.alpha, 2 * x) * x**-g.alpha / mp.gamma(1 - g.alpha))
        close(i.density(x), mp.sqrt(3 / mp.pi / 2 / x**3) * mp.exp(-1.5 * x))
        f = 1.5 * c**2 / mp.sqrt(mp.pi) * x**-3 * mp.gammainc(1.5, 0, x / c)
        close(GBFRY(0.5, 2, 1).density(x), f)
    close(Gamma(2, 3).inverse_tail(1e6), -500000 - mp.euler - mp.log(3))

    rows = """0 2.15521223405 0.613519431542 0.020848746223 8.46286891369e-7 0.0918562638244
        1 2.61091260097 0.835626458171 0.013699199 1.18871364366e-12 0.0258892979561
        2 2.54363526256 0.649025105374 0.0274224835555 1.26816504127e-6 0.112462916018
        3 - 0.520367878652 0.0161140481765 3.60971631189e-23 -
        4 - 1.20993512134 - - -
        5 - 0.97245276526 - - -"""
    x, fifth, matched = mp.mpf("0.3"), mp.mpf("0.2"), 0
    measures = [GBFRY(0.5, 2, 1), GBFRY(fifth, 5, 1), GeneralizedGamma(0.5, 1, 1)]
    measures += [Gamma(2, 3), Beta(1, 0.5), RegularizedHorseshoe(1)]
    for m, row in zip(measures, rows.splitlines(), strict=True):
        far = 100 if isinstance(m, Gamma) else 1000
        found = [m.density(x), m.tail(x), mp.exp(m.inverse_tail(5)), mp.exp(m.inverse_tail(far))]
        found.append(m.moment(1, mp.mpf("0.01")))
        for value, expected in zip(found, row.split()[1:], strict=True):
            if expected != "-":
                digits = len(expected.split("e")[0].replace(".", "").lstrip("0"))
                rounded = mp.mpf(mp.nstr(value, digits))
                assert rounded == mp.mpf(expected), (type(m).__name__, value, expected)
                matched += 1
    print(len(errors), "values, worst", mp.nstr(max(errors), 2), f"; {matched} references")  # noqa: T201


if __name__ == "__main__":
    with mp.workdps(40):
        _check()
