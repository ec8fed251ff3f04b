import { SdaError } from '../../errors.js';
import type { MetadataValue } from './header.js';

/** The key-value part of a GGUF file, read with the type that each key must have. */
export class Metadata {
  constructor(
    readonly values: ReadonlyMap<string, MetadataValue>,
    /** The file, for errors */
    readonly file: string,
  ) {}

  has(key: string): boolean {
    return this.values.has(key);
  }

  /** A number that must be there. */
  number(key: string): number {
    return this.present(key, this.numberIf(key));
  }

  numberIf(key: string): number | null {
    return this.typed(key, 'a number', (value) => typeof value === 'number');
  }

  text(key: string): string {
    return this.present(key, this.textIf(key));
  }

  textIf(key: string): string | null {
    return this.typed(key, 'a text', (value) => typeof value === 'string');
  }

  flagIf(key: string): boolean | null {
    return this.typed(key, 'true or false', (value) => typeof value === 'boolean');
  }

  texts(key: string): readonly string[] {
    return this.present(key, this.list<string>(key, 'string', 'a list of texts'));
  }

  numbersIf(key: string): readonly number[] | null {
    return this.list<number>(key, 'number', 'a list of numbers');
  }

  private list<T>(key: string, type: string, expected: string): readonly T[] | null {
    return this.typed(
      key,
      expected,
      (value) => Array.isArray(value) && value.every((item) => typeof item === type),
    );
  }

  private typed<T>(
    key: string,
    expected: string,
    holds: (value: MetadataValue) => boolean,
  ): T | null {
    const value = this.values.get(key);
    if (value === undefined) return null;
    if (holds(value)) return value as T;
    throw new SdaError(
      'bad-config',
      `${this.file} has the metadata key ${key} where it should be ${expected}; convert the model again.`,
    );
  }

  private present<T>(key: string, value: T | null): T {
    if (value !== null) return value;
    throw new SdaError(
      'bad-config',
      `${this.file} lacks the metadata key ${key}; convert the model again.`,
    );
  }
}
