import pc from 'picocolors';

type Colours = ReturnType<typeof pc.createColors>;

/** Colours for stdout: `NO_COLOR` and `FORCE_COLOR` decide, else whether it is a terminal. */
export function colours(): Colours {
  return coloursFor(process.stdout);
}

/** Colours for stderr, likewise. */
export function errorColours(): Colours {
  return coloursFor(process.stderr);
}

function coloursFor({ isTTY }: { readonly isTTY?: boolean }): Colours {
  const { NO_COLOR, FORCE_COLOR, TERM } = process.env;
  if (NO_COLOR) return pc.createColors(false);
  if (FORCE_COLOR) return pc.createColors(!/^(0|false)$/.test(FORCE_COLOR));
  return pc.createColors(isTTY === true && TERM !== 'dumb');
}
