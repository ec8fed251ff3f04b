/** Python's `int(text, base)`; null where it refuses the text. Beyond 2^53 the result is as near as a number gets. */
export function parseInteger(text: string, base = 10): number | null {
  const match = /^\s*([-+]?)(0[xX]|0[oO]|0[bB])?(\w+)\s*$/.exec(text);
  if (!match) return null;
  const [, sign, prefix = '', digits] = match as unknown as [string, string, string?, string?];
  const named = { x: 16, o: 8, b: 2 }[prefix.slice(1).toLowerCase()];
  const isPrefix = named !== undefined && (base === named || base === 0);
  const actual = isPrefix ? named : base === 0 ? 10 : base;
  const written = isPrefix ? digits! : prefix + digits!;
  if (!/^[0-9a-z]+(_[0-9a-z]+)*$/i.test(isPrefix ? written.replace(/^_/, '') : written))
    return null;
  let value = 0;
  for (const digit of written.replaceAll('_', '')) {
    const place = Number.parseInt(digit, 36);
    if (!(place < actual)) return null;
    value = value * actual + place;
  }
  return sign === '-' ? -value : value;
}

/** Python's `float(text)`; null where it refuses the text. */
export function parseFloating(text: string): number | null {
  const trimmed = text.trim().toLowerCase();
  const special = /^([-+]?)(inf|infinity|nan)$/.exec(trimmed);
  if (special) {
    const value = special[2] === 'nan' ? Number.NaN : Number.POSITIVE_INFINITY;
    return special[1] === '-' ? -value : value;
  }
  const written = trimmed.replaceAll(/(?<=\d)_(?=\d)/g, '');
  return /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/.test(written) ? Number(written) : null;
}

/** Most decimal places that `toFixed` gives. */
const MOST_PLACES = 100;

/** Python's `round(value, places)`: of the value that is stored, and halves to the even neighbour. */
export function roundHalfEven(value: number, places: number): number {
  if (!Number.isFinite(value) || places > MOST_PLACES / 2) return value;
  if (places < 0) {
    const unit = 10 ** -places;
    return roundHalfEven(value / unit, 0) * unit;
  }
  const size = Math.abs(value);
  if (size >= 2 ** 53) return value;
  const digits = size.toFixed(MOST_PLACES);
  const kept = digits.length - MOST_PLACES + places;
  const [below, rest] = [digits.slice(0, kept), digits.slice(kept)];
  const half = /^50*$/.test(rest.replace('.', ''));
  const even = /[02468]\.?$/.test(below);
  const rounded = half && even ? Number(below) : Number(size.toFixed(places));
  return value < 0 ? -rounded : rounded;
}
