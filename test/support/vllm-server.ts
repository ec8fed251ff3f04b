import { randomUUID } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { tensor2d } from '@tensorflow/tfjs-core';
import { onTestFinished } from 'vitest';
import { DRAW, drawStats } from '../../kernels/sample/index.js';
import { stepDetails } from '../../kernels/step/index.js';
import type { SdaModel } from '../../src/generate/sda-model.js';
import { type BlendPlan, drawBlend } from '../../src/method/blend.js';
import { cacheRoot } from '../../src/runtime/paths.js';
import { blendOf } from './plans.js';

/** What happens at a token of a group: it is told; or see `Vllm.step`. */
export type Fate = 'told' | 'cut' | 'half' | 'lone' | 'left' | 'down' | 'slow';

export interface VllmOptions {
  readonly model: SdaModel;
  /** How the server plays; each may be changed while it runs */
  version: string | null;
  plugin: boolean;
  key: string | null;
  maxContext: number;
  vocabSize: number;
  names: string[];
  /** null: the server does not offer it */
  tokenize: ((text: string) => number[]) | null;
  /** Files that it offers, by name; null: it offers none */
  texts: Readonly<Record<string, string>> | null;
  /** Ends every group with this reason, where it is set */
  refusal: string | null;
  /** Tells log-probabilities and tokens as llama.cpp's server does, not as vLLM */
  llamaCpp: boolean;
  /** Log-probabilities that it gives at most */
  most: number;
  fate: (group: string, token: number) => Fate;
  /** Milliseconds that it is away after 'down' */
  away: number;
}

interface Member {
  readonly response: ServerResponse;
  readonly body: Body;
  readonly argument: Argument;
}

interface Body {
  readonly model: string;
  readonly prompt: number[];
  readonly max_tokens: number;
  readonly stream?: boolean;
  readonly logprobs: number;
  readonly n_probs?: number;
  readonly stop_token_ids?: number[];
  readonly vllm_xargs?: { readonly sda?: string };
}

// biome-ignore lint/suspicious/noExplicitAny: the argument as it came
type Argument = any;

const MARK = 2 ** 126;
const LONE = 2 ** 125;

/** A server that plays vLLM with sda-vllm over a model of this package: its protocol, its pairing, and its faults. */
export class Vllm {
  readonly options: VllmOptions;
  /** Requests of groups, and groups that were whole */
  readonly seen = { requests: 0, groups: 0, most: 0 };
  private running = 0;
  private readonly groups = new Map<string, Member[]>();
  private downUntil = 0;
  private readonly server: Server;

  private constructor(options: Partial<VllmOptions> & Pick<VllmOptions, 'model'>) {
    const { model } = options;
    this.options = {
      version: '0.32.0',
      plugin: true,
      key: null,
      maxContext: model.maxContext,
      vocabSize: model.config.vocabSize,
      names: ['m'],
      tokenize: null,
      texts: null,
      refusal: null,
      llamaCpp: false,
      most: Infinity,
      fate: () => 'told',
      away: 150,
      ...options,
    };
    this.server = createServer((request, response) => {
      response.on('error', () => {});
      this.answer(request, response).catch((error: unknown) => {
        if (!response.headersSent) fail(response, 500, String(error));
        else response.destroy();
      });
    });
  }

  static async start(options: Partial<VllmOptions> & Pick<VllmOptions, 'model'>): Promise<Vllm> {
    const vllm = new Vllm(options);
    await new Promise<void>((resolve) => vllm.server.listen(0, '127.0.0.1', resolve));
    return vllm;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/v1`;
  }

  /** Breaks all connections, and takes none for the time that it is `away`. */
  leave(): void {
    this.downUntil = Date.now() + this.options.away;
    this.server.closeAllConnections();
  }

  /** Ends the time after 'down'. */
  comeBack(): void {
    this.downUntil = 0;
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<unknown> {
    const { version, key, names, maxContext, tokenize, texts } = this.options;
    if (Date.now() < this.downUntil) {
      return request.socket.destroy();
    }
    let text = '';
    for await (const part of request) text += part;
    if (key !== null && request.headers.authorization !== `Bearer ${key}`) {
      return fail(response, 401, 'Unauthorized');
    }
    switch (request.url) {
      case '/version':
        return version === null ? fail(response, 404, 'Not Found') : send(response, { version });
      case '/v1/models':
        return send(response, { data: names.map((id) => ({ id, max_model_len: maxContext })) });
      case '/tokenize': {
        if (!tokenize) return fail(response, 404, 'Not Found');
        const { prompt, content = '' } = JSON.parse(text) as { prompt: string; content?: string };
        return send(response, { tokens: tokenize(this.options.llamaCpp ? content : prompt) });
      }
      case '/v1/sda/texts':
        return texts ? send(response, { files: texts }) : fail(response, 404, 'Not Found');
      case '/v1/completions':
        return this.complete(JSON.parse(text) as Body, response);
      default:
        return fail(response, 404, 'Not Found');
    }
  }

  private complete(body: Body, response: ServerResponse): unknown {
    const { plugin, names, maxContext, vocabSize } = this.options;
    if (!names.includes(body.model)) return fail(response, 404, `The model does not exist.`);
    if (body.prompt.length + body.max_tokens > maxContext) {
      const words = `This model's maximum context length is ${maxContext} tokens.`;
      return fail(response, 400, words);
    }
    const told = body.vllm_xargs?.sda;
    const argument: Argument = plugin && told !== undefined ? JSON.parse(told) : null;
    if (!argument && body.logprobs > 20) return this.allLogProbs(body, response);
    if (!argument) {
      const top_logprobs = [{ 'token_id:7': -0.1, 'token_id:8': -3 }];
      const choice = { token_ids: [7], logprobs: { top_logprobs }, finish_reason: 'length' };
      if (!body.stream) return send(response, { choices: [choice] });
      event(response, choice);
      return response.end('data: [DONE]\n\n');
    }
    if (argument.probe) {
      const values = [1, vocabSize, 1, 1, 8];
      const top_logprobs = [carried(argument.lone, MARK, values)];
      const choice = {
        token_ids: [argument.lone],
        logprobs: { top_logprobs },
        finish_reason: 'length',
      };
      return send(response, { choices: [choice] });
    }
    this.seen.requests++;
    const members = this.groups.get(argument.group) ?? [];
    members[argument.stream] = { response, body, argument };
    this.groups.set(argument.group, members);
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.flushHeaders();
    if (Object.keys(members).length < argument.streams) return null;
    this.groups.delete(argument.group);
    this.seen.groups++;
    this.seen.most = Math.max(this.seen.most, ++this.running);
    return this.run(members)
      .catch(() => {
        for (const each of members) each.response.destroy();
      })
      .finally(() => this.running--);
  }

  /** The log-probabilities of all ids after a prompt, with the floor that vLLM has. */
  private async allLogProbs(body: Body, response: ServerResponse): Promise<void> {
    const { prompt, logprobs, n_probs } = body;
    const { llamaCpp } = this.options;
    const count = Math.min(llamaCpp ? n_probs! : logprobs, this.options.most);
    const logits = await this.options.model.logits(prompt);
    const largest = Math.max(...logits);
    const logZ = largest + Math.log(logits.reduce((sum, x) => sum + Math.exp(x - largest), 0));
    const told = [...logits.slice(0, count)].map((x) => x - logZ);
    const byId = told.map((logp, id) => ({ id, token: 'x', logprob: logp }));
    const named = told.map((logp, id) => [`token_id:${id}`, Math.max(logp, -9999)]);
    const whole = llamaCpp
      ? { content: [{ id: 0, token: 'x', logprob: 0, top_logprobs: byId }] }
      : { top_logprobs: [Object.fromEntries(named)] };
    send(response, { choices: [{ logprobs: whole, finish_reason: 'length' }] });
  }

  private async run(members: Member[]): Promise<unknown> {
    const { refusal, fate } = this.options;
    if (refusal !== null) return this.end(members, 'abort', refusal);
    const { argument, body } = members[0]!;
    const drawn: number[] = [];
    while (drawn.length < body.max_tokens) {
      if (members.some(({ response }) => response.destroyed)) {
        return this.end(members, 'abort', 'sda: another stream of this answer has ended');
      }
      await pause(0); // what others send comes in between
      const { id, values } = await this.step(members, drawn);
      switch (fate(argument.group, drawn.length)) {
        case 'cut':
          members[drawn.length % members.length]!.response.destroy();
          continue;
        case 'half':
          this.tell(members.slice(0, 1), id, MARK, values, members.length);
          await pause(5);
          members.at(-1)!.response.destroy();
          return this.end(
            members.slice(0, -1),
            'abort',
            'sda: another stream of this answer has ended',
          );
        case 'lone':
          this.tell(members, argument.lone, LONE, [], members.length);
          return this.end(members, 'stop', null);
        case 'left':
          return this.end(
            members,
            'abort',
            'sda: 1 of 2 streams of this answer did not come within 30 s',
          );
        case 'down':
          this.leave();
          return null;
        case 'slow':
          await pause(20);
      }
      this.tell(members, id, MARK, values, members.length);
      drawn.push(id);
      if (body.stop_token_ids?.includes(id)) return this.end(members, 'stop', id);
    }
    return this.end(members, 'length', null);
  }

  /** One token of a group, by the kernels. */
  private async step(members: readonly Member[], drawn: readonly number[]) {
    const { model } = this.options;
    const S = members.length;
    const plan = planOf(members[0]!.argument);
    const V = model.config.vocabSize;
    const lines = new Float32Array(S * V);
    for (const [stream, { body }] of members.entries()) {
      lines.set(await model.logits([...body.prompt, ...drawn]), stream * V);
    }
    for (const [first, last] of members[0]!.argument.absent as [number, number][]) {
      for (let s = 0; s < S; s++) lines.fill(-Infinity, s * V + first, s * V + last + 1);
    }
    const logits = tensor2d(lines, [S, V]);
    const names = members.map((_, stream) => `s${stream}`);
    const u = (members[0]!.argument.uniforms as number[])[drawn.length] ?? 0;
    const draw = drawBlend(logits, names, [blendOf(plan, names)], { uniforms: [u] });
    const line = (await draw.lines.data()) as Float32Array;
    for (const tensor of [logits, draw.lines]) tensor.dispose();
    const stats = drawStats(S);
    const details = plan.kinds.details ? line.slice(stats + stepDetails(S).scoreEntropy) : [];
    const values = [
      ...line.slice(stats, stats + 4),
      line[DRAW.logp]!,
      ...line.slice(DRAW.streams, stats),
      ...details,
    ];
    return { id: line[DRAW.id]!, values };
  }

  private tell(
    members: readonly Member[],
    id: number,
    mark: number,
    values: readonly number[],
    streams: number,
  ): void {
    for (const { response, argument } of members) {
      const own = values.filter((_, index) => index % streams === argument.stream);
      const top_logprobs = [carried(id, mark, own)];
      event(response, { token_ids: [id], logprobs: { top_logprobs }, finish_reason: null });
    }
  }

  private end(members: readonly Member[], reason: string, stop: string | number | null): void {
    for (const { response } of members) {
      event(response, { token_ids: [], finish_reason: reason, stop_reason: stop });
      response.end('data: [DONE]\n\n');
    }
  }
}

/**
 * What a server of a folder's model would offer of it. The folder in the cache that is made of them is removed with the
 * current test, and no other has it.
 */
export function textsOf(dir: string): Record<string, string> {
  const names = readdirSync(dir).filter((name) => /\.(json|jinja)$/.test(name));
  const texts = Object.fromEntries(
    names.map((name) => [name, readFileSync(join(dir, name), 'utf8')]),
  );
  const own = randomUUID();
  texts['config.json'] = JSON.stringify({ ...JSON.parse(texts['config.json']!), own });
  onTestFinished(() => {
    const made = join(cacheRoot(), 'served');
    for (const name of existsSync(made) ? readdirSync(made) : []) {
      const config = readFileSync(join(made, name, 'config.json'), 'utf8');
      if (config.includes(own)) rmSync(join(made, name), { recursive: true });
    }
  });
  return texts;
}

function carried(id: number, mark: number, values: readonly number[]): Record<string, number> {
  const coded = (value: number) => {
    if (value === -Infinity) return 2 ** 122;
    return value < 0 ? -value * 2 ** 90 : value;
  };
  const carriers = values.map((value, index) => [
    `token_id:${index < id ? index : index + 1}`,
    coded(value),
  ]);
  return { [`token_id:${id}`]: mark, ...Object.fromEntries(carriers) };
}

/** The plan of an argument: `argumentOf` turned round. */
function planOf({ kinds, numbers: n, cut, draw }: Argument): BlendPlan {
  return {
    kinds: { ...kinds, maskStream: kinds.mask_stream },
    numbers: {
      ...n,
      positiveFloor: n.positive_floor,
      tMin: n.t_min,
      weightFloor: n.weight_floor,
      entropyBase: n.entropy_base,
    },
    cut: { topK: cut.top_k, topP: cut.top_p, temperature: cut.temperature },
    drawing: { topK: draw.top_k, topP: draw.top_p, minP: draw.min_p, greedy: draw.greedy },
  };
}

function send(response: ServerResponse, body: object): void {
  response.setHeader('content-type', 'application/json').end(JSON.stringify(body));
}

function fail(response: ServerResponse, status: number, message: string): void {
  response.statusCode = status;
  send(response, { error: { message, type: 'Error', code: status } });
}

/** A chunk; in two parts, as networks cut them. */
function event(response: ServerResponse, choice: object): void {
  const text = `data: ${JSON.stringify({ object: 'text_completion', choices: [{ index: 0, text: '', ...choice }] })}\n\n`;
  const middle = Math.floor(text.length / 3);
  response.write(text.slice(0, middle));
  response.write(text.slice(middle));
}
