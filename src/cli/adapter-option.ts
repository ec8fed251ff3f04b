import { existsSync } from 'node:fs';
import { type Command, InvalidArgumentError } from 'commander';
import type { AdapterSource } from '../checkpoint/adapter/merge.js';

/** Adds `--adapter`, which may be given several times. */
export function addAdapterOption(command: Command): Command {
  return command.option(
    '--adapter <dir[=weight]>',
    'a LoRA adapter of PEFT to merge, with a weight (default: 1); may be repeated',
    adapter,
  );
}

/** Parses a folder, or a folder and a number; a folder whose own name ends so is taken as it is. */
export function adapter(text: string, earlier: readonly AdapterSource[] = []): AdapterSource[] {
  const [, dir, number] = /^(.+)=([^=/]*)$/s.exec(text) ?? [];
  if (dir === undefined || existsSync(text)) return [...earlier, { dir: text }];
  const weight = number?.trim() ? Number(number) : Number.NaN;
  if (Number.isFinite(weight)) return [...earlier, { dir, weight }];
  throw new InvalidArgumentError('Expected a folder, and after "=" a number such as 0.5.');
}
