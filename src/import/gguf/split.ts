import { existsSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { listSome } from '../../checkpoint/json-file.js';
import { SdaError } from '../../errors.js';

const SPLIT = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/;
/** More parts than any published model has. */
const MOST_PARTS = 1000;

/**
 * The files of a GGUF model, the first with the metadata: the file itself, or all parts where its name is that of a
 * part such as `model-00001-of-00003.gguf`.
 * @throws SdaError `file-missing` with the parts that are not there
 */
export function splitFiles(file: string): readonly string[] {
  const [, stem, , total] = SPLIT.exec(basename(file)) ?? [];
  const count = Number(total);
  if (stem === undefined || !(count >= 1 && count <= MOST_PARTS)) return [file];
  const parts = Array.from({ length: count }, (_, i) =>
    join(dirname(file), `${stem}-${String(i + 1).padStart(5, '0')}-of-${total}.gguf`),
  );
  const missing = parts.filter((part) => !existsSync(part));
  if (missing.length === 0) return parts;
  throw new SdaError(
    'file-missing',
    `${file} is one of ${count} parts but ${missing.length} of them do not exist: ${listSome(missing)}; download them.`,
  );
}
