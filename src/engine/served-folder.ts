import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { SdaError } from '../errors.js';
import { cacheRoot } from '../runtime/paths.js';
import { fillFolder, readComplete } from '../setup/cache.js';
import type { EngineServer, ServedModel } from './server.js';

/** What is taken of what a server offers, in the order that names the folder; the first ones must be there. */
const NEEDED = ['config.json', 'tokenizer.json'];
const OTHERS = [
  'generation_config.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'chat_template.jinja',
];

/**
 * A folder with config, tokenizer and chat template of the model that a server runs, as sda-vllm offers them: in the
 * cache, under a name that follows from the model's and from what they say.
 *
 * @throws SdaError `unsupported` where the server does not offer them
 */
export async function servedFolder(
  server: EngineServer,
  { id }: ServedModel,
  signal?: AbortSignal,
): Promise<string> {
  const offered = await server.texts(signal);
  if (offered === null) {
    throw new SdaError(
      'unsupported',
      `The server at ${server.endpoint} does not offer config, tokenizer and chat template of its model (it has no ${server.endpoint}/sda/texts): give a folder of that model with --model (model.dir), or start a vLLM that has sda-vllm with VLLM_PLUGINS=sda.`,
    );
  }
  const missing = NEEDED.find((name) => typeof offered[name] !== 'string');
  if (missing !== undefined) {
    throw new SdaError(
      'unsupported',
      `The server at ${server.endpoint} has no ${missing} of the model ${id} to offer: give a folder of that model with --model (model.dir).`,
    );
  }
  const files = [...NEEDED, ...OTHERS].flatMap((name) => {
    const text = offered[name];
    return typeof text === 'string' ? [[name, text] as const] : [];
  });
  const hash = createHash('sha256').update(JSON.stringify(files)).digest('hex').slice(0, 20);
  const name = basename(id).replaceAll(/[^\w.-]/g, '_');
  const folder = join(cacheRoot(), 'served', `${name}-${hash}`);
  if (await readComplete(folder)) return folder;
  await fillFolder(folder, async (temporary) => {
    for (const [name, text] of files) await writeFile(join(temporary, name), text);
    return files.map(([name]) => name);
  });
  return folder;
}
