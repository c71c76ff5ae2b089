"""Files as tables of text: CSV in any of the usual encodings, Excel old and new, Parquet.

Every cell comes back as the text that stands in the file, with the file's own row numbers, so that
codes keep their zeros and a message can name the place. What a text means is for ``cells``.
"""

from __future__ import annotations

import csv
import datetime
import gzip
import io
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from popproj.schema import Fault, InputError, Note

HEAD = 30
"""Rows at the top of a table among which its header is looked for."""

DELIMITERS = (",", "\t", ";")

_WORKBOOK = "Open it in Excel and save it as an Excel workbook (.xlsx) or as CSV UTF-8."


@dataclass(frozen=True)
class Grid:
    """Cells of one sheet or text file, row by row from the top: text, blank where empty."""

    name: str
    rows: Sequence[Sequence[str]]


def read_frame(
    path: Path,
    *,
    sheet: str | int | None = None,
    skip_rows: int = 0,
    encoding: str | None = None,
    delimiter: str | None = None,
    is_header: Callable[[Sequence[str]], float] | None = None,
) -> pd.DataFrame:
    r"""Read one table as text.

    Parameters
    ----------
    path
        CSV (also gzipped), .xls, .xlsx or Parquet: told by the content, not by the name.
    sheet
        Sheet of a workbook, by name or number from 0. Default: the first.
    skip_rows
        Rows above the header [rows].
    encoding, delimiter
        Of a text file. Default: detected among UTF-8, UTF-16 and cp932; comma, tab and semicolon.
    is_header
        How many cells of a row look like names of columns. Where given and `skip_rows` is 0, the
        best of the first 30 rows is the header: offices put titles above it.

    Returns
    -------
    DataFrame
        Text as written, blank where empty; the index is the row in the file, counted from 1.
        Blank rows, and columns without name or content, are left out. ``attrs``: ``where`` (file
        and sheet), ``header_row``, ``encoding`` and ``delimiter`` of a text file, ``notes``.

    Raises
    ------
    InputError
        Where the file is missing, locked, empty, damaged or not in the given encoding, the sheet
        is not there, or rows have more cells than the header.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "people.csv")
    ...     _ = path.write_text("町コード,人数\n007,12\n", encoding="cp932")
    ...     frame = read_frame(path)
    >>> frame
      町コード  人数
    2  007  12
    >>> frame.attrs["encoding"]
    'cp932'
    """
    content = read_bytes(path)
    if content.startswith(b"PAR1"):
        return _read_parquet(path, content)
    book = is_workbook(content)
    if not book:
        text, encoding = decode(path.name, content, encoding)
        delimiter = delimiter or find_delimiter(text)
        where = path.name
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        try:
            head = list(islice(reader, skip_rows + HEAD))
        except csv.Error as error:
            raise _no_table(where, error, reader.line_num) from None
    else:
        grid = read_sheets(path, content, sheet)[0]
        head = list(map(list, grid.rows[: skip_rows + HEAD]))
        where = f"{path.name}, sheet {grid.name}"
    if is_header is not None and skip_rows == 0:
        skip_rows = _best_header(head, is_header)
    if len(head) <= skip_rows:
        raise InputError(
            Fault(
                where,
                f"the header must stand below {skip_rows:,} skipped rows, and there are only"
                f" {len(head):,} rows",
                "Correct skip_rows.",
            )
        )
    names = [cell.strip() for cell in head[skip_rows]]
    if not book:
        # skip_rows counts records, as a spreadsheet shows them; a quoted cell may hold line breaks.
        frame = _read_text(where, text, names, skip_rows + 1, delimiter or ",")
        frame.attrs.update(encoding=encoding, delimiter=delimiter)
    else:
        frame = frame_of(where, grid.rows[skip_rows + 1 :], names, skip_rows + 2)
    frame.attrs.update(where=where, header_row=skip_rows + 1)
    return without_blanks(frame)


def read_bytes(path: Path) -> bytes:
    """Content of a file, unpacked where it is gzipped.

    Raises
    ------
    InputError
        Where it is missing, locked or empty.
    """
    try:
        content = path.read_bytes()
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
    except PermissionError:
        raise InputError(
            Fault(path.name, "the file must be readable, and is locked", "Close it in Excel.")
        ) from None
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise InputError(
            Fault(path.name, "the file must be whole, and is cut short or damaged", "Copy it anew.")
        ) from None
    except OSError as error:
        raise InputError(
            Fault(path.name, f"the file must be readable: {error.strerror}", "Correct its name.")
        ) from None
    if not content.strip():
        raise InputError(
            Fault(path.name, "the file must hold a table, and is empty", "Export it anew.")
        )
    return content


def is_workbook(content: bytes) -> bool:
    """Whether the content is an Excel workbook, whatever the file is called."""
    return content.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0"))


# ---- text -------------------------------------------------------------------------------------


def decode(where: str, content: bytes, encoding: str | None = None) -> tuple[str, str]:
    """Text of a file and the encoding it is in, without a byte-order mark.

    Raises
    ------
    InputError
        Where the content is not in the encoding, or in none that popproj knows.

    Examples
    --------
    >>> decode("x.csv", "町名".encode("cp932"))
    ('町名', 'cp932')
    """
    guessed = find_encoding(content)
    encoding = encoding or guessed
    if encoding == "cp932" and guessed != "cp932" and not content.isascii():
        # Much of UTF-8 Japanese is also valid cp932, and comes out as other characters.
        raise InputError(_wrong_encoding(where, content, encoding, guessed, 0))
    try:
        text = content.decode("utf-8-sig" if encoding == "utf-8" else encoding)
    except UnicodeDecodeError as error:
        raise InputError(_wrong_encoding(where, content, encoding, guessed, error.start)) from None
    if encoding == "utf-16" and "\n" not in text and b"\n" in content:
        raise InputError(_wrong_encoding(where, content, encoding, guessed, 0))
    return text.removeprefix("\ufeff"), encoding


def find_encoding(content: bytes) -> str:
    """Encoding that the content is in; cp932 where it is neither UTF-16 nor UTF-8.

    Examples
    --------
    >>> find_encoding("人口".encode()), find_encoding("人口".encode("utf-16"))
    ('utf-8', 'utf-16')
    """
    if content.startswith(b"\xef\xbb\xbf"):
        return "utf-8-sig"
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return "cp932"
    return "utf-8"


def _wrong_encoding(where: str, content: bytes, encoding: str, guessed: str, at: int) -> Fault:
    seems = ""
    if guessed != encoding:
        try:
            content.decode(guessed)
        except UnicodeDecodeError:
            pass
        else:
            seems = f" (it seems to be {guessed})"
    row = content.count(b"\n", 0, at) + 1
    return Fault(
        where,
        f"the text must be in the encoding {encoding}, and is not{seems}",
        f'Write encoding = "{guessed}" in city.toml, or take the line out.'
        if seems
        else "Open the file in Excel and save it as CSV UTF-8.",
        first=f"at row {row:,}, byte 0x{content[at]:02x}",
    )


def find_delimiter(text: str) -> str:
    r"""What separates the cells: what splits most of the first rows into the same number.

    Examples
    --------
    >>> find_delimiter("施設ID\t住所\n1\t加納町6,5\n")
    '\t'
    """
    lines = [line for line in islice(io.StringIO(text), HEAD) if line.strip()]

    def evidence(delimiter: str) -> tuple[int, int]:
        try:
            sizes = Counter(len(row) for row in csv.reader(lines, delimiter=delimiter))
        except csv.Error:
            return 0, 0
        size, rows = max(sizes.items(), key=lambda item: (item[0] > 1, item[1], item[0]))
        return (rows, size) if size > 1 else (0, 0)

    return max(DELIMITERS, key=evidence)


def _read_text(where: str, text: str, names: list[str], skip: int, delimiter: str) -> pd.DataFrame:
    text = text.rstrip("\r\n")
    # Not strict, a quotation mark that is never closed would swallow the rest of the file.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    blank_lines = "\n\n" in text or "\r\n\r\n" in text or "\n\r\n" in text
    try:
        next(islice(reader, skip - 1, skip), None)
        start = sum(map(len, islice(io.StringIO(text, newline=""), reader.line_num)))
        # An odd number of quotation marks: one is not closed, or a text holds one alone.
        if not blank_lines and text.count('"') % 2 == 0 and start < len(text):
            try:
                return _read_fast(text[start:], names, skip + 1, delimiter)
            except pa.ArrowInvalid:
                pass  # rows of unequal length, which the slow way tells by their number
        return frame_of(where, list(reader), names, skip + 1)
    except csv.Error as error:
        raise _no_table(where, error, reader.line_num) from None


def _no_table(where: str, error: csv.Error, line: int) -> InputError:
    return InputError(
        Fault(
            where,
            f"the file must be a table of cells, and is not: {error}",
            'Look for a quotation mark " that is not closed.',
            first=f"at row {line:,}",
        )
    )


def _read_fast(text: str, names: list[str], first_row: int, delimiter: str) -> pd.DataFrame:
    keys = [str(i) for i in range(len(names))]
    content = text.encode("utf-8")
    table = pa.csv.read_csv(
        pa.BufferReader(content),
        pa.csv.ReadOptions(column_names=keys, block_size=1 << 24),
        pa.csv.ParseOptions(delimiter=delimiter, newlines_in_values=b'"' in content),
        pa.csv.ConvertOptions(
            column_types=dict.fromkeys(keys, pa.string()), strings_can_be_null=False
        ),
    )
    frame: pd.DataFrame = table.to_pandas()
    frame.columns = pd.Index(names, dtype=object)
    frame.index = pd.RangeIndex(first_row, first_row + len(frame))
    return frame


def frame_of(
    where: str, rows: Iterable[Sequence[str]], names: list[str], first_row: int
) -> pd.DataFrame:
    """Rows of any length as a table: short ones are filled up, remarks below the table left out.

    Raises
    ------
    InputError
        Where rows have more cells than there are names.
    """
    width = len(names)
    kept, numbers, long, footnotes = [], [], [], []
    for number, row in enumerate(rows, first_row):
        if len(row) > width and any(cell.strip() for cell in row[width:]):
            long.append((number, row[width]))
        elif len(row) == 1 < width and row[0].strip():
            footnotes.append((number, row[0]))
        else:
            kept.append([*row[:width], *[""] * (width - len(row))])
            numbers.append(number)
    if long:
        raise InputError(
            Fault(
                where,
                f"each row must have at most the {width:,} cells that the header has",
                "Put texts that hold the delimiter in quotation marks, or set delimiter.",
                broken=len(long),
                total=len(kept) + len(long),
                first=f'at row {long[0][0]:,}: "{long[0][1]}"',
            )
        )
    frame = pd.DataFrame(kept, columns=pd.Index(names, dtype=object), index=numbers, dtype="str")
    if footnotes:
        frame.attrs["notes"] = (
            Note(
                where,
                "rows of a single cell were taken as remarks and left out",
                len(footnotes),
                f'row {footnotes[0][0]:,}: "{footnotes[0][1][:40]}"',
            ),
        )
    return frame


# ---- workbooks --------------------------------------------------------------------------------


def read_sheets(
    path: Path, content: bytes | None = None, sheet: str | int | None = 0
) -> list[Grid]:
    """Cells of a workbook as text: whole numbers without point, dates as 2017-03-31.

    Parameters
    ----------
    path
        Named in messages, and read where `content` is not given.
    content
        What stands in the file.
    sheet
        One sheet, by name or number from 0; "*" for all. Default: the first.

    Raises
    ------
    InputError
        Where the file is damaged, protected by a password or no workbook, or lacks the sheet.
    """
    content = read_bytes(path) if content is None else content
    if not is_workbook(content):
        raise InputError(Fault(path.name, "the file must be an Excel workbook", _WORKBOOK))
    old = content.startswith(b"\xd0\xcf")
    names, load = _open_old(path.name, content) if old else _open_new(path.name, content)
    if sheet == "*":
        wanted: list[str] = list(names)
    elif isinstance(sheet, str):
        wanted = [name for name in names if name.strip() == sheet.strip()]
    else:
        wanted = list(names)[sheet or 0 : (sheet or 0) + 1]
    if not wanted:
        raise InputError(
            Fault(
                path.name,
                f"the workbook must have the sheet {sheet!r}, and does not",
                f"Its sheets are {', '.join(names)}.",
            )
        )
    return [Grid(name, load(name)) for name in wanted]


def sheet_names(path: Path, content: bytes) -> list[str]:
    """Names of a workbook's sheets, in their order."""
    opener = _open_old if content.startswith(b"\xd0\xcf") else _open_new
    return list(opener(path.name, content)[0])


_Load = Callable[[str], list[list[str]]]


def _damaged(name: str, error: Exception) -> InputError:
    is_locked = "encrypt" in str(error).lower()
    state = "is protected by a password" if is_locked else "is damaged or of another kind"
    return InputError(Fault(name, f"the file must be an Excel workbook, and {state}", _WORKBOOK))


def _open_old(name: str, content: bytes) -> tuple[Sequence[str], _Load]:
    import xlrd

    try:
        book = xlrd.open_workbook(file_contents=content, on_demand=True, logfile=io.StringIO())
    except Exception as error:  # xlrd raises a dozen types on damaged files, some its own
        raise _damaged(name, error) from None

    def load(sheet: str) -> list[list[str]]:
        try:
            cells = book.sheet_by_name(sheet)
        except Exception as error:
            raise _damaged(name, error) from None
        book.unload_sheet(sheet)
        rows = []
        for number in range(cells.nrows):
            types = cells.row_types(number)
            values = cells.row_values(number)
            if xlrd.XL_CELL_DATE in types or xlrd.XL_CELL_ERROR in types:
                for column, kind in enumerate(types):
                    if kind == xlrd.XL_CELL_DATE:
                        values[column] = _old_date(values[column], book.datemode)
                    elif kind == xlrd.XL_CELL_ERROR:
                        values[column] = xlrd.error_text_from_code.get(values[column], "#ERROR")
            rows.append([v if type(v) is str else _cell(v) for v in values])
        return rows

    return book.sheet_names(), load


def _old_date(value: float, mode: int) -> object:
    import xlrd

    try:
        return xlrd.xldate_as_datetime(value, mode)
    except (ValueError, OverflowError):
        return value


def _open_new(name: str, content: bytes) -> tuple[Sequence[str], _Load]:
    import openpyxl

    try:
        book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
    except Exception as error:  # not a zip, a zip of something else, an XML that breaks off …
        raise _damaged(name, error) from None

    def load(sheet: str) -> list[list[str]]:
        cells = book[sheet]
        # The size that the file claims is often wrong: programs that are not Excel leave it at A1.
        cells.reset_dimensions()
        try:
            rows = [
                ["" if v is None else v if type(v) is str else _cell(v) for v in _used(row)]
                for row in cells.iter_rows(values_only=True)
            ]
        except (zipfile.BadZipFile, zlib.error, ValueError, KeyError, SyntaxError) as error:
            raise _damaged(name, error) from None
        width = max(map(len, rows), default=0)
        return [row + [""] * (width - len(row)) for row in rows]

    sheets = [s for s in book.sheetnames if hasattr(book[s], "reset_dimensions")]
    return sheets, load


def _used(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Row up to its last cell with content: borders and colours may reach to column XFD."""
    end = len(row)
    while end and row[end - 1] is None:
        end -= 1
    return row[:end]


def _cell(value: Any) -> str:
    if type(value) is int:
        return str(value)
    if type(value) is float:
        return str(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, datetime.datetime):
        midnight = value.time() == datetime.time()
        return value.date().isoformat() if midnight else value.isoformat(sep=" ")
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    return str(value)


# ---- Parquet ----------------------------------------------------------------------------------


def _read_parquet(path: Path, content: bytes) -> pd.DataFrame:
    try:
        table = pa.parquet.read_table(pa.BufferReader(content))
    except (pa.ArrowException, OSError):
        raise InputError(
            Fault(path.name, "the file must be Parquet, and is damaged", "Export it anew.")
        ) from None
    names = [str(name) for name in table.column_names]
    columns = {str(i): _arrow_text(column) for i, column in enumerate(table.columns)}
    frame = pa.table(columns).to_pandas()
    frame.columns = pd.Index(names, dtype=object)
    frame.index = pd.RangeIndex(1, len(frame) + 1)
    frame.attrs.update(where=path.name, header_row=0)
    return without_blanks(frame)


def _arrow_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_timestamp(kind):
        series = column.to_pandas()
        is_day = bool((series.dropna() == series.dropna().dt.normalize()).all())
        column = column.cast(pa.date32()) if is_day else column
    elif pa.types.is_floating(kind):
        values = column.to_numpy()
        if np.all(np.isnan(values) | (values == np.floor(values))):
            # A whole-number column that once held a blank comes as 28101.0.
            column = pc.if_else(pc.is_nan(column), None, column).cast(pa.int64())
    return pc.fill_null(column.cast(pa.string()), "")


# ---- headers ----------------------------------------------------------------------------------


def _best_header(head: Sequence[Sequence[str]], is_header: Callable[[Sequence[str]], float]) -> int:
    scores = [is_header(row) for row in head[:HEAD]]
    best = max(scores, default=0.0)
    if best <= 0:
        # Nothing is recognised: the first row that is not a lone title.
        return next((i for i, row in enumerate(head) if sum(map(bool, row)) > 1), 0)
    return scores.index(best)


def without_blanks(frame: pd.DataFrame) -> pd.DataFrame:
    """Leave out blank rows, and columns without name or content.

    Raises
    ------
    InputError
        Where nothing is left.
    """
    attrs = frame.attrs
    blank_name = [not str(name).strip() for name in frame.columns]
    if any(blank_name):
        keep = [
            not blank or bool((frame.iloc[:, i].str.strip() != "").any())
            for i, blank in enumerate(blank_name)
        ]
        frame = frame.loc[:, keep]
        frame.columns = pd.Index(
            [name or f"column {i + 1}" for i, name in enumerate(frame.columns)], dtype=object
        )
    if len(frame):
        candidates = np.flatnonzero((frame.iloc[:, 0].str.strip() == "").to_numpy())
        if candidates.size:
            part = frame.iloc[candidates]
            blank = np.ones(candidates.size, dtype=bool)
            for i in range(part.shape[1]):
                blank &= (part.iloc[:, i].str.strip() == "").to_numpy()
            if blank.any():
                frame = frame.drop(index=part.index[blank])
    if frame.empty:
        raise InputError(
            Fault(
                attrs["where"],
                "the table must have rows below its header, and has none",
                "Export it anew, or correct sheet and skip_rows.",
            )
        )
    frame.attrs.update(attrs)
    return frame
