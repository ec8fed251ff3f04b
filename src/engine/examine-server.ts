import { messageOf, SdaError } from '../errors.js';
import { EngineServer, type ServedModel, type ServerOptions } from './server.js';
import { type Probed, probe } from './vllm/probe.js';

/** What a server is, as far as it tells. */
export interface ServerReport {
  readonly endpoint: string;
  /** Version of vLLM; null of another server, or where it does not answer */
  readonly vllm: string | null;
  readonly model: ServedModel | null;
  /** null where sda-vllm does not answer */
  readonly plugin: Probed | null;
  /** Whether it offers config, tokenizer and chat template, so that no folder of the model is needed */
  readonly texts: boolean;
  /** Each a sentence; none where answers can be drawn there */
  readonly problems: readonly string[];
}

/** How a vLLM is started so that it draws for this package. */
export const START_WITH = [
  'pip install ./src/engine/vllm    # of this package, into the Python of vLLM 0.32.0',
  'VLLM_PLUGINS=sda vllm serve MODEL --logprobs-mode processed_logits \\',
  '  --logits-processors sda_vllm.processor:SdaLogitsProcessor \\',
  '  --scheduler-cls sda_vllm.scheduler.SdaAsyncScheduler    # SdaScheduler with --no-async-scheduling',
];

/** Asks a server what it is. Never throws for what it answers. */
export async function examineServer(options: ServerOptions): Promise<ServerReport> {
  const server = new EngineServer(options);
  const report: { -readonly [K in keyof ServerReport]: ServerReport[K] } = {
    endpoint: server.endpoint,
    vllm: null,
    model: null,
    plugin: null,
    texts: false,
    problems: [],
  };
  try {
    report.model = await server.model(options.model);
    report.vllm = await server.vllmVersion();
    if (report.vllm === null) {
      throw new SdaError(
        'unsupported',
        `The server at ${server.endpoint} is no vLLM: --engine logprobs:${server.endpoint} may take it, for checks.`,
      );
    }
    report.texts = (await server.texts()) !== null;
    report.plugin = await probe(server, report.model, report.vllm);
  } catch (error) {
    report.problems = [messageOf(error)];
  }
  return report;
}
