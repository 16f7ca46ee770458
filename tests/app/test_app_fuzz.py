"""Tables and constructors that nobody thought of: no traceback, no NaN, no silent change of kind.

Nothing is sampled, and few functions are compiled: tables go through the code that reads them.
"""
# ruff: noqa: PT017

import inspect
import io
import math
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from mogp import levy, priors
from mogp.app import tables
from mogp.app.comparison import Settings as CompareSettings
from mogp.app.fits import Settings as FitSettings
from mogp.estimators import MoGPRegressor

pytestmark = pytest.mark.commands


def quick(num):
    """The same few examples each time, as long as they take."""
    slow = [HealthCheck.too_slow, HealthCheck.filter_too_much]
    return settings(
        max_examples=num, deadline=None, derandomize=True, database=None, suppress_health_check=slow
    )


def columns_of(content, name="t.csv", form=tables.AS_FOUND):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        frame = tables.raw(path, form)
        return tables.understood(frame, frame.columns, {}, form, "t"), frame


# --- files ----------------------------------------------------------------------------------------

CELLS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        ["", "?", "NA", "1", "01", "1.5", "1,5", "1,500", "1e3", "5%", "$3", "true", "2024-01-31",
         "12:30", "=1+1", '"', '"a', "#", "inf", "-inf", "nan", "\N{MINUS SIGN}4", "٣", "0x10"]
    ),
)  # fmt: skip


@quick(300)
@given(st.lists(st.lists(CELLS, max_size=4), max_size=8), st.sampled_from(",;\t| "),
       st.sampled_from(["utf-8", "utf-16", "cp1252", "utf-8-sig"]))  # fmt: skip
@example([["y", "y"], ["1", "2"]], ",", "utf-8")
@example([["#"], ["1"], ["2"]], ",", "utf-8")
@example([["a", ""], ["\r", "\x00"]], ",", "utf-8")
def test_any_text_is_read_or_refused(rows, sep, encoding):
    content = "\n".join(sep.join(row) for row in rows).encode(encoding, errors="replace")
    try:
        found, frame = columns_of(content)
        target = list(frame)[-1]
        kinds = {name: tables.kind_of(column) for name, column in found.items()}
        kinds[target] = "number"
        reading = tables.Reading(tuple(frame)[:-1], target, kinds)
        there = reading.targets(frame).notna()
        rows = reading.inputs(frame[there]), reading.targets(frame)[there].to_numpy()
        x, y = MoGPRegressor().prepare(*rows)
        assert np.isfinite(x).all()
        assert np.isfinite(y).all()
    except ValueError as error:
        assert str(error)
    else:
        for column in found.values():
            assert column.line()


@quick(200)
@given(st.binary(max_size=200), st.sampled_from([".csv", ".csv.gz", ".csv.xz", ".tsv", ".npz"]))
@example(b"\x1f\x8b", ".csv.gz")
@example(b"PK\x03\x04", ".npz")
@example(b"PK\x05\x06" + bytes(18), ".npz")
def test_any_bytes_are_read_or_refused(content, suffix):
    try:
        columns_of(content, f"t{suffix}")
    except ValueError as error:
        assert str(error)


# --- kinds ----------------------------------------------------------------------------------------

FLOATS = st.floats(-1e12, 1e12, allow_nan=False).filter(lambda v: v == 0 or abs(v) > 1e-12)
LEVELS = st.lists(
    st.text(st.characters(codec="ascii", categories=["L"]), min_size=1, max_size=6)
    .filter(lambda text: text.lower() not in ("na", "nan", "null", "none", "inf", "infinity"))
    .filter(lambda text: not text.lower().startswith(tuple("jfmasond"))),  # no months
    min_size=2, max_size=5, unique_by=str.lower,
)  # fmt: skip


@quick(150)
@given(
    st.lists(FLOATS, min_size=12, max_size=30), LEVELS, st.sampled_from(",;\t|"),
    st.sampled_from(".,"), st.sampled_from(["utf-8", "utf-16", "utf-8-sig"]), st.booleans(),
)  # fmt: skip
def test_a_column_keeps_its_kind_and_values(values, levels, sep, decimal, encoding, index):
    """Whatever dialect a program writes: with the options for it where they cannot be found."""
    frame = pd.DataFrame({
        "number": values, "text": [levels[i % len(levels)] for i in range(len(values))],
        "truth": [i % 2 == 0 for i in range(len(values))],
    })  # fmt: skip
    text = frame.to_csv(sep=sep, decimal=decimal, index=index)
    form = tables.Format(decimal=decimal if "," in (sep, decimal) else None)
    found, _ = columns_of(text.encode(encoding), form=form)
    assert list(found) == list(frame)
    kinds = [column.kind.split(",")[0] for column in found.values()]
    assert kinds == ["number", "text", "true or false"]
    np.testing.assert_allclose(found["number"].values, values, rtol=1e-12)
    assert found["text"].values.tolist() == frame["text"].tolist()
    again, _ = columns_of(frame.to_csv(index=False).encode())
    np.testing.assert_array_equal(again["number"].values, found["number"].values)


@quick(150)
@given(
    st.lists(FLOATS, min_size=20, max_size=40), st.integers(0, 19), st.text(max_size=6),
)  # fmt: skip
@example([1.0] * 20, 3, "x")
@example([1.0] * 20, 3, "1,000")
@example([1.0] * 20, 3, "5 %")
def test_one_wrong_cell_never_makes_text_of_numbers(values, place, cell):
    cells = [repr(value) for value in values]
    cells[place] = cell
    stream = io.StringIO()
    pd.DataFrame({"p": cells, "y": range(len(cells))}).to_csv(stream, index=False)
    try:
        found = columns_of(stream.getvalue().encode())[0]["p"]
    except ValueError as error:
        assert "'p'" in str(error) or "zero bytes" in str(error) or "fields" in str(error)
    else:
        assert found.kind == "number"
        assert found.missing == (found.values.isna().sum())


@quick(100)
@given(st.lists(FLOATS, min_size=3, max_size=20), FLOATS)
def test_finite_numbers_are_finite_when_standardised(values, new):
    assume(len(set(values)) > 2)
    frame = pd.DataFrame({"x": values, "y": range(len(values))})
    try:
        estimator = MoGPRegressor()
        estimator.prepare(frame[["x"]], frame["y"])
        rows, _ = estimator.encoding_.inputs(pd.DataFrame({"x": [*values, new]}))
        found = rows.astype(np.float32)
    except ValueError as error:
        assert "'x'" in str(error) or "no input varies" in str(error)
    else:
        assert np.isfinite(found).all()


# --- constructors ---------------------------------------------------------------------------------

ODD = [0, -1, 1, 2, 0.5, 1.5, 1e-8, 1e8, 1e-300, 1e300, math.inf, -math.inf, math.nan, None, True,
       "1", "", [], [1.0, 2.0], 1j, 10**400, object()]  # fmt: skip
# These take laws or measures, and other constructors make them.
MADE_OF_OTHERS = {"MeasureLaw", "ScaledLaw", "SpikeAndSlabLaw", "Thinned"}
CLASSES = {
    f"{room.__name__}.{name}": value
    for room in (priors, levy)
    for name, value in ((name, getattr(room, name)) for name in room.__all__)
    if inspect.isclass(value) and not inspect.isabstract(value)
    and not issubclass(value, tuple | Exception) and name not in MADE_OF_OTHERS
}  # fmt: skip


@pytest.mark.parametrize("name", CLASSES)
def test_constructors_take_or_refuse_what_they_are_given(name):
    kind = CLASSES[name]
    signature = inspect.signature(kind)

    @quick(12)
    @given(st.data())
    def construct(data):
        chosen = {
            parameter.name: data.draw(st.sampled_from(ODD))
            for parameter in signature.parameters.values()
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        }
        try:
            value = kind(**chosen)
        except (ValueError, TypeError, OverflowError):
            return
        assert repr(value)

    construct()


NAMES = ["iid", "horseshoe", "inversegamma", "bernoulli", "gamma", "beta", "betapareto", "gbfry",
         "generalizedgamma", "stable", "grouplasso", "regularizedhorseshoe"]  # fmt: skip


@quick(200)
@given(st.one_of(
    st.text(max_size=30),
    st.builds(
        lambda name, parts: f"{name}({', '.join(parts)})",
        st.sampled_from(NAMES),
        st.lists(
            st.builds(
                "{}={}".format,
                st.sampled_from(["alpha", "tau", "mass", "rate", "shape", "slab", "concentration"]),
                st.one_of(st.floats().map(repr), st.text(max_size=4), st.just("9" * 400)),
            ),
            max_size=3,
        ),
    ),
))  # fmt: skip
@example("(" * 900 + "iid" + ")" * 900)
@example("gbfry(alpha=0.5, tau=" + "-" * 900 + "1)")
def test_any_prior_is_taken_or_refused(text):
    for build in (lambda: FitSettings("y", prior=text), lambda: CompareSettings(priors=(text,))):
        try:
            build()
        except ValueError as error:
            assert str(error)
