import { randomUUID } from 'node:crypto';
import { SdaError } from '../../errors.js';
import type { EngineServer, ServedModel } from '../server.js';
import { PROTOCOL, probeArgument } from './argument.js';
import { PROBE_LOGPROBS, probedOf } from './carried.js';

/** What a vLLM server with the plugin is. */
export interface Probed {
  readonly vocabSize: number;
  readonly tensorParallel: number;
  readonly pipelineParallel: number;
  /** Requests that it runs at once */
  readonly places: number;
}

/**
 * Asks a server what it is, by a token that goes the way of all others.
 *
 * @throws SdaError `unsupported` for a vLLM without the plugin, or with that of another protocol; else as `explain`
 */
export async function probe(
  server: EngineServer,
  { id }: ServedModel,
  version: string,
  signal?: AbortSignal,
): Promise<Probed> {
  const [choice] = await server.told(() =>
    server.complete(
      {
        model: id,
        prompt: [0],
        max_tokens: 1,
        temperature: 0,
        ignore_eos: true,
        logprobs: PROBE_LOGPROBS,
        return_token_ids: true,
        return_tokens_as_token_ids: true,
        vllm_xargs: { sda: probeArgument(randomUUID()) },
      },
      signal,
    ),
  );
  const [token] = choice?.token_ids ?? [];
  const found = probedOf(token ?? 0, choice?.logprobs?.top_logprobs?.[0] ?? {});
  if (!found) {
    throw new SdaError(
      'unsupported',
      `The vLLM ${version} at ${server.endpoint} runs without sda-vllm, so that it would answer something else than what is asked: install src/engine/vllm of this package there, and start it as docs/vllm.md says (or "sda doctor --engine" for the command).`,
    );
  }
  const [protocol, vocabSize, tensorParallel, pipelineParallel, places] = found as number[];
  if (protocol !== PROTOCOL) {
    throw new SdaError(
      'unsupported',
      `The sda-vllm at ${server.endpoint} speaks protocol ${protocol}, but this package ${PROTOCOL}: install src/engine/vllm of this package there.`,
    );
  }
  return {
    vocabSize: vocabSize!,
    tensorParallel: tensorParallel!,
    pipelineParallel: pipelineParallel!,
    places: places!,
  };
}
