"""Excel's workbooks: the names of their sheets, and the values of their cells."""

from collections.abc import Iterator
from typing import BinaryIO

import openpyxl


def read(file: BinaryIO) -> Iterator[str]:
    book = openpyxl.load_workbook(file, read_only=True, data_only=True)
    for sheet in book.worksheets:
        yield sheet.title
        for row in sheet.iter_rows(values_only=True):
            yield " ".join(str(value) for value in row if value is not None)
