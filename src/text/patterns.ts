/** Thrown by {@link portablePattern}. */
export class UnsupportedPattern extends Error {}

const ESCAPE = /\\(?:[pPx]\{[^}]*\}|x[0-9A-Fa-f]{1,2}|u[0-9A-Fa-f]{4}|[kg]<[^>]*>|[\s\S])/uy;
const GROUP = /\((?:\?(?:<[=!]|<\w+>|[a-zA-Z-]*:|[=!>]))?/y;
const BRACES = /\{(?:\d+(?:,\d*)?|,\d+)\}/y;

/**
 * A regular expression of the Rust library (Oniguruma) without possessive quantifiers and atomic groups, which
 * `@huggingface/tokenizers` takes for plain ones: those give back what they have matched. JavaScript has the like only
 * as a look ahead, whose text is then matched again.
 * @throws UnsupportedPattern where that cannot be
 */
export function portablePattern(source: string): string {
  const atoms = new Atoms(source);
  for (let i = 0; i < source.length; ) i += atoms.read(i);
  return atoms.out;
}

class Atoms {
  out = '';
  /** Where in `out` the atom begins that a quantifier would repeat; -1 where there is none. */
  private atom = -1;
  private count = 0;
  private readonly groups: { readonly start: number; readonly opening: string }[] = [];
  private readonly referring: boolean;

  constructor(private readonly source: string) {
    this.referring = /\\(?:[1-9]|[kg]<)/.test(source);
  }

  /** @returns how many characters were read */
  read(i: number): number {
    const { source } = this;
    const next = source[i + 1];
    switch (source[i]) {
      case '\\':
        return this.single(at(ESCAPE, source, i) ?? '\\');
      case '[':
        return this.single(source.slice(i, endOfClass(source, i)));
      case '(':
        return this.open(at(GROUP, source, i)!);
      case ')': {
        const group = this.groups.pop();
        if (group?.opening === '(?>') return this.atomic(group.start, '', 1);
        this.out += ')';
        this.atom = group?.start ?? -1;
        return 1;
      }
      case '|':
        this.out += '|';
        this.atom = -1;
        return 1;
      case '*':
      case '+':
      case '?':
        if (next === '+' && this.atom >= 0) return this.atomic(this.atom, source[i]!, 2);
        return this.add(source[i]! + (next === '?' ? '?' : ''));
      case '{': {
        const braces = this.atom < 0 ? null : at(BRACES, source, i);
        return braces === null ? this.single('{') : this.add(braces);
      }
      default:
        return this.single(String.fromCodePoint(source.codePointAt(i)!));
    }
  }

  private add(text: string): number {
    this.out += text;
    return text.length;
  }

  private single(text: string): number {
    this.atom = this.out.length;
    return this.add(text);
  }

  private open(opening: string): number {
    this.groups.push({ start: this.out.length, opening });
    this.atom = -1;
    if (opening === '(?>') return opening.length;
    return this.add(opening);
  }

  /** Ends an atom that gives nothing back. */
  private atomic(start: number, quantifier: string, read: number): number {
    const what = quantifier === '' ? 'an atomic group' : 'a possessive quantifier';
    if (this.referring) throw new UnsupportedPattern(`${what} beside a back-reference`);
    if (this.groups.some(({ opening }) => opening === '(?<=' || opening === '(?<!')) {
      throw new UnsupportedPattern(`${what} in a look behind`);
    }
    const name = `atomic${this.count++}`;
    const inner = this.out.slice(start) + quantifier;
    this.out = `${this.out.slice(0, start)}(?:(?=(?<${name}>${inner}))\\k<${name}>)`;
    this.atom = start;
    return read;
  }
}

function at(pattern: RegExp, text: string, index: number): string | null {
  pattern.lastIndex = index;
  return pattern.exec(text)?.[0] ?? null;
}

/** Where a character class ends, which may hold others. */
function endOfClass(source: string, start: number): number {
  let depth = 0;
  for (let i = start; i < source.length; i++) {
    if (source[i] === '\\') i++;
    else if (source[i] === '[') depth++;
    else if (source[i] === ']' && --depth === 0) return i + 1;
  }
  return source.length;
}
