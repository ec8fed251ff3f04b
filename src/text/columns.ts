import stringWidth from 'string-width';

/**
 * Rows as lines with aligned columns, two spaces apart, as a terminal shows them: a wide character takes two columns,
 * an escape code none.
 *
 * @param right columns that end together instead of beginning so, such as numbers
 */
export function alignColumns(
  rows: readonly (readonly string[])[],
  right: readonly number[] = [],
): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [column, cell] of row.entries()) {
      widths[column] = Math.max(widths[column] ?? 0, stringWidth(cell));
    }
  }
  const padded = (cell: string, column: number) => {
    const space = ' '.repeat(widths[column]! - stringWidth(cell));
    return right.includes(column) ? space + cell : cell + space;
  };
  return rows.map((row) => row.map(padded).join('  ').trimEnd());
}
