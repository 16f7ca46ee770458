"""Tables for the tests of fits: two of frames, and many as people write them."""

import bz2
import gzip
import lzma

import numpy as np
import pandas as pd

N = 40


def numbers(n=20):
    """One input, a real target far from 0 and 1, in a table."""
    x = np.linspace(0.0, 10.0, n)
    noise = np.random.default_rng(0).normal(size=n)
    return pd.DataFrame({"dose": x, "effect": 500 + 30 * x + 5 * noise})


def kinds(n=24):
    """Two inputs, one of text, and three classes of text."""
    rng = np.random.default_rng(1)
    size = rng.normal(size=n)
    kind = np.array(["high", "low", "mid"])[np.digitize(size, [-0.5, 0.5])]
    return pd.DataFrame({"size": size, "colour": np.tile(["red", "blue"], n // 2), "kind": kind})


def column(cells, head="p"):
    """A table of a column and a target `y` of numbers, from 40 cells: one, or a function."""
    cell = cells if callable(cells) else lambda i: cells[i % len(cells)]
    return f"{head},y\n" + "".join(f"{cell(i)},{i % 11}\n" for i in range(N))


def except_for(row, text):
    return lambda i: text if i == row else str(3 * (i % 9))


PLAIN = "a,b,y\n" + "".join(f"{i},{i % 3},{i * i % 17}\n" for i in range(N))
NUMBERS = {"a": "number", "b": "number", "y": "number"}

# Name = content, what columns are, a sentence that is said (or empty).
UNDERSTOOD = {
    "plain.csv": (PLAIN, NUMBERS, "3 columns between ','"),
    "semicolon.csv": (PLAIN.replace(",", ";"), NUMBERS, "3 columns between ';'"),
    "tab.csv": (PLAIN.replace(",", "\t"), NUMBERS, "3 columns between tabs"),
    "tab.tsv": (PLAIN.replace(",", "\t"), NUMBERS, "3 columns between tabs"),
    "bar.csv": (PLAIN.replace(",", "|"), NUMBERS, "3 columns between '|'"),
    "name_with_comma.csv": (
        "income, total;y\n" + "".join(f"{i};{i % 7}\n" for i in range(N)),
        {"income, total": "number", "y": "number"}, "2 columns between ';'",
    ),
    "quoted_comma.csv": (
        'a,"b, quoted",y\n' + "".join(f'{i},"u, {i % 2}",{i % 7}\n' for i in range(N)),
        {"a": "number", "b, quoted": "text", "y": "number"}, "",
    ),
    "decimal_comma.csv": (
        "a;b;y\n" + "".join(f"{i},5;{i % 3};{i * i % 17},2\n" for i in range(N)),
        dict.fromkeys("aby", "number, decimal comma"), "",
    ),
    "decimal_comma.tsv": (
        "a\ty\n" + "".join(f"{i},25\t{i % 7}\n" for i in range(N)),
        dict.fromkeys("ay", "number, decimal comma"), "",
    ),
    "utf16.csv": (PLAIN.encode("utf-16"), NUMBERS, "text encoded as utf-16"),
    "utf32.csv": (PLAIN.encode("utf-32"), NUMBERS, "text encoded as utf-32"),
    "utf16be.csv": (b"\xfe\xff" + PLAIN.encode("utf-16-be"), NUMBERS, "text encoded as utf-16"),
    "bom.csv": (("\ufeff" + PLAIN).encode(), NUMBERS, ""),
    "crlf.csv": (PLAIN.replace("\n", "\r\n"), NUMBERS, ""),
    "cr.csv": (PLAIN.replace("\n", "\r"), NUMBERS, ""),
    "packed.csv.gz": (gzip.compress(PLAIN.encode()), NUMBERS, ""),
    "packed.csv.bz2": (bz2.compress(PLAIN.encode()), NUMBERS, ""),
    "packed.csv.xz": (lzma.compress(PLAIN.encode()), NUMBERS, ""),
    "packed.tsv.gz": (gzip.compress(PLAIN.replace(",", "\t").encode()), NUMBERS, ""),
    "excel.csv": ("sep=~\n" + PLAIN.replace(",", "~"), NUMBERS, "3 columns between '~'"),
    "comment.csv": ("# sensor 4\n" + PLAIN, NUMBERS, "line 1 is a comment: '# sensor 4'"),
    "comments.csv": ("# sensor 4\n#, of us\n" + PLAIN, NUMBERS, "line 2 is a comment"),
    "commented_names.csv": ("# " + PLAIN, NUMBERS, ""),
    "blank_first.csv": ("\n\n" + PLAIN, NUMBERS, ""),
    "index.csv": (
        ",a,b,y\n" + "".join(f"{i},{line}\n" for i, line in enumerate(PLAIN.split()[1:])),
        NUMBERS, "the first column, without a name, is an index and no input",
    ),
    "index_twice.csv": (
        "Unnamed: 0,a,b,y\n" + "".join(f"{i},{x}\n" for i, x in enumerate(PLAIN.split()[1:])),
        NUMBERS, "is an index and no input",
    ),
    "blank_last_row.csv": (PLAIN + ",,\n", NUMBERS, "1 empty rows left out: [42]"),
    "blank_lines.csv": (PLAIN + "\n\n", NUMBERS, "2 empty rows left out: [42, 43]"),
    "trailing_commas.csv": (
        PLAIN.replace("\n", ",\n"), NUMBERS, "column 4 has neither name nor values",
    ),
    "spaces.csv": (
        "age, work, income\n"
        + "".join(f"{20 + i}, {'uv'[i % 2]}, {'<=50K' if i % 3 else '>50K'}\n" for i in range(N)),
        {"age": "number", "work": "text", "income": "text"}, "",
    ),
    "dollar.csv": (
        "cost ($) incl. 5# tax ($),rev_$$\n" + "".join(f"{i},{i * 7 % 11}\n" for i in range(N)),
        {"cost ($) incl. 5# tax ($)": "number", "rev_$$": "number"}, "",
    ),
    "truth.csv": (column(["true", "false"]), {"p": "true or false", "y": "number"}, ""),
    "Truth.csv": (column(["True", "FALSE"]), {"p": "true or false", "y": "number"}, ""),
    "codes.csv": (column(["01", "02", "10"]), {"p": "number", "y": "number"}, ""),
    "exponents.csv": (column(["1e3", "-2.5E-4", "+.5", "5."]), {"p": "number", "y": "number"}, ""),
    "minus.csv": (column(["−1", "2", "−3"]), {"p": "number", "y": "number"}, ""),
    "levels.csv": (column(["none", "some", "yes"]), {"p": "text", "y": "number"}, ""),
    "units.csv": (column(["3 kg", "4 kg"]), {"p": "text", "y": "number"}, ""),
    "versions.csv": (column(["1.2.3", "1.10.0"]), {"p": "text", "y": "number"}, ""),
}  # fmt: skip

# Texts that stand for a missing value in row 7 of a column of numbers.
MISSING = ["", "?", "NA", "N/A", "nan", "NaN", "null", "NULL", "None", "-", "--", ".", "#N/A"]

# Name = content, options, what the refusal says.
REFUSED = {
    "thousands": (column(lambda i: f'"1,{100 + 3 * i}"'), {}, "--thousands reads groups"),
    "thousands_space": (column(lambda i: f"1 {100 + 3 * i}"), {}, "--thousands reads groups"),
    "thousands_swiss": (column(lambda i: f"1'{100 + 3 * i}"), {}, "--thousands reads groups"),
    "thousands_dots": (column(lambda i: f"1.{100 + i}.000"), {}, "--thousands reads groups"),
    "thousands_some": (
        column(lambda i: f'"1,{100 + i}"' if i % 5 == 0 else 900 + i), {}, "8 of 40 rows are none",
    ),
    "thousands_or_decimals": (
        "p;y\n" + "".join(f"1,{100 + i};{i % 7}\n" for i in range(N)), {}, "--thousands reads",
    ),
    "decimals": (column(lambda i: f'"{i},5"'), {}, "--decimal , reads decimal commas"),
    "decimals_quoted": (column(lambda i: f'"{i % 9},25"'), {}, "--decimal , reads"),
    "both": (column(lambda i: f'"1.{100 + i},5"'), {}, "seems to hold numbers, but 40 of 40"),
    "wrong_mark": (column(lambda i: f"{i}.5"), {"decimal": ","}, "seems to hold numbers"),
    "wrong_groups": (column(['"1,2"', '"3,4"']), {"thousands": ","}, "seems to hold numbers"),
    "per_cent": (column(lambda i: f"{i}%"), {}, "--types p=percent reads per cent"),
    "per_cent_space": (column(lambda i: f"{i}.5 %"), {}, "--types p=percent reads per cent"),
    "dollars": (column(lambda i: f"${i}"), {}, "seems to hold numbers, but 40 of 40 rows"),
    "euros": (column(lambda i: f"{i} €"), {}, "seems to hold numbers, but 40 of 40 rows"),
    "typing_error": (column(except_for(5, "x7")), {}, "1 of 40 rows are none (row 7: 'x7')"),
    "two_errors": (
        column(lambda i: "?" if i == 3 else "oops" if i in (8, 9) else i), {},
        "2 of 39 rows are none (row 10: 'oops', row 11: 'oops')",
    ),
    "letter_o": (column(except_for(0, "1O")), {}, "row 2: '1O'"),
    "dates": (column(lambda i: f"2024-01-{1 + i % 28:02d}"), {}, "--types p=date reads ISO"),
    "dates_german": (column(lambda i: f"{1 + i % 28}.1.2024"), {}, "holds dates or times"),
    "dates_american": (column(lambda i: f"1/{1 + i % 28}/24"), {}, "holds dates or times"),
    "dates_named": (column(lambda i: f"{1 + i % 28} Jan 2024"), {}, "holds dates or times"),
    "months": (column(lambda i: f"Mar {2000 + i}"), {}, "holds dates or times"),
    "times": (column(lambda i: f"12:{i:02d}"), {}, "holds dates or times"),
    "stamps": (column(lambda i: f"2024-01-01T00:{i:02d}:00Z"), {}, "holds dates or times"),
    "not_iso": (
        column(lambda i: f"{1 + i % 28}.1.2024"), {"types": ("p=date",)}, "must hold dates as ISO",
    ),
    "typed": (column(["a", "1"]), {"types": ("p=number",)}, "must hold numbers, got 'a' in row 2"),
    "no_header": (PLAIN.partition("\n")[2], {}, "the first line looks like data"),
    "more_fields": ("a,y\n1,2,3\n4,5,6\n", {}, "Expected 2 fields in line 2, saw 3"),
    "more_fields_later": (PLAIN + "1,2,3,4\n", {}, "Expected 3 fields in line 42, saw 4"),
    "nameless": ("a,,y\n1,2,3\n4,5,6\n", {}, "column 2 has no name"),
    "doubled": ("a,y,y\n1,2,3\n4,5,6\n", {}, "two columns of the name 'y'"),
    "doubled_spaces": ("a, y,y\n1,2,3\n4,5,6\n", {}, "two columns of the name 'y'"),
    "open_quote": ('a,y\n1,"2\n3,4\n', {}, "EOF inside string"),
    "cp1252": ("größe,y\n1,2\n".encode("cp1252"), {}, "say what it is with --encoding"),
    "latin": ("a,y\nß,2\n".encode("latin-1"), {}, "say what it is with --encoding"),
    "utf16_without_mark": (PLAIN.encode("utf-16-le"), {}, "--encoding, such as utf-16-le"),
    "utf16_cut": (PLAIN.encode("utf-16")[:-1], {}, "is not utf-16 text"),
    "binary": (bytes(range(1, 256)), {}, "say what it is with --encoding"),
    "empty": ("", {}, "has no rows"),
    "blank": ("\n \n", {}, "has no rows"),
    "names_only": ("a,y\n", {}, "has no rows"),
}  # fmt: skip
