import library from 'strftime';

/** Directives that the library, in its own locale, writes as Python does in the C locale. */
const AS_PYTHON = /^[aAbBCdDeFhHIklmMnpPrRsStTuUwWxyY%]$/;

/** Those that it does not know, or writes in another way. */
const OTHERS: Readonly<Record<string, (date: Date, pad: Pad) => string>> = {
  c: (date) => library('%a %b %e %H:%M:%S %Y', date),
  g: (date, pad) => pad(isoThursday(date).getFullYear() % 100, 2),
  G: (date) => String(isoThursday(date).getFullYear()),
  j: (date, pad) => pad(dayOfYear(date), 3),
  V: (date, pad) => pad(Math.ceil(dayOfYear(isoThursday(date)) / 7), 2),
  X: (date) => library('%H:%M:%S', date),
  z: () => '', // `datetime.now()` knows no time zone
  Z: () => '',
};

type Pad = (value: number, width: number) => string;

/**
 * Python's `datetime.now().strftime` on Linux, in the C locale and local time, with the flags `-`, `_` and `0` for
 * padding. A directive that C does not know stays as it is.
 */
export function strftime(date: Date, format: string): string {
  return format.replace(/%([-_0]?)([a-zA-Z%])/g, (directive, flag: string, letter: string) => {
    if (directive === '%f') return `${String(date.getMilliseconds()).padStart(3, '0')}000`;
    if (AS_PYTHON.test(letter)) return library(directive, date);
    const pad: Pad = (value, width) =>
      flag === '-' ? String(value) : String(value).padStart(width, flag === '_' ? ' ' : '0');
    return Object.hasOwn(OTHERS, letter) ? OTHERS[letter]!(date, pad) : directive;
  });
}

/** 1..366. */
function dayOfYear(date: Date): number {
  const midnight = (month: number, day: number) => Date.UTC(date.getFullYear(), month, day);
  return (midnight(date.getMonth(), date.getDate()) - midnight(0, 0)) / 86_400_000;
}

/** Of the same week, which begins on Monday: the year that has the week is its year. */
function isoThursday(date: Date): Date {
  const sinceMonday = (date.getDay() + 6) % 7;
  return new Date(date.getFullYear(), date.getMonth(), date.getDate() + 3 - sinceMonday);
}
