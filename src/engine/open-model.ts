import { SdaError } from '../errors.js';
import type { AnsweringModel } from '../generate/answering.js';
import { type LoadOptions, loadModel } from '../generate/sda-model.js';
import { loadConfig } from '../model/config.js';
import { loadTokenizer } from '../text/tokenizer.js';
import { LogprobsSource } from './logprobs-source.js';
import { RemoteModel } from './remote-model.js';
import { servedFolder } from './served-folder.js';
import { EngineServer, type ServedModel, type ServerOptions } from './server.js';
import { probe } from './vllm/probe.js';
import { VllmSource } from './vllm/vllm-source.js';

/** An engine behind a server. */
export interface RemoteEngine extends ServerOptions {
  /**
   * `vllm`: a vLLM with sda-vllm, see docs/vllm.md. `logprobs`: any server that gives the log-probabilities of the whole
   * vocabulary; one request and megabytes a token, for checks and small models
   */
  readonly kind: 'vllm' | 'logprobs';
  /** Seconds without a new token, after an error that may pass, until an answer is given up; default 120 */
  readonly patienceS?: number | undefined;
}

/** Where a model runs. */
export type EngineChoice = { readonly kind: 'local' } | RemoteEngine;

export interface OpenModelOptions extends LoadOptions {
  /** Default: this machine */
  readonly engine?: EngineChoice | undefined;
  readonly signal?: AbortSignal | undefined;
}

const PATIENCE_S = 120;

/**
 * Opens a model: its weights here, or behind a server. Either answers the same requests in the same way, with the same
 * settings and seeds.
 *
 * @param dir a Hugging Face folder; with an engine behind a server its weights are not needed, and null takes config,
 *   tokenizer and chat template from that server
 * @throws SdaError as `loadModel`; of a server that is not there, not what was asked for, or has another model
 */
export async function openModel(
  dir: string | null,
  options: OpenModelOptions = {},
): Promise<AnsweringModel> {
  const { engine = { kind: 'local' }, signal } = options;
  if (engine.kind === 'local') return loadModel(given(dir), options);
  const since = performance.now();
  const server = new EngineServer(engine);
  const own = dir === null ? null : await loadConfig(dir);
  const model = await server.model(engine.model, signal);
  const vllm = engine.kind === 'vllm' ? await vllmOf(server, model, signal) : null;
  const folder = dir ?? (await servedFolder(server, model, signal));
  const config = own ?? (await loadConfig(folder));
  const { vocabSize } = config;
  if (vllm) checkVocabulary(vllm.probed.vocabSize, vocabSize, server, model);
  const patienceMs = (engine.patienceS ?? PATIENCE_S) * 1000;
  const asked = { server, model, vocabSize, patienceMs };
  const source = vllm
    ? new VllmSource({ ...asked, ...vllm })
    : await LogprobsSource.open(asked, signal);
  const { differences, warnings } = await compared(folder, server, model, signal);
  if (differences !== null) throw new SdaError('unsupported', differences);
  const longest = Math.min(config.contextLength, model.maxContext ?? config.contextLength);
  const { maxContext = longest } = options;
  if (!Number.isInteger(maxContext) || maxContext < 2 || maxContext > longest) {
    throw new SdaError(
      'bad-input',
      `The context must be a whole number in 2..${longest} (what the model and the server at ${server.endpoint} hold), but is ${maxContext}.`,
    );
  }
  return new RemoteModel({
    dir: folder,
    config,
    maxContext,
    loadMs: performance.now() - since,
    warnings,
    chatTemplate: options.chatTemplate,
    source,
  });
}

/**
 * The folder that a server offers, see `openModel`; asks nothing else of it.
 *
 * @throws SdaError where the server is not there, or offers none
 */
export async function folderOf(engine: RemoteEngine, signal?: AbortSignal): Promise<string> {
  const server = new EngineServer(engine);
  return servedFolder(server, await server.model(engine.model, signal), signal);
}

function given(dir: string | null): string {
  if (dir !== null) return dir;
  throw new SdaError(
    'bad-input',
    'A model on this machine needs its folder: give one, or an engine behind a server.',
  );
}

async function vllmOf(server: EngineServer, model: ServedModel, signal?: AbortSignal) {
  const version = await server.vllmVersion(signal);
  if (version === null) {
    throw new SdaError(
      'unsupported',
      `The server at ${server.endpoint} is no vLLM (it has no ${server.root}/version): --engine takes a vLLM with sda-vllm, see docs/vllm.md; one that gives all log-probabilities can be asked by name, with --engine logprobs:${server.endpoint}.`,
    );
  }
  return { version, probed: await probe(server, model, version, signal) };
}

function checkVocabulary(
  theirs: number,
  ours: number,
  { endpoint }: EngineServer,
  { id }: ServedModel,
): void {
  if (theirs === ours) return;
  throw new SdaError(
    'unsupported',
    `The model ${id} at ${endpoint} has ${theirs} ids, but the folder's config.json ${ours}: give the folder of the model that is served with --model.`,
  );
}

/** Texts by whose tokens a tokenizer is told from others. */
const SAMPLES = [
  'Hello, world!',
  ' naïve café, 1234567 €\n\tif (x) {',
  'def f(x):\n    return x ** 2',
];

/** That the server's tokenizer is the folder's; a warning where the server does not offer its own. */
async function compared(
  dir: string,
  server: EngineServer,
  { id }: ServedModel,
  signal?: AbortSignal,
): Promise<{ differences: string | null; warnings: string[] }> {
  const tokenizer = await loadTokenizer(dir).catch(() => null); // prompts of ids need none
  if (!tokenizer) return { differences: null, warnings: [] };
  for (const text of SAMPLES) {
    const theirs = await server.tokenize(id, text, signal);
    if (theirs === null) {
      const warning = `the server at ${server.endpoint} does not tell its tokens: that its model is that of ${dir} has not been checked`;
      return { differences: null, warnings: [warning] };
    }
    const ours = tokenizer.encode(text, { addSpecialTokens: false });
    if (JSON.stringify(ours) === JSON.stringify(theirs)) continue;
    const differences = `The model ${id} at ${server.endpoint} makes other tokens of ${JSON.stringify(text)} (${theirs.slice(0, 6).join(' ')} ...) than ${dir} (${ours.slice(0, 6).join(' ')} ...): give the folder of the model that is served with --model.`;
    return { differences, warnings: [] };
  }
  return { differences: null, warnings: [] };
}
